#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_watch.sh — sparsetrace watch: what comes piece by piece gives what comes at once; rules; bad input.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"
py "$ST_SOURCE_DIR/tests/golden/reason_trace/data/traces.jsonl" <<'PYTHON'
import json, sys
open("trace.txt", "w").write(json.loads(open(sys.argv[1]).readline())["full_text"])
PYTHON

# ---- sentences: those of reason, however the text comes -----------------------------------------
good watch -f trace.txt --json
cp "$out" at_once.json
good reason -f trace.txt --json
cp "$out" whole.json
piped() { # OUT SIZE: the text through a pipe, in pieces of up to SIZE bytes
    py "$1" "$2" <<'PYTHON'
import subprocess, sys, time, os
text, most = open("trace.txt", "rb").read(), int(sys.argv[2])
run = subprocess.Popen([os.environ["ST_CLI"], "watch", "--json"], stdin=subprocess.PIPE, stdout=open(sys.argv[1], "wb"))
at = k = 0
while at < len(text):
    size = 1 + (k * k * 7) % most
    run.stdin.write(text[at:at + size]); run.stdin.flush()
    at += size
    k += 1
    if k % 16 == 1:
        time.sleep(0.002)
run.stdin.close()
sys.exit(run.wait())
PYTHON
}
piped slow.json 61
cat trace.txt | "$ST_CLI" watch --json >pipe.json
check "in pieces or at once: the same sentences, tags and flags" cmp -s pipe.json slow.json
check "before <think> all counts, after it only what follows, as in a file" py <<'PYTHON'
import json
pipe, whole = ([json.loads(x) for x in open(f)] for f in ("pipe.json", "at_once.json"))
mark = next(i for i, x in enumerate(pipe) if "think" in x)
text = open("trace.txt", "rb").read()
assert text[pipe[mark]["think"]:].startswith(b"<think>")
before = [x for x in pipe[:mark] if "tag" in x and not x["again"]]
assert before[0]["begin"] == 0 and len(before) > 2 and before[-1]["end"] <= pipe[mark]["think"]
assert [x for x in pipe[mark:] if "tag" in x] == [x for x in whole if "tag" in x]
PYTHON
check "sentences and last tags are those of reason" py <<'PYTHON'
import json
lines = [json.loads(x) for x in open("at_once.json")]
last = {x["sentence"]: x for x in lines if "tag" in x}
want = json.load(open("whole.json"))["sentences"]
assert [last[i]["text"] for i in range(len(want))] == [s["text"] for s in want]
assert [last[i]["tag"] for i in range(len(want))] == [s["tag"] for s in want]
assert sum(not x["again"] for x in lines if "tag" in x) == len(want)
PYTHON

# ---- a file that grows --------------------------------------------------------------------------
printf '<think>First we add two and two. ' >grow.txt
"$ST_CLI" watch -f grow.txt --follow >grow.out 2>grow.err &
pid=$!
for _ in $(seq 100); do [ -s grow.out ] && break; sleep 0.05; done
check "a sentence with nothing behind it is not whole" is "$(wc -c <grow.out)" 0
printf 'That gives us four. So the ' >>grow.txt
for _ in $(seq 100); do [ -s grow.out ] && break; sleep 0.05; done
check "the first sentence comes" says grow.out "First we add two and two."
printf 'answer is four.</think>' >>grow.txt
wait $pid
check "ends with the reasoning" says grow.out "So the answer is four."

# ---- rules --------------------------------------------------------------------------------------
printf 'One sentence here. And a second one. And the third one. ' >three.txt
printf '# two of them\n\nmany: sentences >= 2\nnone: checks = 0 and sentences > 100\nbetween: sentences = 2 and checks < 1\n' >rules.txt
good watch -f three.txt --rules rules.txt
check "fires where it begins to hold" says "$out" "!    1 many (sentences >= 2)"
check "fires once" is "$(grep -c '^!.*many' "$out")" 1
check "two conditions" says "$out" "!    1 between (sentences = 2 and checks < 1)"
check "what does not hold does not fire" is "$(grep -c 'none (' "$out")" 0
good watch -f three.txt --rules rules.txt --json
check "flags as JSON" says "$out" '{"flag":"many","sentence":1,"rule":"sentences >= 2"}'
rule() { printf 'good: doubts > 3\n%s\n' "$1" >bad.txt; }
rule 'words: wordcount > 3'
refused 'rules, line 2: nothing is called "wordcount"' watch -f three.txt --rules bad.txt
rule 'no colon here'
refused 'line 2: no NAME: before the conditions' watch -f three.txt --rules bad.txt
rule 'a: doubts >= many'
refused 'line 2: no number: "many"' watch -f three.txt --rules bad.txt
rule 'a: tag > problem_setup'
refused 'line 2: cannot compare it by ">"' watch -f three.txt --rules bad.txt
rule 'a: doubts >= 3 or checks = 0'
refused '"and" must stand where it says "or"' watch -f three.txt --rules bad.txt
rule 'a: doubts >='
refused 'not NAME OP VALUE' watch -f three.txt --rules bad.txt
rule 'a: tag = problem_setupp and doubts = 0'
refused 'rules, line 2: there is no tag "problem_setupp"' watch -f three.txt --rules bad.txt
rule 'a: phase != comput'
refused 'line 2: there is no phase "comput"' watch -f three.txt --rules bad.txt
rule 'a: tag = unsure and phase = compute'
good watch -f three.txt --rules bad.txt
refused "cannot open absent.txt" watch -f three.txt --rules absent.txt
mkdir folder
refused "cannot read folder: Is a directory" watch -f three.txt --rules folder
refused "cannot read folder: Is a directory" watch -f folder

# ---- odd texts ----------------------------------------------------------------------------------
: >empty.txt
good watch -f empty.txt
check "empty: nothing" silent "$out"
printf 'Broken \xff bytes and a \x00 zero. \x1b[31m And an escape. Third one.' >odd.txt
good watch -f odd.txt
check "no escape reaches the terminal" is "$(grep -c $'\x1b' "$out")" 0
good watch -f odd.txt --json
refused "cannot open absent.txt" watch -f absent.txt
misused "--follow wants -f" watch --follow
for option in "--k 64" "--select stream" "--block-q 4" "--block-k 1" "--max-tokens 16384"; do
    misused "${option% *} belongs to -m MODEL" watch -f three.txt $option
done
misused "belong together" watch -f three.txt --split regex
report
