#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# run_script.sh FILE BUILD_DIR — runs a shell or Python test with what it needs in the environment.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
export ST_SOURCE_DIR=$source_dir ST_BUILD_DIR=$2 ST_CLI=$2/sparsetrace
export ST_MAKE_TRACE=$2/tests/make_trace_v1
export ST_PYTHON
ST_PYTHON=$("$source_dir/tools/test_env.sh")
case $(basename "$1") in
test_model_*)
    ST_SMOLLM2=$("$source_dir/tools/fetch_model.sh" smollm2)
    ST_GEMMA3=$("$source_dir/tools/fetch_model.sh" gemma3)
    export ST_SMOLLM2 ST_GEMMA3
    ;;
test_browser_*) # skips, and says why, where no browser is to be had
    ST_PYTHON=$("$source_dir/tools/browser_env.sh")
    ST_CHROMIUM=$("$source_dir/tools/browser_env.sh" --browser)
    export ST_CHROMIUM
    ;;
esac
case $(basename "$1") in
*_package_*) # skips, and says why, where PyTorch cannot be had
    ST_PYTHON=$("$source_dir/tools/package_env.sh")
    export PYTHONPATH=$source_dir/python SPARSETRACE_LIBRARY=$2/libsparsetrace.so
    ;;
esac
# On a processor that no other such test has: two threads of ggml beside another test wait for each other most of the
# time. (ctest's own PROCESSOR_AFFINITY does nothing in builds of it that use the system's libuv.)
pin() {
    local range cpu slot
    mkdir -p "$1"
    for range in $(taskset -pc $$ | sed 's/.*: //; s/,/ /g'); do
        for cpu in $(seq "${range%-*}" "${range#*-}"); do
            exec {slot}>"$1/$cpu"
            flock -n "$slot" && taskset -pc "$cpu" $$ >/dev/null && return
            exec {slot}>&-
        done
    done
}
case $(basename "$1") in
test_model_*) if type taskset flock seq >/dev/null 2>&1; then pin "$2/tests/processors"; fi ;;
esac
case $1 in
*.py) exec "$ST_PYTHON" -m pytest -q -p no:cacheprovider -rs "$1" ;;
*) exec bash "$1" ;;
esac
