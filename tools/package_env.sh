#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# package_env.sh — what the tests of the Python package (python/) need: prints the path of a python that has PyTorch and
# transformers, in a virtual environment made once per requirements files and Python. Exits 77 and says why where they
# cannot be installed. PyTorch's build for the CPU is enough; pip's own settings say from where it comes.
#
# The tools that the package is a bridge to (bridge_requirements.txt) are tried once in the same environment. Without
# them it is an environment still: the tests of the bridges then skip, and say what is missing.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

key=$({
    cat "$tools/package_requirements.txt" "$tools/bridge_requirements.txt"
    "$python" --version
} | cksum | cut -d' ' -f1)
env=$cache/package-env/$key

install() { # log, pip's arguments
    local log=$1
    shift
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1
}

build() {
    [ -f "$env/ready" ] && return 0
    say "making the Python package's test environment (once; PyTorch is large)"
    rm -rf "$env"
    make_cache package-env
    "$python" -m venv "$env" && install "$env.log" -r "$tools/package_requirements.txt" || return 1
    install "$env.bridges.log" -r "$tools/bridge_requirements.txt" -c "$tools/package_requirements.txt" ||
        say "the bridges' packages cannot be installed, their tests will skip: $(tail -n 1 "$env.bridges.log")"
    touch "$env/ready"
}

if ! (with_lock package-env build); then
    say "SKIP: PyTorch and transformers cannot be installed (is the network up?): $(tail -n 1 "$env.log")"
    exit 77
fi
printf '%s\n' "$env/bin/python"
