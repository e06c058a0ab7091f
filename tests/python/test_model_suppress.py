# SPDX-License-Identifier: MIT
"""`sparsetrace suppress` from outside: the file, an interruption and going on, what is refused. tests/model/
test_suppress.c checks the numbers."""
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

CLI, MODEL = os.environ["ST_CLI"], os.environ["ST_SMOLLM2"]
TEXT = "Let us add two and two here. " + " ".join(f"Step {i}: we add {i} to get {i * 3}." for i in range(12))


def suppress(*args, code=0):
    run = subprocess.run([CLI, "suppress", "-m", MODEL, "--quiet", *map(str, args)], capture_output=True, text=True,
                         check=False)
    assert run.returncode == code, run.stderr
    return run.stdout if code == 0 else run.stderr


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suppress")
    (folder / "in.txt").write_text(TEXT)
    report = json.loads(suppress("-f", folder / "in.txt", "-o", folder / "out.st", "--json"))
    return folder, report, load_file(folder / "out.st")


def test_file(job):
    folder, report, x = job
    n = report["n_sentence"]
    later = np.tril(np.ones((n, n), bool), -1)
    assert n == 13 and report["n_run"] == n - 1
    assert x["log_kl"].shape == x["effect"].shape == (n, n) and x["have"].all()
    assert np.array_equal(~np.isnan(x["log_kl"]), later) and (x["log_kl"][later] >= np.log(1e-9) - 1e-4).all()
    mean = np.where(later, np.nan_to_num(x["log_kl"]), 0).sum(1) / np.maximum(later.sum(1), 1)
    np.testing.assert_allclose(x["effect"][later], (x["log_kl"] - mean[:, None])[later], atol=1e-4)
    for (a, b), (first, end) in zip(x["bytes"], x["groups"], strict=True):
        assert TEXT[a:b].strip() and end > first
    assert len(x["tokens"]) == report["n_tok"] and not (folder / "out.st.part").exists()
    pairs = [(s["target"], s["source"]) for s in report["strongest"]]
    far = np.where(np.subtract.outer(np.arange(n), np.arange(n)) >= 4, np.nan_to_num(x["effect"], nan=-99), -99)
    assert pairs[0] == np.unravel_index(far.argmax(), far.shape) and len(pairs) == 10


def test_near_sentences_matter_most(job):
    """A list of like sentences: the one just before moves a sentence more than those further off."""
    x = job[2]["log_kl"]
    n = len(x)
    near = np.mean([x[i, i - 1] for i in range(4, n)])
    far = np.mean([x[i, i - 4] for i in range(4, n)])
    assert near > far + 0.5


def test_interrupted_job_goes_on(job, tmp_path):
    """Ctrl-C after some sentences; what --resume makes of it is the undisturbed file."""
    folder, _, x = job
    out, args = tmp_path / "out.st", ["-f", folder / "in.txt"]
    command = [CLI, "suppress", "-m", MODEL, "--quiet", "-f", folder / "in.txt", "-o", out]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(1.0)
    run.send_signal(signal.SIGINT)
    said = run.communicate()[1]
    if run.returncode == 0:
        pytest.skip("the job was done before it could be interrupted")
    assert run.returncode == 1 and "stopped" in said and said.count("\n") == 1 and not out.exists()
    part = tmp_path / "out.st.part"
    assert part.exists() == ("; --resume goes on" in said)
    if not part.exists():  # nothing was done yet: make what an interruption leaves
        half = dict(load_file(folder / "out.st"))
        half["have"][:5] = 0
        half["log_kl"][:, :5] = 0
        with safe_open(folder / "out.st", "np") as f:
            meta = f.metadata()
        from safetensors.numpy import save_file

        save_file(half, part, meta)
    assert "--resume goes on" in suppress(*args, "-o", out, code=1)
    assert "other settings" in suppress(*args, "-o", out, "--resume", "--top", 9, code=1)
    (tmp_path / "other.txt").write_text(TEXT + " And one more sentence.")
    assert "another text" in suppress("-f", tmp_path / "other.txt", "-o", out, "--resume", code=1)
    had = int(load_file(part)["have"].sum())
    report = json.loads(suppress(*args, "-o", out, "--resume", "--json"))
    assert report["n_run"] <= len(x["have"]) - had and not part.exists()
    np.testing.assert_allclose(load_file(out)["log_kl"], x["log_kl"], atol=1e-3)


def test_refused(tmp_path):
    (tmp_path / "one.txt").write_text("One sentence alone stands here.")
    at = ["-o", tmp_path / "x"]
    assert "1 sentences" in suppress("-f", tmp_path / "one.txt", *at, code=1)
    assert "cannot open" in suppress("-f", tmp_path / "absent.txt", *at, code=1)
    assert "exclude each other" in suppress("-f", tmp_path / "one.txt", *at, "--exact", "--k", 9, code=2)
    assert "wants -m" in suppress("-f", tmp_path / "one.txt", code=2)
    (tmp_path / "y.part").write_bytes(b"no tensors")
    (tmp_path / "in.txt").write_text(TEXT)
    said = suppress("-f", tmp_path / "in.txt", "-o", tmp_path / "y", "--resume", code=1)
    assert said.startswith(f"sparsetrace: {tmp_path}/y.part: byte ")
    assert suppress("-f", tmp_path / "in.txt", *at, "--resume", code=1).startswith(
        f"sparsetrace: cannot open {tmp_path}/x.part: ")
    assert list(tmp_path.glob("x*")) == []
