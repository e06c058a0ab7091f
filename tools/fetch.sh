# SPDX-License-Identifier: MIT
#
# fetch.sh — sourced by the other tools: where the cache is, and packages by name out of deps.lock.
#
# The cache is shared by all clones and survives them: packages/ (as downloaded), deps/ (built libraries),
# models/, weights/, test-env/. Everything in it is made under another name first and renamed when whole.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock_file=${SPARSETRACE_LOCK:-$tools/deps.lock}
cache=${SPARSETRACE_CACHE:-${XDG_CACHE_HOME:-${HOME:-.}/.cache}/sparsetrace}
python=${PYTHON:-python3}

die() {
    printf 'sparsetrace: %s\n' "$*" >&2
    exit 1
}

say() {
    printf 'sparsetrace: %s\n' "$*" >&2
}

make_cache() {
    mkdir -p "$cache/$1" || die "cannot create the cache directory $cache/$1"
}

# with_lock NAME COMMAND...: one process at a time, so that two clones do not build the same thing.
with_lock() {
    local name=$1
    shift
    make_cache locks
    if command -v flock >/dev/null; then
        (
            flock 9
            "$@"
        ) 9>"$cache/locks/$name"
    else
        "$@"
    fi
}

sha256_of() {
    "$python" -c 'import hashlib, sys
h = hashlib.sha256()
with open(sys.argv[1], "rb") as f:
    while b := f.read(1 << 20):
        h.update(b)
print(h.hexdigest())' "$1"
}

lock_line() {
    grep -E "^$1 " "$lock_file" || die "$1 is not in $lock_file"
}

# fetch NAME: prints the path of the package's archive, downloading it if the cache has none.
fetch() {
    local name version kind hash path
    read -r name version kind hash < <(lock_line "$1")
    path=$cache/packages/$name-$version.${hash:0:16}.$([ "$kind" = source ] && echo tar.gz || echo whl)
    [ -f "$path" ] || with_lock "$name" download "$name" "$version" "$kind" "$hash" "$path" || return 1
    printf '%s\n' "$path"
}

download() {
    local name=$1 version=$2 kind=$3 hash=$4 path=$5 dir log only
    [ -f "$path" ] && return 0
    make_cache packages
    dir=$(mktemp -d "$cache/packages/.get-XXXXXX") || die "cannot write to $cache/packages"
    log=$dir/log
    say "downloading $name $version"
    printf '%s==%s --hash=sha256:%s\n' "$name" "$version" "$hash" >"$dir/requirement"
    only=--only-binary
    [ "$kind" = source ] && only=--no-binary
    if ! "$python" -m pip download --quiet --no-deps --require-hashes "$only" :all: \
        --disable-pip-version-check -d "$dir/out" -r "$dir/requirement" >"$log" 2>&1; then
        local reason
        reason=$(grep -E 'ERROR|error' "$log" | tail -n 1)
        grep -q 'DO NOT MATCH THE HASHES' "$log" &&
            reason="the file that was served is not the one in deps.lock (wrong sha256); it was not used"
        grep -qE 'No module named pip' "$log" && reason="$python has no pip"
        rm -rf "$dir"
        case $reason in
        *"wrong sha256"*) die "cannot use $name $version: $reason" ;;
        *) die "cannot download $name $version (is the network up?): ${reason:-pip gave no reason}" ;;
        esac
    fi
    mv "$dir"/out/* "$path" || die "cannot write $path"
    rm -rf "$dir"
}
