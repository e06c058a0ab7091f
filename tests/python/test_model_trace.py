# SPDX-License-Identifier: MIT
"""`sparsetrace trace` from end to end on real models: budgets, report, file, interruption, bad input."""
import gzip
import json
import os
import pathlib
import pty
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors import safe_open

CLI, SOURCE = os.environ["ST_CLI"], pathlib.Path(os.environ["ST_SOURCE_DIR"])
SMOLLM2, GEMMA3 = os.environ["ST_SMOLLM2"], os.environ["ST_GEMMA3"]


def run(*args, code=0, **more):
    done = subprocess.run([CLI, *map(str, args)], capture_output=True, text=True, **more)
    assert done.returncode == code, done.stderr
    return done


def trace(*args, model=SMOLLM2, code=0):
    """The report of a traced prompt."""
    return json.loads(run("trace", "-m", model, "--json", *args, code=code).stdout)


def needle_prompt(folder, words):
    """(folder, options of a prompt with a needle) of about 1.45 tokens a word"""
    answer, prompt = folder / "answer.txt", folder / "prompt.txt"
    text = subprocess.run([sys.executable, SOURCE / "examples/needle_prompt.py", "--words", str(words),
                           "--seed", "1", "--answer", answer], check=True, capture_output=True).stdout
    prompt.write_bytes(text)
    return folder, ["-f", prompt, "--chat", "--answer", answer.read_text()]


@pytest.fixture(scope="module")
def needle(tmp_path_factory):
    """About 2,000 tokens."""
    return needle_prompt(tmp_path_factory.mktemp("needle"), 1400)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """About 700 tokens, for what does not depend on length."""
    return needle_prompt(tmp_path_factory.mktemp("short"), 450)


@pytest.fixture(scope="module")
def auto(needle):
    """(report, path) of the needle prompt with the budget looked for."""
    folder, options = needle
    out = folder / "auto.trace"
    return trace(*options, "-o", out), out


def test_report(auto):
    report, out = auto
    assert report["n_layer"] == 30 and report["n_head"] == 9 and 1800 < report["n_tok"] < 2200
    assert (report["block_q"], report["block_k"], report["select"]) == (32, 16, "stream")
    assert report["pruned_fraction"] == pytest.approx(1 - report["kept_pairs"] / report["causal_pairs"])
    assert report["causal_pairs"] == 270 * report["n_tok"] * (report["n_tok"] + 1) // 2
    next_token = report["next_token"]
    assert next_token["agree"] and next_token["against"] == "dense"
    assert next_token["dense"]["text"] == next_token["sparse"]["text"] and next_token["margin"] > 1
    assert 0 < report["kl"] < 2
    recall = report["recall"]
    assert 0 < recall["worst_head"] <= recall["mean"] <= 1 and recall["p5"] <= recall["mean"]
    assert recall["ci95"][0] <= recall["mean"] <= recall["ci95"][1]
    assert set(report["seconds"]) >= {"total", "dense", "select", "attend"}
    assert report["trace_bytes"] == out.stat().st_size and report["peak_rss_bytes"] > 1e8


def test_needle_is_read_at_over_90_percent_pruned(auto):
    report, out = auto
    assert report["pruned_fraction"] > 0.9 and report["next_token"]["agree"]
    with safe_open(out, "np") as f:
        text = f.get_tensor("text").tobytes().decode()
        pieces = f.get_tensor("piece_ptr")
        needle = text.index("One of the special magic numbers")
        span = [int(np.searchsorted(pieces, needle + at, "right") - 1) // 16 for at in (0, 60)]
        nbq = -(-report["n_tok"] // 32)
        readers = 0
        for layer in range(30):
            indptr, indices = f.get_tensor(f"layer.{layer}.indptr"), f.get_tensor(f"layer.{layer}.indices")
            for head in range(9):
                kept = indices[indptr[head * nbq + nbq - 1]:indptr[head * nbq + nbq]]
                readers += any(span[0] <= block <= span[1] for block in kept)
    assert readers >= 9, "the last rows keep the needle's block in few heads"


def test_file_is_valid_and_names_its_recipe(auto):
    report, out = auto
    assert "is sound" in run("check", out).stdout
    with safe_open(out, "np") as f:
        meta = f.metadata()
    recipe, result = json.loads(meta["recipe"]), json.loads(meta["result"])
    assert result["k"] == report["k"] and len(recipe["model"]["sha256"]) == 64
    read = run("info", out, "--who-reads", "-1:").stdout
    assert "magic" in read


def test_certificate_holds_the_exact_recall(short, tmp_path):
    """More certified rows: another sample of the same truth, within the intervals of both."""
    _, options = short
    options = [*options, "--k", "8", "--against", "none"]
    few = trace(*options)["recall"]
    many = trace(*options, "--cert-rows", "512", "--seed", "7")["recall"]
    assert many["ci95"][1] - many["ci95"][0] < few["ci95"][1] - few["ci95"][0]
    spread = (few["ci95"][1] - few["ci95"][0]) / 2
    assert abs(few["mean"] - many["mean"]) < 2 * spread


def test_selection_orders_as_it_should(short):
    """At one budget: exact keeps the most, then stream, and the window least."""
    _, options = short
    recall = {method: trace(*options, "--k", "8", "--against", "none", "--select", method)["recall"]["mean"]
              for method in ("exact", "scan", "stream", "window")}
    assert recall["exact"] >= recall["scan"] - 0.005 > recall["stream"] - 0.01 > recall["window"]


def test_budgets(short):
    _, options = short
    wide = trace(*options, "--pruned", "0.9", "--against", "none")
    assert wide["pruned_fraction"] >= 0.9
    blocks = ["--block-q", wide["block_q"], "--block-k", wide["block_k"]]
    assert trace(*options, *blocks, "--k", wide["k"] + 1, "--against", "none")["pruned_fraction"] < 0.9
    low, high = (trace(*options, "--mass", p, "--against", "none") for p in ("0.7", "0.95"))
    assert low["recall"]["mean"] < high["recall"]["mean"]
    assert low["pruned_fraction"] > high["pruned_fraction"]
    loose = trace(*options, "--mass", "0.5", "--against", "stable")
    assert loose["kl"] > 0 and loose["mass"] == 0.5 # the reference keeps more, it is not the run itself
    stable = trace(*options, "--against", "stable")
    assert stable["next_token"]["against"] == "stable" and stable["next_token"]["agree"]


def test_a_budget_that_stays_near(short):
    """--max-kl asks for more than the same token, and gets it with more blocks."""
    _, options = short
    same = trace(*options)
    near = trace(*options, "--max-kl", same["kl"] / 4)
    assert near["kl"] <= same["kl"] / 4 and near["next_token"]["agree"]
    assert near["k"] > same["k"] and near["recall"]["mean"] > same["recall"]["mean"]


def test_everything_kept_is_exact(short):
    _, options = short
    report = trace(*options, "--k", "100000")
    assert report["pruned_fraction"] == 0 and report["kl"] == 0
    assert report["recall"]["mean"] == pytest.approx(1, abs=1e-5)


def test_strict(short):
    folder, options = short
    options = [*options, "--k", "4", "--select", "window"]
    report = trace(*options, "--strict", code=3)
    assert not report["next_token"]["agree"]
    assert "NOT FAITHFUL" in run("trace", "-m", SMOLLM2, *options).stdout


def test_floor_is_measured(short):
    _, options = short
    floor = trace(*options, "--k", "8", "--floor")["floor"]
    assert floor["measured"] and 0 < floor["kl"] < 5e-3 # two exact paths, not exact and pruned


def test_same_trace_on_one_thread_and_two(short):
    folder, options = short
    tensors = []
    for threads in ("1", "2"):
        out = folder / f"threads{threads}.trace"
        trace(*options, "--k", "8", "--against", "none", "--threads", threads, "-o", out)
        with safe_open(out, "np") as f:
            tensors.append({name: f.get_tensor(name) for name in f.keys()})
    assert tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        assert np.array_equal(value, tensors[1][name]), name


def test_chosen_parts(short):
    folder, options = short
    out = folder / "part.trace"
    trace(*options, "--k", "8", "--against", "none", "--layers", "3,10-11", "--heads", "0,8",
          "--rows", "-64:", "-o", out)
    with safe_open(out, "np") as f:
        layers = sorted({int(name.split(".")[1]) for name in f.keys() if name.endswith("indptr")})
        indptr = f.get_tensor("layer.10.indptr")
    assert layers == [3, 10, 11]
    rows = np.diff(indptr).reshape(2, -1)
    assert np.all(rows[:, -2:] > 0) and np.all(rows[:, :-4] == 0)


def test_cache_types(short):
    _, options = short
    for kind in ("f32", "bf16", "q8_0", "q4_0"):
        report = trace(*options, "--k", "8", "--ctk", kind, "--ctv", kind)
        assert report["recall"]["mean"] > 0.5 and report["kl"] < 2, kind


def test_sliding_window_model(short, tmp_path):
    _, options = short
    report = trace(*options[:2], "--k", "8", "-o", tmp_path / "g.trace", model=GEMMA3)
    assert report["n_layer"] == 18 and report["n_exact_layer"] == 15
    n = report["n_tok"]
    assert report["causal_pairs"] == 3 * 4 * n * (n + 1) // 2
    info = json.loads(run("info", tmp_path / "g.trace", "--json").stdout)
    assert info["pruned_fraction"] == pytest.approx(report["pruned_fraction"])
    unseen = trace(*options[:2], "--k", "8", "--ubatch", "256", "--against", "none", model=GEMMA3)
    assert unseen["kept_pairs"] - report["kept_pairs"] > 3 * 4 * 512 * 513 // 4, "exact until the window shows"
    pruned = trace(*options[:2], "--pruned", "0.95", model=GEMMA3)
    assert pruned["pruned_fraction"] >= 0.95, "the layers without a window, from their first row on"
    assert pruned["block_q"] < 32, "blocks that suit the length"
    run("check", tmp_path / "g.trace")


def test_token_files_and_tiny_prompts(tmp_path):
    plain, packed = tmp_path / "ids.txt", tmp_path / "ids.txt.gz"
    text = "# a comment\n" + "\n".join(str(i) for i in range(100, 400)) + "\n"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    a, b = (trace("--tokens", p, "--k", "6") for p in (plain, packed))
    assert a["n_tok"] == b["n_tok"] == 300 and a["kl"] == b["kl"]
    one = tmp_path / "one.txt"
    one.write_text("7\n")
    report = trace("--tokens", one, "-o", tmp_path / "one.trace")
    assert report["n_tok"] == 1 and report["pruned_fraction"] == 0 and report["next_token"]["agree"]
    run("check", tmp_path / "one.trace")
    assert trace("-p", "Hello")["n_tok"] < 4


@pytest.mark.parametrize("content, says", [
    (b"good text, then \xff\xfe", "offset 16"),
    (b"cut at the end \xe2\x82", "offset 15"),
    (b"", "no tokens"),
])
def test_bad_text(tmp_path, content, says):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    done = run("trace", "-m", SMOLLM2, "-f", path, "-o", tmp_path / "x.trace", code=1)
    assert says in done.stderr and done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.txt"]


@pytest.mark.parametrize("chat", [[], ["--chat"]])
def test_bad_bytes_are_counted_in_their_own_text(tmp_path, chat):
    (tmp_path / "bad.txt").write_bytes(b"abc\n\xff def")
    (tmp_path / "good.txt").write_text("Some words to read.")
    start = ["trace", "-m", SMOLLM2, *chat, "-f"]
    assert f"{tmp_path}/bad.txt is not UTF-8: bad byte 0xff at offset 4 (line 2)" in run(
        *start, tmp_path / "bad.txt", code=1).stderr
    done = subprocess.run([CLI, *map(str, start), tmp_path / "good.txt", "--answer", b"so \xfe"], capture_output=True)
    assert done.returncode == 1
    assert b"the text of --answer is not UTF-8: bad byte 0xfe at offset 3 (line 1)" in done.stderr


@pytest.mark.parametrize("content, line", [("1\n2\nx\n", 3), ("5\n-1\n", 2), ("49152\n", 1),
                                           ("1 2\n", 1), ("99999999999999999999\n", 1)])
def test_bad_tokens(tmp_path, content, line):
    path = tmp_path / "ids.txt"
    path.write_text(content)
    done = run("trace", "-m", SMOLLM2, "--tokens", path, code=1)
    assert f"line {line}" in done.stderr


@pytest.mark.parametrize("options, says, code", [
    (["--layers", "3,30"], "no layer 30, only 0..29", 2), (["--heads", "9"], "no head 9, only 0..8", 2),
    (["--rows", "50:"], "no span within", 2), (["--ctk", "f13"], "f13", 1)])
def test_bad_parts_and_types(tmp_path, options, says, code):
    done = run("trace", "-m", SMOLLM2, "-p", "Some words to read.", "--k", "8", *options,
               "-o", tmp_path / "x.trace", code=code)
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_hostile_model(tmp_path):
    """Cuts and overwrites of a real GGUF: a named error, no crash."""
    good = pathlib.Path(SMOLLM2).read_bytes()[:2_000_000]
    bad = tmp_path / "bad.gguf"
    for at, patch in (4, b"\xff" * 4), (8, b"\xff" * 8), (16, b"\xff" * 8), (24, b"\xff" * 8), (0, b"GGUX"):
        bad.write_bytes(good[:at] + patch + good[at + len(patch):])
        done = run("trace", "-m", bad, "-p", "hi", "-o", tmp_path / "x.trace", code=1)
        assert "bad.gguf" in done.stderr
    for size in (0, 3, 30, 5000, len(good)):
        bad.write_bytes(good[:size])
        assert "bad.gguf" in run("trace", "-m", bad, "-p", "hi", code=1).stderr
    assert [p.name for p in tmp_path.iterdir()] == ["bad.gguf"]


def test_progress_on_a_terminal_only(short):
    """A bar with rate and remaining time on a terminal, wiped at the end; none in a pipe, none if quiet."""
    _, options = short
    command = [CLI, "trace", "-m", SMOLLM2, *map(str, options), "--k", "8", "--against", "none", "--ubatch", "256"]
    assert subprocess.run(command, check=True, capture_output=True).stderr == b""
    for more, wanted in ([], True), (["--quiet"], False):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command + more, stderr=theirs, stdout=subprocess.DEVNULL)
        os.close(theirs)
        drawn = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError: # the other end is closed
                break
            if not block:
                break
            drawn += block
        os.close(ours)
        assert process.wait() == 0
        assert (b"recorded run" in drawn and b"/s, " in drawn and b" left" in drawn) == wanted
        assert drawn.endswith(b"\r\x1b[K") or not wanted


def wait_for(path, process):
    for _ in range(6000):
        if path.exists() and path.stat().st_size > 1_000_000:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("nothing was recorded in a minute")


def test_interrupted(needle):
    """Ctrl-C while recording: no trace, a message, and a part that salvages into a valid trace."""
    folder, options = needle
    out = folder / "cut.trace"
    part = folder / "cut.trace.part"
    process = subprocess.Popen([CLI, "trace", "-m", SMOLLM2, *map(str, options), "--k", "30", "--ubatch", "64",
                                "--against", "none", "-o", out], stderr=subprocess.PIPE, text=True)
    wait_for(part, process)
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1]
    assert process.returncode == 1 and "stopped at token" in message and "--salvage" in message
    assert not out.exists() and part.exists()
    run("check", part, "--salvage", out)
    run("check", out)
    with safe_open(out, "np") as f:
        assert 64 <= f.get_tensor("tokens").shape[0] < 2000


def test_full_disk(needle):
    """A file that may not grow: one sentence, and the old trace still there."""
    folder, options = needle
    out = folder / "full.trace"
    out.write_text("an older trace")

    def no_growth():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = run("trace", "-m", SMOLLM2, *options, "--k", "30", "--against", "none", "-o", out, code=1,
               preexec_fn=no_growth)
    assert "full.trace" in done.stderr and "large" in done.stderr
    assert out.read_text() == "an older trace"


def test_bench():
    """The figures hang together: operations from the shapes, no faster than the machine."""
    done = run("bench", "-m", SMOLLM2, "--most", "2048", "--seconds", "600", "--pruned", "0.9", "--json")
    report = json.loads(done.stdout)
    limit = report["peak_gflops_per_thread"] * report["threads"]
    assert limit > 1 and [row["n_tok"] for row in report["lengths"]] == [1024, 2048]
    for row in report["lengths"]:
        n, exact, pruned = row["n_tok"], row["exact"], row["pruned_run"]
        assert row["stock"]["seconds"] > 0 and row["pruned"] == pytest.approx(0.9, abs=0.15)
        pairs = 30 * 9 * n * (n + 1) / 2
        assert exact["attend_gflops"] * exact["attend"] * 1e9 == pytest.approx(4 * 64 * pairs, rel=1e-2)
        kept = pruned["attend_gflops"] * pruned["attend"] * 1e9 / (4 * 64 * pairs)
        assert kept == pytest.approx(1 - row["pruned"], abs=0.02)
        assert exact["select"] == 0 and 0 < pruned["select"] < pruned["seconds"]
        assert exact["attend_gflops"] < limit and pruned["attend_gflops"] < limit


def test_bench_leaves_out_what_takes_too_long():
    done = run("bench", "-m", SMOLLM2, "--most", "65536", "--seconds", "0.001", "--json")
    (row,) = json.loads(done.stdout)["lengths"]  # only the first pass of the shortest length is always made
    assert row["n_tok"] == 1024 and row["pruned_run"]["seconds"] > 0.001 and row["exact"] is row["stock"] is None
