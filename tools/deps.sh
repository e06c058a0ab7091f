#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# deps.sh — gets and builds what the C code stands on, once for all clones, and prints where it is:
#
#   <printed>/include   llama.h, ggml*.h, gguf.h, ggml-backend-impl.h
#   <printed>/lib       libllama.a libggml.a libggml-cpu.a libggml-base.a
#   <printed>/yyjson    yyjson.c yyjson.h
#
# deps.sh json prints a directory with yyjson only (the sanitizer build needs no llama.cpp). deps.sh onednn
# prints one with include/oneapi/dnnl and lib/libdnnl.so.3, or nothing: without AVX2, and where it cannot be
# had, ggml multiplies.
#
# llama.cpp comes from SPARSETRACE_LLAMA_PREFIX (an installation that also has ggml-backend-impl.h), else
# from the source tree SPARSETRACE_LLAMA_SRC, else from the pinned package. The cache key holds the package's
# hash, the compiler, the flags and what -march=native means on this machine.
set -euo pipefail
. "$(dirname "$0")/fetch.sh"

cc=${CC:-cc}
cxx=${CXX:-c++}
flags=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
    -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF -DLLAMA_BUILD_COMMON=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF
    # ggml's AMX products of quantised weights end in an illegal instruction where GCC 12 compiled them: it drops
    # the stores that fill the tile configuration (llama.cpp's pull request 26954)
    "-DCMAKE_C_FLAGS=${CFLAGS:+$CFLAGS }-U__AMX_INT8__" "-DCMAKE_CXX_FLAGS=${CXXFLAGS:+$CXXFLAGS }-U__AMX_INT8__")

put_json() { # directory
    mkdir -p "$1/yyjson"
    tar xzf "$json_archive" -C "$1/yyjson" --strip-components=2 --wildcards '*/yyjson/yyjson.[ch]' ||
        die "cannot unpack $json_archive"
}

build_json() { # prefix
    [ -d "$1" ] && return 0
    make_cache deps
    local dir
    dir=$(mktemp -d "$cache/deps/.json-XXXXXX")
    put_json "$dir"
    mv -T "$dir" "$1"
}

collect() { # source tree, build tree, prefix
    mkdir -p "$3/include" "$3/lib"
    cp "$1"/include/llama.h "$1"/ggml/include/*.h "$1"/ggml/src/ggml-backend-impl.h "$3/include/"
    for lib in llama ggml ggml-cpu ggml-base; do
        cp "$(find "$2" -name "lib$lib.a" | head -n 1)" "$3/lib/" || die "llama.cpp built no lib$lib.a"
    done
}

compile() { # source tree, build tree
    local log=$2.log
    say "building llama.cpp (once; a few minutes)"
    if ! { cmake -S "$1" -B "$2" "${flags[@]}" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" &&
        cmake --build "$2" --target llama -j "${SPARSETRACE_JOBS:-$(nproc)}"; } >"$log" 2>&1; then
        grep -E 'error|Error' "$log" | head -n 5 >&2
        die "llama.cpp does not build; the whole log is $log"
    fi
}

build_pinned() { # prefix
    [ -d "$1" ] && return 0
    make_cache deps
    local work
    work=$(mktemp -d "$cache/deps/.build-XXXXXX")
    trap "rm -rf '$work'" EXIT # half a build is gigabytes
    tar xzf "$llama_archive" -C "$work" --strip-components=2 --wildcards '*/vendor/llama.cpp' ||
        die "cannot unpack $llama_archive"
    compile "$work/llama.cpp" "$work/build"
    collect "$work/llama.cpp" "$work/build" "$work/prefix"
    put_json "$work/prefix"
    mv -T "$work/prefix" "$1"
}

build_user_tree() { # source tree, prefix: never stamped, the user may be editing it
    [ -f "$1/ggml/src/ggml-backend-impl.h" ] || die "SPARSETRACE_LLAMA_SRC: $1 is not a llama.cpp source tree"
    make_cache deps
    compile "$1" "$2.build"
    collect "$1" "$2.build" "$2"
    put_json "$2"
}

link_prefix() { # installation, prefix: the user's directory stays as it is
    make_cache deps
    mkdir -p "$2"
    ln -sfnT "$1/include" "$2/include"
    ln -sfnT "$1/lib" "$2/lib"
    put_json "$2"
}

build_onednn() { # prefix
    [ -d "$1" ] && return 0
    make_cache deps
    local dir name
    dir=$(mktemp -d "$cache/deps/.onednn-XXXXXX")
    mkdir -p "$dir/lib"
    for name in onednn-cpu-gomp onednn-devel-cpu-gomp; do
        "$python" -m zipfile -e "$(fetch $name)" "$dir/$name" || die "cannot unpack $name"
    done
    mv "$dir"/onednn-devel-cpu-gomp/*.data/data/include "$dir/include" &&
        mv "$dir"/onednn-cpu-gomp/*.data/data/lib/libdnnl.so.3 "$dir/lib/" ||
        die "the packages of oneDNN do not have what is looked for"
    rm -rf "$dir"/onednn-*
    mv -T "$dir" "$1"
}

if [ "${1:-}" = onednn ]; then
    grep -qw avx2 /proc/cpuinfo 2>/dev/null || exit 0
    prefix=$cache/deps/onednn-$(lock_line onednn-cpu-gomp | cut -d' ' -f2)
    (with_lock onednn build_onednn "$prefix") ||
        { say "without oneDNN: matrix products go through ggml, at two thirds of the speed"; exit 0; }
    printf '%s\n' "$prefix"
    exit
fi

json_archive=$(fetch yyjson)
if [ "${1:-}" = json ]; then
    prefix=$cache/deps/json-$(lock_line yyjson | cut -d' ' -f4 | cut -c1-16)
    with_lock json build_json "$prefix"
elif [ -n "${SPARSETRACE_LLAMA_PREFIX:-}" ]; then
    [ -f "$SPARSETRACE_LLAMA_PREFIX/include/ggml-backend-impl.h" ] ||
        die "SPARSETRACE_LLAMA_PREFIX: $SPARSETRACE_LLAMA_PREFIX/include has no ggml-backend-impl.h"
    prefix=$cache/deps/prefix-$(printf %s "$SPARSETRACE_LLAMA_PREFIX" | cksum | cut -d' ' -f1)
    with_lock user link_prefix "$SPARSETRACE_LLAMA_PREFIX" "$prefix"
elif [ -n "${SPARSETRACE_LLAMA_SRC:-}" ]; then
    src=$(cd "$SPARSETRACE_LLAMA_SRC" && pwd) || die "SPARSETRACE_LLAMA_SRC: no such directory"
    prefix=$cache/deps/user-$(printf %s "$src" | cksum | cut -d' ' -f1)
    with_lock user build_user_tree "$src" "$prefix"
else
    key=$({
        lock_line llama-cpp-python
        lock_line yyjson
        "$cc" --version
        "$cxx" --version
        echo "${flags[@]}"
        "$cc" -march=native -Q --help=target 2>/dev/null || uname -m
    } | cksum | cut -d' ' -f1)
    prefix=$cache/deps/llama-$(lock_line llama-cpp-python | cut -d' ' -f2)-$key
    if [ ! -d "$prefix" ]; then
        llama_archive=$(fetch llama-cpp-python)
        with_lock llama build_pinned "$prefix"
    fi
fi
printf '%s\n' "$prefix"
