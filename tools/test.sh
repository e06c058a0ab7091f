#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test.sh BUILD_DIR — every test: the fast ones, the core under sanitizers, the ones on real models. Goes on
# after a failure, so that one run shows everything; the last lines say what passed, failed and was skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/fetch.sh
build=${1:-build}
jobs=${JOBS:-$(nproc)}

tools/test_env.sh >/dev/null || exit 1
for model in smollm2 gemma3; do
    tools/fetch_model.sh $model >/dev/null || exit 1
done
ST_SMOLLM2=$(tools/fetch_model.sh smollm2)
ST_GEMMA3=$(tools/fetch_model.sh gemma3)
export ST_SMOLLM2 ST_GEMMA3

report=$(mktemp -d)
trap 'rm -rf "$report"' EXIT
failed=0

run() { # name, build directory, ctest arguments
    local name=$1 dir=$2
    shift 2
    say "tests: $name"
    ctest --test-dir "$dir" --no-tests=error --output-on-failure "$@" | tee "$report/$name"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
}

run fast "$build" -L fast -j "$jobs"
cmake -S . -B build-asan -DST_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null &&
    cmake --build build-asan --target tests -j "$jobs" >/dev/null || failed=1
run sanitizers build-asan -L fast -j "$jobs"
run model "$build" -L model -j "$jobs"

echo
grep -hE 'tests passed|Skipped|\*\*\*(Failed|Exception|Timeout)' "$report"/* | sort | uniq
exit $failed
