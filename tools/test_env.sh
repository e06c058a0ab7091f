#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_env.sh — a virtual environment with the Python packages of the tests, made once per requirements file
# and Python; prints the path of its python.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

key=$({
    cat "$tools/test_requirements.txt"
    "$python" --version
} | cksum | cut -d' ' -f1)
env=$cache/test-env/$key

build() {
    [ -f "$env/ready" ] && return 0
    say "making the tests' Python environment (once)"
    rm -rf "$env"
    make_cache test-env
    "$python" -m venv "$env" || die "cannot make a virtual environment in $env"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$tools/test_requirements.txt" \
        >"$env.log" 2>&1 || die "cannot install the tests' packages (is the network up?): $(tail -n 1 "$env.log")"
    touch "$env/ready"
}

with_lock test-env build
printf '%s\n' "$env/bin/python"
