#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# ruler.sh — RULER's tasks on the two test models, dense beside pruned: what of the answers is kept at which
# pruned share by `stream`, and by the baselines `hip` and `window` at the same share.
#
#   ruler.sh OUT_DIR [SAMPLES]       SAMPLES of each task and length (20)
#
# Writes OUT_DIR/<model>-{rows,table}.csv and .svg, one line a sample and setting as they come; started again it
# goes on where it stopped. Lengths and tasks can be cut down by SMOLLM2_LENGTHS, GEMMA3_LENGTHS, TASKS, PRUNED and
# SELECT in the environment.
#
# Blocks are of the sizes that the program chooses for a length and share; a length that wants two costs a second dense
# run a sample. What bench/results/ruler-*.csv holds was made a few cells at a time, with these variables.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cli=${ST_CLI:-$root/build/sparsetrace}
out=${1:?"usage: ruler.sh OUT_DIR [SAMPLES]"}
samples=${2:-20}
tasks=${TASKS:-niah_single_1,niah_multikey_2,niah_multikey_3,vt,cwe,fwe}
pruned=${PRUNED:-0.90,0.93,0.96,0.98}
methods=${SELECT:-stream,hip,window}
mkdir -p "$out"

run() { # NAME MODEL LENGTHS
    echo "$1" >&2
    "$cli" ruler -m "$2" --tasks "$tasks" --lengths "$3" --samples "$samples" --select "$methods" \
        --pruned "$pruned" -o "$out/$1-rows.csv" --resume \
        --csv "$out/$1-table.csv" --plot "$out/$1.svg" | tee "$out/$1.txt"
}

run smollm2 "$("$root/tools/fetch_model.sh" smollm2)" "${SMOLLM2_LENGTHS:-1024,2048,4096,8192}"
run gemma3 "$("$root/tools/fetch_model.sh" gemma3)" "${GEMMA3_LENGTHS:-1024,2048,4096,8192,16384}"
