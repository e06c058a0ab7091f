#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# demo.sh BUILD_DIR — the main job on a real model: SmolLM2-135M-Instruct reads a prompt of some 4,000 tokens
# with one number hidden in it, and is asked for the number. Writes demo.trace and demo.html.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/fetch.sh
cli=${1:-build}/sparsetrace
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

model=$(tools/fetch_model.sh smollm2)
"$python" examples/needle_prompt.py --words 3000 --seed 1 --answer "$folder/answer" >"$folder/prompt.txt"
answer=$(cat "$folder/answer")

cat <<END

The prompt: filler, one sentence that matters, and a question.
  ... $(grep '^One of the special' "$folder/prompt.txt") ...
  $(tail -n 1 "$folder/prompt.txt")
The answer begins "$answer"; what token comes next?

\$ sparsetrace trace -m SmolLM2.gguf -f prompt.txt --chat --answer "..." -o demo.trace
END
"$cli" trace -m "$model" -f "$folder/prompt.txt" --chat --answer "$answer" -o demo.trace
printf '\n$ sparsetrace info demo.trace --top 8\n'
"$cli" info demo.trace --top 8
printf '\n$ sparsetrace view demo.trace -o demo.html\n'
"$cli" view demo.trace -o demo.html
printf '\nLook at it: open %s/demo.html in a browser, and press "find the needle".\n' "$PWD"
