#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_usage.sh — command lines: help goes to stdout, wrong usage exits 2 with a sentence that
# names the word at fault, and nothing is written.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"

version=$(cat "$ST_SOURCE_DIR/VERSION")
verbs=(trace groups mask info route export view reason watch suppress prove bench ruler check)

test_help() {
    local verb how
    for how in --help -h help; do
        good "$how"
        for verb in "${verbs[@]}"; do
            check "$how lists $verb" says "$out" "sparsetrace $verb "
        done
    done
    for verb in "${verbs[@]}"; do
        good "$verb" --help
        check "$verb --help shows its usage" starts "$out" "usage: sparsetrace $verb "
        check "$verb --help lists --json" says "$out" "  --json "
        good "$verb" --help --no-such-option
    done
    good suppress --help
    check "suppress --help: its own method" says "$out" "scan (default)"
    for verb in reason suppress; do
        good $verb --help
        check "$verb --help: its own block sizes" says "$out" "keys of a key block (1)"
    done
    good mask --help
    check "mask --help: its own block sizes" says "$out" "keys of a key block (16)"
    check "mask --help: no --k auto" is "$(grep -c auto\) "$out")" 0
    for verb in trace mask; do
        good "$verb" --help
        for how in --k --pruned --mass --select --block-q --block-k --sample-rows; do
            check "$verb --help lists $how" says "$out" "  $how "
        done
    done
}

test_version() {
    good --version
    check "--version: one line" one_line "$out"
    check "--version is that of VERSION" starts "$out" "sparsetrace $version ("
    ST_CPU=scalar good --version
    check "--version tells the kernels" says "$out" "(scalar kernels)"
}

test_no_verb() {
    run
    check "no arguments: exit 2" is "$code" 2
    check "no arguments: nothing on stdout" silent "$out"
    check "no arguments: the verbs on stderr" says "$err" "sparsetrace trace"
    misused '"bogus"' bogus
    misused '"TRACE"' TRACE
    misused '"--json"' --json
    misused '""' ''
    misused '"mas"' mas in -o out
}

test_every_verb() {
    local verb
    for verb in "${verbs[@]}"; do
        misused "--no-such-option" "$verb" --no-such-option
        misused "no such option: -z" "$verb" -z
        misused "no such option: -z" "$verb" -zz
        misused "sparsetrace $verb --help" "$verb" --no-such-option
    done
    misused "unexpected \"word\"" trace -m model -p text word
    misused "unexpected \"two\"" mask one two -o out
    misused "unexpected \"two\"" info one two
    misused "unexpected \"two\"" export one two
    misused "unexpected \"two\"" check one two
    misused "IN.safetensors" mask -o out
    misused "TRACE" export
    misused "FILE" check
}

test_values_that_are_missing() {
    local option
    for option in --k --pruned --mass --select --block-q --block-k --sample-rows --threads; do
        misused "$option" mask in -o out "$option"
        misused "$option" trace -m model -p text "$option"
    done
    for option in -m -f -p --tokens -o --answer --against --layers --heads --rows --weights --checkpoint; do
        misused "$option" trace "$option"
    done
    for option in -o --first-query --scale; do
        misused "$option" mask in "$option"
    done
    for option in --layers --heads --rows; do
        misused "$option" info file "$option"
        misused "$option" export file "$option"
    done
    misused --top info file --top
    misused --who-reads info file --who-reads
    misused --format export file --format
    misused --salvage check file --salvage
}

# What trace and mask share.
test_budgets() {
    local start value
    for start in "mask in -o out" "trace -m model -p text"; do
        for value in 0 -1 1.5 many '' 6x 99999999999999999999; do
            misused "--k" $start --k "$value"
        done
        misused "4 blocks are always kept" $start --k 3
        for value in 1 1.5 -0.1 most '' nan inf; do
            misused "--pruned" $start --pruned "$value"
        done
        for value in 0 1 2 -1 most '' nan; do
            misused "--mass" $start --mass "$value"
        done
        for value in 0 -1 1025 x '' 1.5 99999999999999999999; do
            misused "--block-q" $start --block-q "$value"
            misused "--block-k" $start --block-k "$value"
        done
        for value in 0 17 x; do
            misused "--sample-rows" $start --sample-rows "$value"
        done
        misused "--threads" $start --threads 0
        misused "--threads" $start --threads 1025
        misused "--cert-rows" $start --cert-rows -1
        misused '"magic"' $start --select magic
        misused "--select" $start --select ''
        misused "--pruned" $start --k 8 --pruned 0.9
        misused "--pruned" $start --mass 0.5 --pruned 0.9
        misused "--k auto" $start --k auto --mass 0.5
    done
}

test_mask() {
    misused "-o" mask in
    misused "--k auto" mask in -o out --k auto
    misused "--first-query" mask in -o out --first-query -1
    misused "--first-query" mask in -o out --first-query 2147483648
    misused "--scale" mask in -o out --scale x
    misused "--scale" mask in -o out --scale ''
    misused "--scale" mask in -o out --scale nan
    misused "--scale" mask in -o out --scale inf
}

test_trace() {
    local value
    misused "-m MODEL" trace -p text
    misused "one prompt" trace -m model
    misused "one prompt" trace -m model -p text -f file
    misused "one prompt" trace -m model -p text --tokens file
    misused "one prompt" trace -m model -f file --tokens file
    misused "--chat" trace -m model --tokens file --chat
    misused "--answer" trace -m model --tokens file --answer yes
    for value in sparse '' Dense; do
        misused "--against: \"$value\"" trace -m model -p text --against "$value"
    done
    misused "--against" trace -m model -p text --against none
    misused "--max-kl" trace -m model -p text --k 8 --max-kl 0.1
    misused "--strict" trace -m model -p text --k 8 --against none --strict
    misused "--floor" trace -m model -p text --k 8 --against stable --floor
    misused "--floor" trace -m model -p text --k 8 --against none --floor
    misused '--weights: "f16"' trace -m model -p text --weights f16
    for value in x 1,,2 3-1 -1 '' 1, 1-2-3 1048577; do
        misused "--layers" trace -m model -p text --layers "$value"
        misused "--heads" trace -m model -p text --heads "$value"
    done
    misused "-o OUT" trace -m model -p text --checkpoint file
    misused "--checkpoint FILE" trace -m model -p text -o out --resume
    misused "--checkpoint FILE" trace -m model -p text -o out --checkpoint-every 60
    misused "--checkpoint-every" trace -m model -p text -o out --checkpoint file --checkpoint-every -1
    misused "--checkpoint-every" trace -m model -p text -o out --checkpoint file --checkpoint-every soon
    misused "--seed" trace -m model -p text --seed x
    misused "--ubatch" trace -m model -p text --ubatch 0
    misused "--line is 0, must be 1 or more;" trace -m model --data file --line 0
}

test_ruler() {
    local value option
    misused "-m MODEL" ruler
    misused '"word"' ruler -m model word
    for value in niah vt,,cwe '' vt,fwe,vt; do
        misused "--tasks" ruler -m model --tasks "$value"
    done
    misused "--haystack" ruler -m model --tasks niah_single_2
    for value in x 63 -1 '' 1024,x 99999999999; do
        misused "--lengths" ruler -m model --lengths "$value"
    done
    for value in 0 x; do
        misused "--samples" ruler -m model --samples "$value"
    done
    for value in 1 -0.1 x 0.9,most nan 0.9- 0.96-0.9 0.9-1 0.9-nan; do
        misused "--pruned" ruler -m model --pruned "$value"
    done
    for value in 3 x 8,x 1.5; do
        misused "--k" ruler -m model --k "$value"
    done
    misused "too long" ruler -m model --pruned 0.9000000000000000000000000000000000-0.96
    misused "--pruned" ruler -m model --k 8 --pruned 0.9
    misused '"magic"' ruler -m model --select stream,magic
    misused "no method or no budget" ruler -m model --select ''
    misused '--chat: "maybe"' ruler -m model --chat maybe
    misused "--resume" ruler -m model --resume
    misused '--weights: "f16"' ruler -m model --weights f16
    refused "no/such" ruler -m model --haystack no/such
    refused "no/such" ruler -m model --words no/such
    refused "no/such" ruler -m model --data no/such
    refused "no/such" ruler -m no/such --quiet
    : >samples.jsonl
    for option in -o --csv --plot --write-data; do
        misused "over samples.jsonl" ruler -m model --data samples.jsonl $option samples.jsonl
        refused "No such file" ruler -m model $option no/such
    done
    misused "over new" ruler -m model --csv new --plot ./new
    rm samples.jsonl
}

# Spans and lists are held against the trace, so there has to be one.
test_parts() {
    local verb value
    "$ST_MAKE_TRACE" .
    for verb in info export; do
        for value in x 5:3 4:4 60 50:60 '' 1:x; do
            misused "--rows: \"$value\"" "$verb" trace.safetensors --rows "$value"
        done
        for value in x 1,,2 3-1 -1 ''; do
            misused "--layers: \"$value\"" "$verb" trace.safetensors --layers "$value"
            misused "--heads: \"$value\"" "$verb" trace.safetensors --heads "$value"
        done
    done
    for value in x 5:3 60 ''; do
        misused "--who-reads: \"$value\"" info trace.safetensors --who-reads "$value"
    done
    for value in -1 x 1000001; do
        misused "--top" info trace.safetensors --top "$value"
    done
    printf 'no trace at all\n' >text.txt
    refused "text.txt: byte 0" groups text.txt
    refused "trace.safetensors: trace 0 has no groups" groups trace.safetensors trace.safetensors
    refused "text.txt: byte 0" watch --tagger text.txt
    rm text.txt
    misused '"pdf"' export trace.safetensors --format pdf
    misused '"pdf"' export trace.safetensors -o matrix.pdf
    misused '"NPZ"' export trace.safetensors -o matrix.NPZ
    misused "-o" export trace.safetensors --format npz
    misused "--format csv" export trace.safetensors --json --format csv
}

test_info_without_a_file() {
    good info
    check "info tells the version" says "$out" "$version"
    ST_CPU=scalar good info --json
    check "info --json parses" parses "$out"
    check "info --json tells the kernels" says "$out" '"cpu":"scalar"'
}

# What a verb reads it does not write over, whatever the name.
test_output_is_input() {
    : >text.txt
    : >model.gguf
    ln -s text.txt link
    ln text.txt hard
    misused "over text.txt" trace -m model.gguf -f text.txt -o ./text.txt
    misused "over text.txt" trace -m model.gguf -f text.txt -o link
    misused "over model.gguf" trace -m model.gguf -p text -o model.gguf
    misused "over ./new" trace -m model.gguf -p text -o new --checkpoint ./new
    misused "over text.txt" export text.txt -o hard --format csv
    misused "over text.txt" view text.txt -o text.txt
    misused "over link" view model.gguf --routes link -o hard
    misused "over text.txt" route text.txt --from 0 --graph text.txt
    misused "over text.txt" suppress -m model.gguf -f text.txt -o text.txt
    refused "No such file" suppress -m model.gguf -f text.txt -o no/such
    refused "directory" suppress -m model.gguf -f text.txt -o .
    refused "No such file" reason -m model.gguf -f text.txt --layer 0 --hidden no/such
    misused "over text.txt" reason -m model.gguf -f text.txt -o text.txt
    misused "over new" reason -m model.gguf -f text.txt -o new --layer 0 --hidden new
    misused "over text.txt" check text.txt --salvage link
    rm text.txt model.gguf link hard
}

# A full disk behind stdout is an error too.
test_lost_output() {
    local verb
    [ -c /dev/full ] || return 0
    for verb in trace mask info export ruler check; do
        code=0
        "$ST_CLI" "$verb" --help >/dev/full 2>"$err" || code=$?
        check "$verb --help into a full disk: exit 1" is "$code" 1
        check "$verb --help into a full disk: a message" starts "$err" "sparsetrace: cannot write"
    done
}

test_help
test_version
test_no_verb
test_every_verb
test_values_that_are_missing
test_budgets
test_mask
test_trace
test_ruler
test_parts
test_info_without_a_file
test_output_is_input
test_lost_output
report
