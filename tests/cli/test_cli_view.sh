#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_view.sh — sparsetrace view: its usage, and what it leaves behind. What is in the page and what the server
# answers: tests/viewer/.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"

cp "$ST_SOURCE_DIR/tests/golden/trace_v1/data/trace.safetensors" good.trace
head -c 900 good.trace >cut.trace
echo 'not a trace at all, but long enough to be one' >foreign.trace

misused "TRACE" view
misused "-o OUT.html or --serve" view good.trace
misused "two ways" view good.trace -o page.html --serve
misused "unexpected \"more\"" view good.trace more -o page.html
misused "is not a port" view good.trace --serve http
misused "is not a port" view good.trace --serve 65536
misused "is not a port" view good.trace --serve -- -1
misused "--max-bytes" view good.trace -o page.html --max-bytes 199999
misused "--max-bytes" view good.trace -o page.html --max-bytes much

refused "no-such.trace" view no-such.trace -o page.html
refused "byte" view cut.trace -o page.html
refused "byte" view foreign.trace -o page.html
refused "byte" view cut.trace --serve 0
refused "no-such-folder/page.html" view good.trace -o no-such-folder/page.html
refused "cannot write" view good.trace -o .
refused "no-such.json" view good.trace -o page.html --routes no-such.json
refused "not what sparsetrace route --json prints" view good.trace -o page.html --routes foreign.trace
refused "not what sparsetrace reason --json prints" view good.trace -o page.html --reason good.trace

good view good.trace -o page.html
check "the page is there" test -s page.html
check "says the whole trace" says "$out" "page.html, "
check "nothing is left beside it" absent page.html.tmp
check "the page begins as one" starts page.html "<!doctype html>"

echo old >page.html
good view good.trace -o page.html --json
check "an older file is replaced" starts page.html "<!doctype html>"
check "--json parses" parses "$out"
check "--json names the file" says "$out" '"file":"page.html"'

cp page.html before.html
good view good.trace -o page.html
check "the same trace gives the same page" cmp -s before.html page.html

good view good.trace -o page.html --max-bytes 200000
check "the least size holds the page" test "$(stat -c %s page.html)" -le 200000

mkfifo pipe
cat pipe >through &
good view good.trace -o pipe
wait
check "a pipe is written to as it is" cmp -s through page.html
report
