# SPDX-License-Identifier: MIT
#
# lib.sh — sourced by the tests of this folder: a scratch directory to stand in, one way to run the
# program, and checks that print what failed and go on. A script ends with `report`.
#
# Every run of the program that is to fail must leave the scratch directory as it was: no output
# file, no .part, no .tmp, and what stood there before unchanged.

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/files" "$scratch/said"
cd "$scratch/files"
out=$scratch/said/out err=$scratch/said/err # of the last run
n_check=0 n_failed=0

check() { # WHAT COMMAND...
    local what=$1
    shift
    n_check=$((n_check + 1))
    if ! "$@"; then
        n_failed=$((n_failed + 1))
        printf 'failed: %s\n' "$what"
        if [ -s "$err" ]; then
            sed 's/^/    stderr: /' "$err"
        fi
    fi
}

report() {
    printf '%d checks, %d failed\n' "$n_check" "$n_failed"
    [ "$n_failed" -eq 0 ]
    exit
}

run() { # ARGUMENTS...: sets code, fills $out and $err
    code=0
    "$ST_CLI" "$@" </dev/null >"$out" 2>"$err" || code=$?
}

snapshot() { # every name here, and the content of every file that can be read
    find . | sort
    find . -type f -readable -exec cksum {} + | sort
}

# ---- what a run must have done ------------------------------------------------------------------

is() { [ "$1" = "$2" ]; }
silent() { [ ! -s "$1" ]; }
says() { grep -qF -- "$2" "$1"; }
starts() { [[ $(head -n 1 "$1") == "$2"* ]]; }
one_line() { [ "$(wc -l <"$1")" -eq 1 ]; }
absent() { [ ! -e "$1" ]; }
parses() { "$ST_PYTHON" -m json.tool "$1" >/dev/null 2>&1; }

good() { # ARGUMENTS...
    run "$@"
    check "$*: exit 0, not $code" is "$code" 0
    check "$*: nothing on stderr" silent "$err"
}

fails() { # CODE TEXT ARGUMENTS...: one sentence on stderr that holds TEXT, nothing else anywhere
    local want=$1 text=$2 before
    shift 2
    before=$(snapshot)
    run "$@"
    check "$*: exit $want, not $code" is "$code" "$want"
    check "$*: nothing on stdout" silent "$out"
    check "$*: one line on stderr" one_line "$err"
    check "$*: the complaint is ours" starts "$err" "sparsetrace: "
    check "$*: names \"$text\"" says "$err" "$text"
    check "$*: files stay as they were" is "$(snapshot)" "$before"
}

refused() { fails 1 "$@"; }
misused() { # TEXT ARGUMENTS...: wrong usage, which also tells where the help is
    fails 2 "$@"
    check "${*:2}: tells of --help" says "$err" "--help"
}

py() { # ARGUMENTS... <PROGRAM: a check in Python, with the arguments as sys.argv[1:]
    "$ST_PYTHON" - "$@"
}
