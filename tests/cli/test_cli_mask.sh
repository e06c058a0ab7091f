#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_mask.sh — sparsetrace mask as a program: what it writes, what it says, and that bad input
# or a bad place to write to is one clear sentence and leaves nothing behind. The numbers are the
# business of tests/python/test_reference.py.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"

make_inputs() {
    py <<'PYTHON'
import numpy as np
from safetensors.numpy import save_file

r = np.random.default_rng(3)


def draw(*shape):
    return r.standard_normal(shape).astype(np.float32)


def save(name, **change):
    tensors = {**good, **change}
    save_file({n: x for n, x in tensors.items() if x is not None}, name + ".st")


good = dict(q=draw(4, 100, 16), k=draw(2, 200, 16), v=draw(2, 200, 8))
save("good")
save("without_q", q=None)
save("without_k", k=None)
save("without_v", v=None)
for name in "qkv":
    save(f"{name}_two_indices", **{name: good[name][0].copy()})
    save(f"{name}_four_indices", **{name: good[name][None].copy()})
    save(f"{name}_double", **{name: good[name].astype(np.float64)})
    save(f"{name}_integer", **{name: good[name].astype(np.int32)})
    for index in range(3):
        shape = [0 if i == index else 2 for i in range(3)]
        save(f"{name}_zero_{index}", **{name: np.zeros(shape, np.float32)})
save("other_d", k=draw(2, 200, 17))
save("wide", q=draw(4, 2, 2049), k=draw(2, 4, 2049))
save("heads", k=draw(3, 200, 16), v=draw(3, 200, 8))
save("v_heads", v=draw(1, 200, 8))
save("v_tokens", v=draw(2, 199, 8))
save("v_wide", v=draw(2, 200, 2049))
save("more_rows_than_keys", q=draw(4, 201, 16))
for operand in "qk":
    for kind, bad in ("nan", np.nan), ("inf", np.inf), ("minus_inf", -np.inf):
        x = good[operand].copy()
        x[0, 60, 3] = bad
        save(f"{operand}_{kind}", **{operand: x})
raw = open("good.st", "rb").read()
pieces = {
    "empty": b"",
    "seven_bytes": raw[:7],
    "no_header": raw[:8],
    "half_header": raw[:60],
    "one_byte_short": raw[:-1],
    "one_byte_long": raw + b"\0",
    "huge_header": b"\xff" * 8 + raw[8:],
    "text": b"once upon a time\n",
    "zeros": bytes(4096),
}
for name, content in pieces.items():
    open(name + ".st", "wb").write(content)
PYTHON
    mkdir directory
    ln -s loop loop
    mkfifo pipe
}

bad() { # TEXT INPUT [ARGUMENTS...]: whether or not there is an older output
    local text=$1 input=$2
    shift 2
    refused "$text" mask "$input" -o new.st "$@"
    refused "$text" mask "$input" -o old.st "$@"
}

test_bad_files() {
    bad "No such file" missing.st
    bad "directory" directory
    bad "not a regular file" pipe
    bad "symbolic links" loop
    bad "ends inside the length" empty.st
    bad "ends inside the length" seven_bytes.st
    bad "header" no_header.st
    bad "header" half_header.st
    bad "header" huge_header.st
    bad "header" zeros.st
    bad "byte" text.st
    bad "ends at" one_byte_short.st
    bad "byte" one_byte_long.st
    if [ "$(id -u)" -ne 0 ]; then # root may read everything
        chmod 000 without_v.st
        bad "Permission denied" without_v.st
        chmod 644 without_v.st
    fi
}

test_bad_tensors() {
    local name index
    bad 'no tensor "q"' without_q.st
    bad 'no tensor "k"' without_k.st
    for name in q k v; do
        bad "tensor \"$name\" must have the shape" ${name}_two_indices.st
        bad "tensor \"$name\" must have the shape" ${name}_four_indices.st
        bad "tensor \"$name\" must be F32, F16 or BF16" ${name}_double.st
        bad "tensor \"$name\" must be F32, F16 or BF16" ${name}_integer.st
        for index in 0 1 2; do
            bad "tensor \"$name\" must have the shape" ${name}_zero_$index.st
        done
    done
    bad "q and k must have the same d" other_d.st
    bad "2048" wide.st
    bad "n_kv_head" heads.st
    bad "v must have the heads and tokens of k" v_heads.st
    bad "v must have the heads and tokens of k" v_tokens.st
    bad "d at most 2048" v_wide.st
}

test_bad_settings() {
    bad "--first-query" more_rows_than_keys.st
    bad "need as many keys" good.st --first-query 101
    bad "need as many keys" good.st --first-query 2147483000
    bad "out of reach" good.st --pruned 0.99
    bad "method hip" good.st --mass 0.5 --select hip
    bad "method window" good.st --mass 0.5 --select window
}

test_bad_places() {
    refused "No such file or directory" mask good.st -o missing/new.st
    refused "directory" mask good.st -o directory
    refused "not a regular file" mask good.st -o pipe
    refused "path is empty" mask good.st -o ''
    refused "Not a directory" mask good.st -o old.st/new.st
    if [ -c /dev/full ]; then
        refused "/dev/full" mask good.st -o /dev/full
        check "/dev/full is still a device" test -c /dev/full
    fi
    if [ "$(id -u)" -ne 0 ]; then
        chmod 555 directory
        refused "Permission denied" mask good.st -o directory/new.st
        chmod 755 directory
    fi
}

# The disk fills while the output is written: a limit on the file's size stands for it.
test_full_disk() {
    local target before
    for target in new.st old.st; do
        before=$(snapshot)
        code=0
        (
            trap '' XFSZ
            ulimit -f 2
            exec "$ST_CLI" mask good.st -o $target
        ) >"$out" 2>"$err" || code=$?
        check "full disk: exit 1, not $code" is "$code" 1
        check "full disk: the file is named" says "$err" "cannot write $target"
        check "full disk: nothing is left of $target" is "$(snapshot)" "$before"
    done
}

# What the header of the output and the report say is so, and agree.
check_output() { # FILE REPORT BLOCK_Q BLOCK_K
    py "$@" <<'PYTHON'
import json, sys
import numpy as np
from safetensors import safe_open

file, report, bq, bk = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
with safe_open(file, "np") as f:
    meta, t = f.metadata(), {name: f.get_tensor(name) for name in f.keys()}
first_blk, last_blk = 100 // bq, 199 // bq
nbq, nbk = last_blk - first_blk + 1, -(-200 // bk)
assert meta["format"] == "sparsetrace.mask" and meta["select"] == report["select"] == "stream", meta
assert (int(meta["block_q"]), int(meta["block_k"]), int(meta["first_query"])) == (bq, bk, 100), meta
assert (report["n_head"], report["n_q"], report["n_k"], report["d"]) == (4, 100, 200, 16)
assert (report["block_q"], report["block_k"], report["scanned"]) == (bq, bk, False)
assert t["indptr"].shape == (4 * nbq + 1,)
assert t["indptr"][0] == 0 and t["indptr"][-1] == len(t["indices"]) == report["kept_blocks"]
for row, (a, b) in enumerate(zip(t["indptr"], t["indptr"][1:])):
    last = min((first_blk + row % nbq + 1) * bq, 200) - 1
    kept = t["indices"][a:b]
    assert (np.diff(kept) > 0).all() and kept[0] == 0 and kept[-1] == last // bk < nbk
    np.testing.assert_allclose(t["mass"][a:b].sum(), 1, atol=1e-5)
types = {name: str(x.dtype) for name, x in t.items()}
assert types.pop("indptr") == "int64" and types.pop("indices") == "int32"
assert types == {"mass": "float32", "lse": "float32", "out": "float32"}
assert t["lse"].shape == (4, 100) and t["out"].shape == (4, 100, 8)
assert report["causal_pairs"] == 4 * (100 * 100 + 100 * 101 // 2)
assert 0 < report["kept_pairs"] < report["causal_pairs"]
assert abs(report["pruned_fraction"] - (1 - report["kept_pairs"] / report["causal_pairs"])) < 1e-6
recall = report["recall"]
assert 0 < recall["worst_head"] <= recall["mean"] <= 1 and recall["rows"] == 64
assert report["seconds"]["select"] >= 0 and report["seconds"]["attend"] >= 0
PYTHON
}

test_output() {
    good mask good.st -o out.st --k 5 --json
    check "mask --json parses" parses "$out"
    check "the output is what it says" check_output out.st "$out" 32 16
    good mask good.st -o out.st --k 12 --block-q 24 --block-k 5 --json
    check "the output is what it says" check_output out.st "$out" 24 5
    good mask good.st -o out.st --k 5 --cert-rows 0 --json
    check "no certified rows: no recall" says "$out" '"recall":null'
    good mask good.st -o out.st --k 5
    check "the table tells the share" says "$out" "% of the causal pairs"
    good mask without_v.st -o out.st --k 5 --json
    check "mask --json parses" parses "$out"
}

# An older file is replaced; threads change no byte of it.
test_replacing() {
    good mask good.st -o one.st --k 6 --threads 1
    for threads in 2 5; do
        good mask good.st -o many.st --k 6 --threads $threads
        check "$threads threads give the same bytes" cmp one.st many.st
    done
}

# NaN and infinity in a row or a key: the program goes on; what does not read them is not touched.
check_spread() { # CLEAN DIRTY OPERAND
    py "$@" <<'PYTHON'
import sys
import numpy as np
from safetensors.numpy import load_file

clean, dirty, operand = load_file(sys.argv[1]), load_file(sys.argv[2]), sys.argv[3]
nbq, nbk, other_heads = 4, 13, slice(2, 4)  # those of the KV head that was not touched
for name in ("lse", "out"):
    assert np.isfinite(clean[name]).all()
    np.testing.assert_array_equal(clean[name][other_heads], dirty[name][other_heads])
for h in range(4)[other_heads]:
    rows = [t["indices"][slice(*t["indptr"][[nbq * h, nbq * (h + 1)]])] for t in (clean, dirty)]
    np.testing.assert_array_equal(*rows)
if operand == "q":  # row 60 of head 0
    assert np.isfinite(np.delete(dirty["out"].reshape(400, 8), 60, axis=0)).all()
assert (dirty["indptr"][0], dirty["indptr"][-1]) == (0, len(dirty["indices"]))
for a, b in zip(dirty["indptr"], dirty["indptr"][1:]):
    kept = dirty["indices"][a:b]
    assert len(kept) > 0 and (np.diff(kept) > 0).all() and 0 <= kept[0] and kept[-1] < nbk
PYTHON
}

test_not_finite() {
    local method name
    for method in stream flat scan exact hip auto; do
        good mask good.st -o clean.st --k 5 --select $method
        for name in {q,k}_{nan,inf,minus_inf}; do
            good mask $name.st -o dirty.st --k 5 --select $method --json
            check "$name, $method: the report parses" parses "$out"
            check "$name, $method: others stay" check_spread clean.st dirty.st ${name:0:1}
        done
    done
}

test_lost_report() {
    [ -c /dev/full ] || return 0
    code=0
    "$ST_CLI" mask good.st -o out.st >/dev/full 2>"$err" || code=$?
    check "report into a full disk: exit 1" is "$code" 1
    check "report into a full disk: a message" says "$err" "cannot write the output"
}

test_own_input() {
    cp good.st own.st
    cp good.st own.tmp
    misused "which it needs" mask own.st -o own.st
    misused "which it needs" mask own.tmp -o own
    rm own.st own.tmp
}

make_inputs
good mask good.st -o old.st
test_own_input
test_bad_files
test_bad_tensors
test_bad_settings
test_bad_places
test_full_disk
test_output
test_replacing
test_not_finite
test_lost_report
report
