#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_reason.sh — sparsetrace reason on what people feed it: empty and huge traces, broken lines, odd tags.
# tests/python/test_reason.py checks its numbers.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"
golden=$ST_SOURCE_DIR/tests/golden/reason_trace/data/traces.jsonl

# ---- good texts ---------------------------------------------------------------------------------
good reason --jsonl "$golden"
check "the strip" says "$out" "phases          |"
check "the phases" says "$out" "begins with"
check "three traces" is "$(grep -c '^deepseek' "$out")" 3
good reason --jsonl "$golden" --sentences
check "sentences are listed" says "$out" "final_answer_emission  "
good reason --jsonl "$golden" --json
check "one object a trace" is "$(wc -l <"$out")" 3

: >empty.txt
good reason -f empty.txt
check "empty: no sentence" says "$out" "sentences       0"
good reason -f empty.txt --json
check "empty: parses" parses "$out"
check "empty: nothing is defined" says "$out" '"doubt_share":null'
printf 'Just one sentence' >one.txt
good reason -f one.txt --json
check "one: parses" parses "$out"
good reason -f one.txt --csv
check "one: two lines" is "$(wc -l <"$out")" 2
py <<'PYTHON'
open("many.txt", "w").write("".join(f"Sentence {i} adds {i} and {i + 1}, so we get {2 * i + 1}. " for i in range(10000)))
open("chat.txt", "w").write("user: hi\n<think>The first thought here.</think>\nok\n<think>The second thought.</think>")
open("bytes.txt", "wb").write(b"Broken \xff\xfe bytes here. And a cut sequence \xe2\x82")
open("control.txt", "wb").write(b"An escape \x1b[31m sequence in the text. \x00 And a zero byte.")
PYTHON
good reason -f many.txt --json
check "10,000 sentences" says "$out" '"n_sentence":10000'
good reason -f chat.txt
check "a chat has two traces" says "$out" "chat.txt#2"
good reason -f bytes.txt --json
check "broken UTF-8: parses" parses "$out"
good reason -f control.txt --sentences
check "no escape reaches the terminal" is "$(grep -c $'\x1b' "$out")" 0

# ---- broken lines: named, and the rest goes on --------------------------------------------------
py <<'PYTHON'
lines = [
    '{"id":"good","text":"A first sentence. A second sentence."}',
    '{"id":"cut","text":"A first',
    "[1,2]",
    '{"id":"none"}',
    '{"id":"number","text":7}',
    "",
    '{"text":"Lone \\ud83d and \\udc00 here, pair \\ud83d\\ude00, escaped \\\\ud83d. Second sentence."}',
    '{"messages":[{"role":"user","content":"q"},'
    '{"role":"assistant","reasoning_content":"A thought of mine.","content":"a"}]}',
]
open("lines.jsonl", "w").write("\n".join(lines))
PYTHON
run reason --jsonl lines.jsonl --json
check "broken lines: exit 1" is "$code" 1
check "three good lines" is "$(wc -l <"$out")" 3
for said in "line 2 is not JSON" "line 3 is no JSON object" "line 4 has none of the fields" \
    "line 5: the text is no string"; do
    check "says: $said" says "$err" "$said"
done
check "four complaints" is "$(wc -l <"$err")" 4
check "the first is read" says "$out" '"id":"good"'
check "lone surrogates are counted" says "$out" '"id":"line 7","line":7,"begin":0,"end":66,"n_replaced":2'
check "messages are read" says "$out" "A thought of mine."
refused "line 1 has no field \"nope\"" reason --jsonl <(head -n 1 lines.jsonl) --field nope

# ---- tags from elsewhere ------------------------------------------------------------------------
printf 'problem_setup\nnonsense\n' >tags.txt
printf 'A first sentence. A second sentence.' >two.txt
run reason -f two.txt --tags tags.txt --csv
check "odd tag: exit 0" is "$code" 0
check "odd tag: named with its line" says "$err" 'line 2: the tag "nonsense" is not in the taxonomy'
check "odd tag: unknown" says "$out" '"unknown"'
printf 'problem_setup\n' >short.txt
refused "it has 2 sentences, short.txt has 1 tags for it" reason -f two.txt --tags short.txt
printf '[{"function_tags":7}]' >bad.json
refused "sentence 0 has no tag" reason -f two.txt --tags bad.json
refused "cannot open absent.txt" reason -f two.txt --tags absent.txt

# ---- files and options --------------------------------------------------------------------------
refused "cannot open absent.txt" reason -f absent.txt
mkdir folder
refused "folder" reason -f folder
refused "many.txt: byte 0: the header" reason -f two.txt --tagger many.txt
misused "either -f FILE or --jsonl FILE" reason
misused "either -f FILE or --jsonl FILE" reason -f two.txt --jsonl lines.jsonl
misused "--field belongs to --jsonl" reason -f two.txt --field x
misused "give one" reason -f two.txt --json --csv
misused "no way \"words\"" reason -f two.txt --split words
misused "belong together" reason -f two.txt --split regex
misused "belong together" reason -f two.txt --split newline --regex x
misused "unexpected" reason -f two.txt word
for option in "--k 9" "--pruned 0.9" "--mass 0.5" "--select scan" "--block-q 4" "--block-k 1" "--sample-rows 8" \
    "--pooled on" "--grow off" "--cert-rows 0"; do
    misused "${option% *} belongs to -m MODEL" reason -f two.txt $option
done
good reason -f two.txt --threads 1
refused "no regular expression" reason -f two.txt --regex '('
good reason -f two.txt --regex ' A ' --csv
check "regex: two sentences" is "$(wc -l <"$out")" 3

# ---- sentences that the line lists --------------------------------------------------------------
py <<'PYTHON'
text = "<think>One here.  Two\n there, three. Four</think> Five after it."
given = ['One here.', {"text": "Two there,"}, {"text": " three."}, "Five after it."]
import json
lines = [{"text": text, "sentences": given}, {"text": text}, {"text": text, "sentences": ["One", "nowhere"]},
         {"text": text, "sentences": ["Five", "One"]}, {"text": text, "sentences": [7]}, {"text": text, "sentences": []}]
open("given.jsonl", "w").write("".join(json.dumps(x) + "\n" for x in lines))
PYTHON
run reason --jsonl given.jsonl --given --csv
check "given: exit 1" is "$code" 1
check "given: four sentences and a head" is "$(grep -c '^"line 1"\|^trace' "$out")" 5
check "given: white space matches" says "$out" '"Two'
check "given: behind the reasoning" says "$out" '"Five after it."'
for said in 'line 2 has no list "sentences"' "line 3: sentence 1 does not stand" "line 4: sentence 1 does not stand" \
    "line 5: sentence 0 does not stand"; do
    check "given says: $said" says "$err" "$said"
done
check "given: an empty list is no failure" is "$(wc -l <"$err")" 4
misused "--given belongs to --jsonl" reason -f two.txt --given

# ---- two traces side by side --------------------------------------------------------------------
printf 'A first sentence! Something else. a FIRST sentence.' >three.txt
good reason --compare two.txt three.txt
check "compare: counts" says "$out" "sentences                           2            3"
check "compare: one of A's is in B, two of B's in A" says "$out" "that the other has                1            2"
good reason --compare two.txt three.txt --json
check "compare: parses" parses "$out"
check "compare: shared" says "$out" '{"shared":[1,2],"a":{"version":1,'
good reason --compare empty.txt two.txt
refused "cannot open absent.txt" reason --compare two.txt absent.txt
misused "--compare wants two files" reason --compare two.txt
misused "--compare wants two files" reason --compare two.txt three.txt -f one.txt
report
