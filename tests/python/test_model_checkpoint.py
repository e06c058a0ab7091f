# SPDX-License-Identifier: MIT
"""`sparsetrace trace --checkpoint`: runs that are killed and go on give the trace of a run that was not; what does
not belong together is refused and left as it is."""
import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

CLI, SOURCE = os.environ["ST_CLI"], pathlib.Path(os.environ["ST_SOURCE_DIR"])
SMOLLM2, GEMMA3 = os.environ["ST_SMOLLM2"], os.environ["ST_GEMMA3"]


class Job:
    """A tracing job in a folder of its own: its command line, its files, its trace when nothing disturbs it."""

    def __init__(self, folder, words, *options, model=SMOLLM2, every="0"):
        self.folder = folder
        self.out, self.part = folder / "run.trace", folder / "run.trace.part"
        self.ck = folder / "run.checkpoint"
        answer, prompt = folder / "answer.txt", folder / "prompt.txt"
        prompt.write_bytes(subprocess.run([sys.executable, SOURCE / "examples/needle_prompt.py", "--words",
                                           str(words), "--seed", "1", "--answer", answer],
                                          check=True, capture_output=True).stdout)
        self.command = [CLI, "trace", "-m", model, "-f", str(prompt), "--threads", "1", *map(str, options)]
        self.keep = ["--checkpoint", str(self.ck), "--checkpoint-every", every]
        plain = folder / "plain.trace"
        self.run("-o", plain)
        self.plain = plain.read_bytes()

    def run(self, *options, code=0, limit=None):
        def limited():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = subprocess.run([*self.command, *map(str, options)], capture_output=True, text=True,
                              preexec_fn=limited if limit else None)
        assert done.returncode == code, (done.returncode, done.stderr)
        return done

    def start(self, *options):
        return subprocess.Popen([*self.command, "-o", str(self.out), *self.keep, *map(str, options)],
                                stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def resume(self, *options, code=0, limit=None):
        return self.run("-o", self.out, *self.keep, "--resume", *options, code=code, limit=limit)

    def refused(self, says, *options):
        """One complaint, and every file as it was."""
        before = {p.name: p.read_bytes() for p in self.folder.iterdir()}
        message = self.resume(*options, code=1).stderr
        assert message.count("\n") == 1 and says in message, message
        assert {p.name: p.read_bytes() for p in self.folder.iterdir()} == before
        return message

    def same(self):
        """The job is done: its trace is the undisturbed one's, and nothing else is left."""
        assert not self.part.exists() and not self.ck.exists()
        assert not (self.folder / "run.checkpoint.part").exists()
        got, want = self.out.read_bytes(), self.plain
        (got_head, got_data), (want_head, want_data) = split(got), split(want)
        assert got_data == want_data
        assert got_head == want_head
        assert "is sound" in subprocess.run([CLI, "check", self.out], capture_output=True, text=True).stdout


def split(trace):
    """(header, data) of a trace; without what no two runs share: seconds and peak memory."""
    n = struct.unpack("<Q", trace[:8])[0]
    header = json.loads(trace[8:8 + n])
    result = json.loads(header["__metadata__"]["result"])
    assert result.pop("seconds")["total"] > 0 and result.pop("peak_rss_bytes") > 1e7
    header["__metadata__"]["result"] = result
    return header, trace[8 + n:]


def committed(path):
    """Bytes of the checkpoint that count."""
    try:
        with open(path, "rb") as f:
            return struct.unpack("<Q", f.read(16)[8:])[0]
    except (OSError, struct.error):
        return 0


def wait(process, condition):
    for _ in range(60_000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    raise AssertionError("nothing happened in two minutes")


def kill_when(process, condition):
    wait(process, condition)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


# ---- a run that goes on is the run that was never stopped --------------------------------------------------------


def test_killed_while_it_writes(tmp_path):
    """Dies in the middle of writing a checkpoint, at bytes given beforehand, five times in 2,000 tokens."""
    job = Job(tmp_path, 1500, "--k", 8, "--against", "none", "--ubatch", 128, "--lse")
    n_tok = split(job.plain)[0]["tokens"]["shape"][0]
    assert n_tok > 1900
    # 24 kB of cache and 9 kB of summaries a token
    limits = [n_tok * 33_000 * i // 6 + 1234 * i for i in range(1, 6)]
    job.run("-o", job.out, *job.keep, code=-signal.SIGXFSZ, limit=limits[0])
    before = 0
    for limit in limits[1:]:
        assert before < committed(job.ck) <= job.ck.stat().st_size < limit and not job.out.exists()
        before = committed(job.ck)
        job.resume(code=-signal.SIGXFSZ, limit=limit)
    job.resume()
    job.same()


def test_killed_before_the_first_checkpoint(tmp_path):
    job = Job(tmp_path, 300, "--k", 6, "--against", "none", "--ubatch", 64)
    job.run("-o", job.out, *job.keep, code=-signal.SIGXFSZ, limit=500_000)
    assert committed(job.ck) < 5000
    job.resume()
    job.same()


@pytest.mark.parametrize("options", [
    ("--k", 8, "--against", "none", "--select", "auto", "--ctk", "q8_0", "--ctv", "q8_0"),
    ("--mass", 0.8, "--against", "none", "--layers", "3,10-11", "--heads", "0,8", "--rows", "600:900")])
def test_killed_after_a_checkpoint(tmp_path, options):
    job = Job(tmp_path, 900, "--ubatch", 100, *options)
    kill_when(job.start(), lambda: committed(job.ck) > 5000)
    for _ in range(2):
        seen = committed(job.ck)
        kill_when(job.start("--resume"), lambda: committed(job.ck) > seen)
    job.resume("--threads", 2) # changes no result, and the recipe is written
    job.same()


def test_every_pass_goes_on(tmp_path):
    """A job of many passes, killed once in each: what is done is not done again, and the choice is the same."""
    job = Job(tmp_path, 400, "--ubatch", 128, "--floor")
    passes = split(job.plain)[0]["__metadata__"]["result"]["n_run"]
    assert passes >= 4
    kills, process, file = 0, job.start(), 0
    while True:
        seen, file = committed(job.ck), job.ck.stat().st_ino if job.ck.exists() else 0
        # a pass that is done makes the file anew, with its result: go on into the next pass
        try:
            wait(process, lambda: job.ck.exists() and job.ck.stat().st_ino != file and committed(job.ck) > 5000)
        except AssertionError:
            break
        process.kill()
        process.communicate()
        kills += 1
        assert kills < 2 * passes
        process = job.start("--resume")
    assert process.wait() == 0 and kills >= 3, kills
    job.same()


def test_sliding_windows(tmp_path):
    """Layers whose window has left most of the text behind still have every cell where it was."""
    job = Job(tmp_path, 1300, "--ubatch", 150, "--k", 8, "--against", "none", model=GEMMA3)
    kill_when(job.start(), lambda: committed(job.ck) > 8_000_000)
    seen = committed(job.ck)
    kill_when(job.start("--resume"), lambda: committed(job.ck) > seen)
    job.resume()
    job.same()


def test_interrupted(tmp_path):
    """Ctrl-C, though the next write is an hour away: a checkpoint, and a word on how to go on."""
    job = Job(tmp_path, 1400, "--k", 8, "--against", "none", "--ubatch", 64, every="3600")
    process = job.start()
    wait(process, lambda: job.part.exists() and job.part.stat().st_size > 300_000)
    assert committed(job.ck) < 5000
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1]
    assert process.returncode == 1 and "stopped at token" in message and "--resume goes on" in message
    assert committed(job.ck) > 5_000_000 and not job.out.exists()
    shutil.copy(job.part, tmp_path / "salvage.part") # and the recording so far is still good for itself
    subprocess.run([CLI, "check", tmp_path / "salvage.part", "--salvage", tmp_path / "salvage"], check=True,
                   capture_output=True)
    job.resume()
    job.same()


def test_not_interrupted(tmp_path):
    job = Job(tmp_path, 300, "--k", 6, "--against", "none", "--ubatch", 64)
    job.run("-o", job.out, *job.keep)
    job.same()


# ---- what does not belong together -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A job that was interrupted while it recorded."""
    job = Job(tmp_path_factory.mktemp("left"), 400, "--k", 6, "--against", "none", "--ubatch", 64)
    kill_when(job.start(), lambda: committed(job.ck) > 6_000_000)
    return job


@pytest.fixture
def copy(left, tmp_path):
    """The same, to be damaged."""
    job = object.__new__(Job)
    job.__dict__.update(left.__dict__)
    job.folder = tmp_path
    for name in ("out", "part", "ck"):
        path = getattr(left, name)
        setattr(job, name, tmp_path / path.name)
        if path.exists():
            shutil.copy(path, tmp_path)
    job.keep = ["--checkpoint", str(job.ck), "--checkpoint-every", "0"]
    return job


@pytest.mark.parametrize("options, says", [
    (("--k", 7), "k was 6 there, is 7"), (("-m", GEMMA3), "model was"), (("--weights", "as-is"), "weights was BF16"),
    (("--heads", "1"), "recorded-heads was all there"), (("--answer", "more"), "tokens was")])
def test_another_job(copy, options, says):
    """Each is one of many: tests/model/test_checkpoint.c has the others."""
    message = copy.refused(says, *options)
    assert "run.checkpoint is the checkpoint of another run" in message


def test_files_that_are_missing_or_there(copy):
    message = copy.run("-o", copy.out, *copy.keep, code=1).stderr # not --resume
    assert "run.checkpoint is there" in message and committed(copy.ck) > 6_000_000
    copy.part.rename(copy.folder / "elsewhere")
    copy.refused("run.trace.part")
    (copy.folder / "elsewhere").rename(copy.part)
    copy.ck.rename(copy.folder / "elsewhere")
    copy.refused("run.checkpoint: No such file")
    (copy.folder / "elsewhere").rename(copy.ck)
    copy.resume() # none of this has done harm
    copy.same()
