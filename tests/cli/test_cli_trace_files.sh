#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# test_cli_trace_files.sh — check, info and export on trace files, good and broken, and on what is
# no trace or model at all. The good trace is the sample run of tests/golden/trace_v1.
set -euo pipefail
. "$ST_SOURCE_DIR/tests/cli/lib.sh"

# broken/NAME.tr for every way to break a trace, and broken/list: "NAME|what the complaint names".
make_broken() {
    mkdir broken
    py <<'PYTHON'
import json

raw = open("trace.safetensors", "rb").read()
start = 8 + int.from_bytes(raw[:8], "little")
header, data = json.loads(raw[8:start]), raw[start:]
expected = []


def write(file, head, body):
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + body)


def save(name, complaint, head, body):
    write(f"broken/{name}.tr", head, body)
    expected.append(f"{name}|{complaint}")


def element(name, tensor, at, value, complaint=None):
    """One element of a tensor has other bytes."""
    begin = header[tensor]["data_offsets"][0] + at * len(value)
    save(name, complaint or tensor, header, data[:begin] + value + data[begin + len(value):])


def meta(name, key, value, complaint):
    changed = {k: v for k, v in header["__metadata__"].items() if k != key}
    if value is not None:
        changed[key] = value
    save(name, complaint, {**header, "__metadata__": changed}, data)


def geometry(name, complaint, **change):
    whole = json.loads(header["__metadata__"]["geometry"])
    meta(name, "geometry", json.dumps({**whole, **change}), complaint)


def i32(x):
    return x.to_bytes(4, "little", signed=True)


def i64(x):
    return x.to_bytes(8, "little", signed=True)


f32_nan, f32_two = b"\0\0\xc0\x7f", b"\0\0\0\x40"
element("index_beyond", "layer.0.indices", 58, i32(13))
element("index_negative", "layer.1.indices", 0, i32(-1))
element("index_twice", "layer.3.indices", 1, i32(0))
element("mass_nan", "layer.0.mass", 5, b"\x00\x7e")
element("mass_above_one", "layer.1.mass", 5, b"\x01\x3c")
element("mass_minus_zero", "layer.3.mass", 5, b"\x00\x80")
element("pointer_start", "layer.0.indptr", 0, i64(1))
element("pointer_falls", "layer.1.indptr", 3, i64(0))
element("pointer_end", "layer.3.indptr", 7, i64(28))
element("head_beyond", "layer.0.head", 1, i32(2))
element("head_twice", "layer.1.head", 1, i32(0))
element("lse_nan", "layer.0.lse", 7, f32_nan)
element("recall_above_one", "layer.1.cert_recall", 2, f32_two)
element("err_nan", "layer.3.cert_err", 0, f32_nan)
element("cert_row_beyond", "layer.0.cert_rows", 6, i64(50))
element("piece_falls", "piece_ptr", 9, i64(0))
element("recall_other", "layer.0.cert_recall", 1, bytes(4), "recall")
meta("no_format", "format", None, "format")
meta("other_format", "format", "sparsetrace.mask", "format")
meta("newer_version", "format_version", "2", "version")
meta("odd_version", "format_version", "one", "version")
meta("no_geometry", "geometry", None, "geometry")
meta("geometry_no_json", "geometry", "{", "geometry")
meta("no_certificate", "certificate", None, "certificate")
meta("recipe_no_json", "recipe", "{model}", "recipe")
geometry("no_tokens", "n_tok", n_tok=0)
geometry("too_many_tokens", "n_tok", n_tok=2**31)
geometry("other_length", "shape", n_tok=51, n_tok_run=51)
geometry("no_block", "bq", bq=0)
geometry("big_block", "bk", bk=65537)
geometry("rows_beyond", "row_end", row_end=51)
geometry("floor_above", "mass_floor", mass_floor=2)
geometry("no_layers", "layers", layers=None)
for tensor in ("layer.1.indptr", "layer.1.mass", "layer.0.cert_err", "text"):
    renamed = {("other" if k == tensor else k): v for k, v in header.items()}
    save("without_" + tensor.replace(".", "_"), tensor, renamed, data)
typed = {**header, "layer.0.indices": {**header["layer.0.indices"], "dtype": "F32"}}
save("index_type", "layer.0.indices", typed, data)
for n in (0, 7, 8, 100, start, start + 500, len(raw) - 1):
    open(f"broken/cut_{n}.tr", "wb").write(raw[:n])
    expected.append(f"cut_{n}|byte")
open("broken/text.tr", "w").write("not a trace at all\n")
expected.append("text|byte")
open("broken/list", "w").write("\n".join(expected) + "\n")
PYTHON
}

# Sound traces that ask for trouble: steering.tr wants to steer the terminal; huge.tr claims more
# tokens than there will be room for.
make_tricky() {
    py <<'PYTHON'
import json
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

with safe_open("trace.safetensors", "np") as f:
    meta, tensors = f.metadata(), {name: f.get_tensor(name) for name in f.keys()}
name = "\x1b[31mred\x1b]0;title\x07\r\nsecond line\u009b"
model = {"name": name, "sha256": "\x1b" * 64}
meta["recipe"] = json.dumps({"model": model, "select": {"method": "\x08"}})
meta["result"] = json.dumps({"next_token": {"against": "\x1b[2J", "agree": True}})
tensors["text"] = np.full(67, 0x1b, np.uint8)
save_file(tensors, "steering.tr", meta)

n_tok = 2**31 - 1
layer = {"layer": 0, "n_head": 1, "kind": "sparse", "recorded": True,
         "kept_pairs": 0, "visible_pairs": 0, "exact_pairs": 0}
geometry = {"n_tok": n_tok, "n_tok_run": n_tok, "bq": 65536, "bk": 1, "complete": True,
            "row_begin": 0, "row_end": n_tok, "mass_floor": 0.0, "layers": [layer]}
tensors = {"head": np.zeros(1, np.int32), "indptr": np.zeros(2**15 + 1, np.int64),
           "indices": np.zeros(0, np.int32), "mass": np.zeros(0, np.float16)}
save_file({f"layer.0.{noun}": x for noun, x in tensors.items()}, "huge.tr",
          {"format": "sparsetrace.trace", "format_version": "1", "geometry": json.dumps(geometry)})
PYTHON
}

make_places() {
    mkdir directory
    ln -s loop loop
    mkfifo pipe
    printf 'once upon a time there was no model here\n' >text.gguf
    printf 'GGUF' >short.gguf
    printf 'GGUF\3\0\0\0 and so on' >model.gguf
    printf 'STPART3\n and so on' >left.part
    head -c 4096 /dev/zero >zeros.gguf
    cp old.csv old.json
    cp old.csv old.npz
    cp old.csv old.tr
}

# ---- check ---------------------------------------------------------------------------------------

check_verdict() { # REPORT FILE OK COMPLETE N_TOK
    py "$@" <<'PYTHON'
import json, os, sys

report, file = json.load(open(sys.argv[1])), sys.argv[2]
want = {"file": file, "ok": True, "complete": sys.argv[3] == "complete", "n_tok": int(sys.argv[4]),
        "n_layer": 3, "bytes": os.path.getsize(file)}
assert report == want, report
PYTHON
}

check_complaint() { # REPORT FILE WORD
    py "$@" <<'PYTHON'
import json, os, sys

report, file, word = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
assert set(report) == {"file", "ok", "error", "position", "message"}, report
assert report["file"] == file and report["ok"] is False
assert report["error"] == ("limit" if "newer" in file else "format"), report
assert 0 <= report["position"] <= os.path.getsize(file), report
assert word in report["message"] and f"byte {report['position']}" in report["message"], report
PYTHON
}

test_check() {
    local name word file
    good check trace.safetensors
    check "check: one line" one_line "$out"
    check "check: says so" says "$out" "trace.safetensors is sound: 50 tokens, 3 layers"
    good check trace.safetensors --json
    check "check --json: the fields" check_verdict "$out" trace.safetensors complete 50
    good check "$ST_SOURCE_DIR/tests/golden/trace_v1/data/trace.safetensors"
    while IFS='|' read -r name word; do
        file=broken/$name.tr
        refused "$word" check "$file"
        run check "$file" --json
        check "check --json $file: exit 1, not $code" is "$code" 1
        check "check --json $file: nothing on stderr" silent "$err"
        check "check --json $file: the fields" check_complaint "$out" "$file" "$word"
    done <broken/list
}

# Files that cannot be read, or are something else, by every verb that reads one.
test_no_trace() {
    local verb
    for verb in check info export; do
        refused "No such file" $verb missing.tr
        refused "directory" $verb directory
        refused "symbolic links" $verb loop
        refused "byte" $verb text.gguf
        refused "byte" $verb zeros.gguf
        refused "no safetensors file" $verb text.gguf
        refused "check --salvage" $verb left.part
        refused "GGUF model" ${verb/info/groups} model.gguf
        if [ "$(id -u)" -ne 0 ]; then # root may read everything
            chmod 000 old.tr
            refused "Permission denied" $verb old.tr
            chmod 644 old.tr
        fi
    done
    refused "not a regular file" check pipe
    refused "not a regular file" export pipe
}

# What breaks a trace's structure stops info and export, too; what only the validator sees they
# leave out.
test_unsound_traces() {
    local name verb
    for name in newer_version other_format no_geometry index_type without_layer_1_mass cut_100; do
        for verb in info export; do
            refused "byte" $verb broken/$name.tr
        done
        refused "byte" export broken/$name.tr -o old.csv
        refused "byte" export broken/$name.tr -o new.npz
    done
    for name in index_beyond mass_nan pointer_falls head_beyond piece_falls; do
        for verb in "export --json" "info --json"; do
            good $verb broken/$name.tr
            check "$verb $name: parses" parses "$out"
        done
    done
}

# ---- models that are none ------------------------------------------------------------------------

test_no_model() {
    local start
    for start in "trace -p text -m" "trace -p text -o new.tr -m" "trace -p text -o old.tr -m"; do
        refused "not a GGUF file" $start text.gguf
        refused "not a GGUF file" $start zeros.gguf
        refused "not a GGUF file" $start trace.safetensors
        refused "not a sound GGUF file" $start short.gguf
        refused "No such file" $start missing.gguf
        refused "not a regular file" $start directory
        refused "not a regular file" $start pipe
        refused "symbolic links" $start loop
    done
    refused "not a sound GGUF file" info short.gguf
}

# ---- export --------------------------------------------------------------------------------------

test_export_whole() {
    good export trace.safetensors
    check "csv is the default" cmp "$out" trace.csv
    good export trace.safetensors --json
    check "--json is json" cmp "$out" trace.json
    good export trace.safetensors --format json
    check "--format json is json" cmp "$out" trace.json
    for format in csv json npz; do
        good export trace.safetensors -o old.$format
        check "-o old.$format: nothing on stdout" silent "$out"
        check "-o old.$format gives $format" cmp old.$format trace.$format
        good export trace.safetensors -o new --format $format
        check "--format $format -o new" cmp new trace.$format
    done
    rm new
}

# The three formats of one part hold the same entries, and those of the whole that the part names.
check_part() { # LAYERS HEADS FIRST_BLOCK LAST_BLOCK, of part.csv, part.json, part.npz
    py "$@" <<'PYTHON'
import csv, json, sys
import numpy as np
import scipy.sparse


def entries(file):
    with open(file, newline="") as f:
        return [(*map(int, list(x.values())[:4]), float(x["mass"])) for x in csv.DictReader(f)]


layers, heads = ([int(x) for x in word.split(",")] for word in sys.argv[1:3])
blocks = range(int(sys.argv[3]), int(sys.argv[4]) + 1)
want = [x for x in entries("trace.csv") if x[0] in layers and x[1] in heads and x[2] in blocks]
assert want and entries("part.csv") == want
document = json.load(open("part.json"))
assert (document["n_tok"], document["bq"], document["bk"]) == (50, 8, 4)
listed = []
for row in document["rows"]:
    at = row["layer"], row["head"], row["query_block"]
    listed += [(*at, *entry) for entry in zip(row["key_blocks"], row["mass"], strict=True)]
assert listed == want
matrix, names = scipy.sparse.load_npz("part.npz").tocoo(), np.load("part.npz")
rows = list(zip(names["layer"], names["head"], names["query_block"]))
assert matrix.shape == (len(rows), 13)
assert [(*rows[r], c) for r, c in zip(matrix.row, matrix.col)] == [x[:4] for x in want]
np.testing.assert_allclose(matrix.data, [x[4] for x in want], rtol=0, atol=1e-8)
PYTHON
}

export_part() { # LAYERS HEADS FIRST_BLOCK LAST_BLOCK OPTIONS...
    local format expected=("${@:1:4}")
    shift 4
    for format in csv json npz; do
        good export trace.safetensors -o part.$format "$@"
    done
    check "export $*: that part in all formats" check_part "${expected[@]}"
}

test_export_parts() {
    export_part 0,1,3 0,1,2 0 6
    export_part 1 0,1,2 0 6 --layers 1
    export_part 0,1 1 0 6 --heads 1
    export_part 1,3 0 0 6 --layers 3,1,1 --heads 0
    export_part 0,1 0,1,2 0 6 --layers 0-1
    export_part 0,1,3 0,1,2 2 3 --rows 16:32
    export_part 0,1,3 0,1,2 2 4 --rows 23:33
    export_part 0,1,3 0,1,2 5 6 --rows -3:
    export_part 0,1,3 0,1,2 0 1 --rows :9
    export_part 0,1,3 0,1,2 5 5 --rows 47
    export_part 0,1,3 0,1,2 6 6 --rows -1
    export_part 1 0,2 2 2 --layers 1 --heads 0,2 --rows 20:21
    refused "layer 2 is not recorded" export trace.safetensors --layers 0-3
    refused "head 3 is not recorded" export trace.safetensors --heads 3
    refused "head 1 is not recorded" export trace.safetensors --layers 3 --heads 1
    refused "layer 2 is not recorded" export trace.safetensors --layers 2 -o old.csv
    refused "layer 2 is not recorded" export trace.safetensors --layers 2 -o new.npz
}

test_export_places() {
    local format
    for format in csv json npz; do
        refused "No such file or directory" export trace.safetensors -o missing/new.$format
        refused "directory" export trace.safetensors -o directory --format $format
        refused "ot a directory" export trace.safetensors -o old.csv/new.$format
        if [ "$(id -u)" -ne 0 ]; then
            chmod 555 directory
            refused "Permission denied" export trace.safetensors -o directory/new.$format
            chmod 755 directory
        fi
    done
    refused "not a regular file" export trace.safetensors -o pipe --format npz
    mkdir directory/with.dot
    good export trace.safetensors -o directory/with.dot/new
    check "a directory's name gives no format" cmp directory/with.dot/new trace.csv
    rm -r directory/with.dot
}

# A pipe or a device is written to, not replaced by a file.
test_export_to_no_file() {
    exec 3<>pipe # somebody listens
    good export trace.safetensors -o pipe
    check "the pipe is still a pipe" test -p pipe
    if [ -p pipe ] && [ "$code" -eq 0 ]; then
        check "the text came through" cmp <(head -c "$(wc -c <trace.csv)" <&3) trace.csv
    fi
    exec 3>&-
    ln -s /proc/self/fd/1 stdout # as /dev/stdout is; a file stands behind it here
    good export trace.safetensors -o stdout
    check "export -o stdout: the text came through" cmp "$out" trace.csv
    good view trace.safetensors -o stdout
    good route trace.safetensors --from 0 --graph stdout
    refused "not a regular file" export trace.safetensors -o stdout --format npz
    check "the link to standard output is still one" test -L stdout
    rm stdout
    good route trace.safetensors --from 0 --graph pipe 3<>pipe
    check "route: the pipe is still a pipe" test -p pipe
    [ -c /dev/full ] || return 0
    ln -s /dev/full full.csv
    refused "No space left" export trace.safetensors -o full.csv
    check "the link to a device is still one" test -c full.csv
    rm full.csv
}

# A limit on the size of files stands for a full disk.
test_full_disk() {
    local target before
    for target in {old,new}.{csv,json,npz}; do
        before=$(snapshot)
        code=0
        (
            trap '' XFSZ
            ulimit -f 2
            exec "$ST_CLI" export trace.safetensors -o $target
        ) >"$out" 2>"$err" || code=$?
        check "full disk, $target: exit 1, not $code" is "$code" 1
        check "full disk, $target: one line" one_line "$err"
        check "full disk, $target: a message" starts "$err" "sparsetrace: cannot write"
        check "full disk, $target: nothing is left" is "$(snapshot)" "$before"
    done
    [ -c /dev/full ] || return 0
    for start in "export" "export --json" "info" "info --json" "check" "check --json"; do
        code=0
        "$ST_CLI" $start trace.safetensors >/dev/full 2>"$err" || code=$?
        check "$start into a full disk: exit 1, not $code" is "$code" 1
        check "$start into a full disk: a message" starts "$err" "sparsetrace: cannot write"
    done
}

# ---- info ----------------------------------------------------------------------------------------

# The shares of info are means over the exported entries of the part.
check_info() { # REPORT reads|readers LAYERS FIRST_BLOCK LAST_BLOCK FIRST_KEY LAST_KEY TOP
    py "$@" <<'PYTHON'
import csv, json, os, sys
import numpy as np

report, what = json.load(open(sys.argv[1])), sys.argv[2]
layers = [int(x) for x in sys.argv[3].split(",")]
b0, b1, c0, c1, top = map(int, sys.argv[4:])
mass = np.zeros((4, 3, 7, 13))
for *at, value in list(csv.reader(open("trace.csv", newline="")))[1:]:
    mass[tuple(map(int, at))] = float(value)
heads = [(layer, head) for layer in layers for head in range({0: 2, 1: 3, 3: 1}[layer])]
part = np.array([mass[at] for at in heads])[:, b0:b1 + 1, c0:c1 + 1]
share = part.mean((0, 1)) if what == "reads" else part.sum(2).mean(0)
first, size = (c0, 4) if what == "reads" else (b0, 8)
order = [i for i in np.lexsort((np.arange(len(share)), -share)) if share[i] > 0][:top]
assert abs(report.pop("pruned_fraction") - (1 - 2250 / 6375)) < 1e-6
passages = report.pop(what)
assert report == {"n_tok": 50, "block_q": 8, "block_k": 4, "n_layer": 3, "complete": True,
                  "bytes": os.path.getsize("trace.safetensors"),
                  "kept_pairs": 2250, "causal_pairs": 6375,
                  "recipe": {"model": "none", "seed": 1}, "result": {"text": 'é "quoted"'}}, report
assert len(passages) == len(order) > 0
text = [b" a" if i % 3 == 0 else b"b" for i in range(50)]
text[4:6] = b"\xc3", b"\xa9"
for x in passages:
    i = x["begin"] // size - first
    assert x["end"] == min(x["begin"] + size, 50)
    assert x["text"] == b"".join(text[x["begin"]:x["end"]]).decode()
    assert abs(x["share"] - share[i]) < 1e-6
    if what == "reads":
        s = x["strongest"]
        reader = part[heads.index((s["layer"], s["head"])), :, i].mean()
        assert abs(s["share"] - reader) < 1e-6 and abs(reader - part[:, :, i].mean(1).max()) < 1e-6
np.testing.assert_allclose([x["share"] for x in passages], share[order], atol=1e-6)
PYTHON
}

info_part() { # WHAT LAYERS FIRST_BLOCK LAST_BLOCK FIRST_KEY LAST_KEY TOP OPTIONS...
    local expected=("${@:1:7}")
    shift 7
    good info trace.safetensors --json "$@"
    check "info --json $*" check_info "$out" "${expected[@]}"
}

test_info() {
    info_part reads 0,1,3 6 6 0 12 12
    info_part reads 0,1,3 6 6 0 12 3 --top 3
    info_part reads 0,1,3 2 4 0 12 1000 --top 1000 --rows 23:33
    info_part reads 0,1 0 6 0 12 12 --layers 0,1 --rows 0:
    info_part readers 0,1,3 0 6 1 2 12 --who-reads 5:9
    info_part readers 3 2 3 0 0 12 --who-reads 0 --layers 3 --rows 16:32
    good info trace.safetensors --json --top 0
    check "--top 0: no passages" says "$out" '"reads":[]'
    good info trace.safetensors
    check "info: the file" says "$out" "trace.safetensors, 6.7 kB"
    check "info: the share" says "$out" "64.71 % of the causal pairs"
    check "info: the certificate" says "$out" "78.8 % of the exact mass, 95 % interval 74.1..83.5"
    check "info: the rows" says "$out" "read by rows 48..49"
    good info trace.safetensors --who-reads -6:
    check "info --who-reads: the tokens" says "$out" "who reads tokens 44..49"
    refused "layer 2 is not recorded" info trace.safetensors --layers 2
    refused "head 5 is not recorded" info trace.safetensors --heads 5
}

no_controls() { # FILE: UTF-8 without control characters but the newline
    py "$@" <<'PYTHON'
import sys

text = open(sys.argv[1], encoding="utf8", newline="").read()
assert text and not [c for c in text if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"]
PYTHON
}

test_tricky_traces() {
    local options
    good check steering.tr
    for options in "" "--json" "--who-reads 0:9" "--who-reads 0:9 --json"; do
        good info steering.tr $options
        check "info $options: nothing steers the terminal" no_controls "$out"
    done
    good check huge.tr
    code=0
    (
        ulimit -v 4000000
        exec "$ST_CLI" info huge.tr
    ) >"$out" 2>"$err" || code=$?
    check "no memory: exit 1, not $code" is "$code" 1
    check "no memory: a message" starts "$err" "sparsetrace: out of memory"
}

# ---- check --salvage -----------------------------------------------------------------------------

# A recording that is killed when its journal has this many KiB.
interrupt() {
    rm -rf killed
    mkdir killed
    (
        ulimit -c 0
        ulimit -f "$1"
        "$ST_MAKE_TRACE" killed || true
    ) >"$out" 2>&1
    check "the interrupted run left its journal" test -f killed/trace.safetensors.part
    check "the interrupted run left no trace" absent killed/trace.safetensors
}

# The saved rows are those of the whole run, as far as their query blocks are complete.
check_saved() { # CSV N_TOK
    py "$@" <<'PYTHON'
import csv, sys


def entries(file):
    rows = map(tuple, list(csv.reader(open(file, newline="")))[1:])
    return [x for x in rows if int(x[2]) < int(sys.argv[2]) // 8]


assert entries(sys.argv[1]) and entries(sys.argv[1]) == entries("trace.csv")
PYTHON
}

test_salvage() {
    local kib n_tok part=killed/trace.safetensors.part
    for kib in 4:20 5:40 6:50; do
        n_tok=${kib#*:}
        interrupt "${kib%:*}"
        cp $part before
        good check $part --salvage saved.tr --json
        check "salvage: $n_tok rows" check_verdict "$out" saved.tr salvaged "$n_tok"
        check "salvage leaves the journal" cmp before $part
        good check saved.tr
        check "check tells that it is salvaged" says "$out" "salvaged from an interrupted run"
        good export saved.tr -o saved.csv
        check "salvage: the rows are right" check_saved saved.csv "$n_tok"
        good info saved.tr
        check "info tells that it is salvaged" says "$out" "SALVAGED"
        check "info compares nothing" is "$(grep -c FAITHFUL "$out" || true)" 0
    done
    refused "journal" check trace.safetensors --salvage saved.tr
    refused "byte" check $part
    refused "No such file" check $part --salvage missing/new.tr
    refused "directory" check $part --salvage directory
    refused "not a regular file" check $part --salvage pipe
}

test_nothing_to_salvage() {
    local target
    interrupt 2
    for target in new.tr old.tr; do
        refused "micro-batch" check killed/trace.safetensors.part --salvage $target
        refused "journal" check text.gguf --salvage $target
        refused "journal" check broken/cut_0.tr --salvage $target
        refused "No such file" check missing.part --salvage $target
        refused "directory" check directory --salvage $target
        refused "not a regular file" check pipe --salvage $target
    done
}

"$ST_MAKE_TRACE" .
printf 'what stood here before\n' >old.csv
make_broken
make_tricky
make_places
test_check
test_no_trace
test_unsound_traces
test_no_model
test_export_whole
test_export_parts
test_export_places
test_export_to_no_file
test_full_disk
test_info
test_tricky_traces
test_salvage
test_nothing_to_salvage
report
