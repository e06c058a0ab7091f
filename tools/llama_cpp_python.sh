#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# llama_cpp_python.sh [--installed] — stock llama-cpp-python in a virtual environment of its own, built
# once from the package in deps.lock: shared libraries, this machine's instructions. Prints the path of
# its python. --installed builds nothing and fails if there is none.
#
# __AMX_INT8__: as in deps.sh. SPARSETRACE_LLAMA_CPP_ARGS replaces the build's CMake options; each set of options is an environment.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

args=${SPARSETRACE_LLAMA_CPP_ARGS--DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF -DLLAVA_BUILD=OFF \
-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF \
-DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DCMAKE_C_FLAGS=-U__AMX_INT8__ -DCMAKE_CXX_FLAGS=-U__AMX_INT8__}
key=$({
    lock_line llama-cpp-python
    echo "$args"
    "$python" --version
    "${CC:-cc}" --version
    "${CC:-cc}" -march=native -Q --help=target 2>/dev/null || uname -m
} | cksum | cut -d' ' -f1)
env=$cache/llama-cpp-python/$key

build() {
    [ -f "$env/ready" ] && return 0
    say "building llama-cpp-python (once; several minutes)"
    rm -rf "$env"
    make_cache llama-cpp-python
    "$python" -m venv "$env" || die "cannot make a virtual environment in $env"
    CMAKE_ARGS=$args CMAKE_BUILD_PARALLEL_LEVEL=${SPARSETRACE_JOBS:-$(nproc)} nice -n 10 \
        "$env/bin/python" -m pip install --disable-pip-version-check "$archive" >"$env.log" 2>&1 ||
        die "cannot install llama-cpp-python: $(tail -n 1 "$env.log"); the whole log is $env.log"
    touch "$env/ready"
}

if [ "${1:-}" = --installed ]; then
    [ -f "$env/ready" ] || die "llama-cpp-python is not installed (tools/llama_cpp_python.sh installs it)"
else
    archive=$(fetch llama-cpp-python)
    with_lock llama-cpp-python-env build
fi
printf '%s\n' "$env/bin/python"
