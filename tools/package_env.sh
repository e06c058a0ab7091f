#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# package_env.sh — what the tests of the Python package (python/) need: prints the path of a python that has PyTorch and
# transformers, in a virtual environment made once per requirements file and Python. Exits 77 and says why where they
# cannot be installed. PyTorch's build for the CPU is enough; pip's own settings say from where it comes.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

key=$({
    cat "$tools/package_requirements.txt"
    "$python" --version
} | cksum | cut -d' ' -f1)
env=$cache/package-env/$key

build() {
    [ -f "$env/ready" ] && return 0
    say "making the Python package's test environment (once; PyTorch is large)"
    rm -rf "$env"
    make_cache package-env
    "$python" -m venv "$env" &&
        "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$tools/package_requirements.txt" \
            >"$env.log" 2>&1 && touch "$env/ready"
}

if ! (with_lock package-env build); then
    say "SKIP: PyTorch and transformers cannot be installed (is the network up?): $(tail -n 1 "$env.log")"
    exit 77
fi
printf '%s\n' "$env/bin/python"
