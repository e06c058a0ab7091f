# SPDX-License-Identifier: MIT
"""`sparsetrace ruler` on a real model: the table against its rows, exact against dense, forced against greedy,
files, interruption."""
import csv
import json
import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

CLI, SMOLLM2, GEMMA3 = os.environ["ST_CLI"], os.environ["ST_SMOLLM2"], os.environ["ST_GEMMA3"]


def ruler(*args, code=0, model=SMOLLM2):
    done = subprocess.run([CLI, "ruler", "-m", model, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def rows_of(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """(JSON table, rows, folder) of two samples of niah_single_1."""
    folder = tmp_path_factory.mktemp("ruler")
    table = json.loads(ruler("--tasks", "niah_single_1", "--lengths", "1024", "--samples", "2", "--select",
                             "stream,window", "--k", "6,64", "-o", folder / "rows.csv", "--csv",
                             folder / "table.csv", "--plot", folder / "plot.svg", "--json").stdout)
    return table, rows_of(folder / "rows.csv"), folder


def cell(table, **want):
    return next(c for c in table["cells"] if all(c[k] == v for k, v in want.items()))


def test_everything_kept_is_dense(job):
    """64 blocks of 16 are the whole prompt: whatever the method, the dense answer."""
    for method in ("stream", "window"):
        c = cell(job[0], select=method, budget="k=64")
        assert c["pruned"] == 0 and c["argmax_same"] == 1 and c["kl"] < 1e-3 and c["recall"] > 0.999
        assert c["needle_kept"] == c["needle_cases"] > 0 and c["sparse"] == c["dense"]


def test_pruned(job):
    stream, window = (cell(job[0], select=s, budget="k=6") for s in ("stream", "window"))
    assert stream["pruned"] > 0.75 and abs(stream["pruned"] - window["pruned"]) < 0.01
    assert stream["kl"] < window["kl"] and stream["recall"] > window["recall"]
    assert stream["needle_kept"] > 0.5 * stream["needle_cases"] and window["needle_kept"] < 0.2 * window["needle_cases"]
    assert stream["dense"] == 1 and stream["dense_right"] == 2 and window["kept_right"] == 0


def test_forced_is_greedy_where_right():
    cells = json.loads(ruler("--tasks", "niah_single_1", "--lengths", "1024", "--samples", "1", "--select",
                             "window", "--k", "64,6", "--greedy", "--json").stdout)["cells"]
    right = 0
    for c in cells:
        for way in ("dense", "sparse"):
            assert 0 <= c["greedy_" + way] <= 1
            assert c["greedy_" + way] == 1 or c[way] < 1
            right += c[way] == 1
    assert right == 3, "dense twice, and everything kept"


def test_table_is_the_mean_of_its_rows(job):
    table, rows, folder = job
    assert len(rows) == 2 * 4 and table["sha256"].startswith(rows[0]["model"]) and table["chat"]
    for c in table["cells"]:
        of = [r for r in rows if (r["select"], r["target"]) == (c["select"], c["budget"])]
        n_answer = sum(int(r["n_answer"]) for r in of)
        assert c["samples"] == len(of) == 2 and c["answer_tokens"] == n_answer
        assert c["sparse"] == pytest.approx(sum(float(r["sparse"]) for r in of) / 2)
        assert c["kl"] == pytest.approx(sum(float(r["kl"]) * int(r["n_answer"]) for r in of) / n_answer)
        assert c["pruned"] == pytest.approx(1 - sum(int(r["kept_pairs"]) for r in of) /
                                            sum(int(r["causal_pairs"]) for r in of))
        assert c["argmax_same"] == pytest.approx(sum(int(r["n_same"]) for r in of) / n_answer)
        lost = [float(r["margin"]) for r in of if float(r["dense"]) == 1 and float(r["sparse"]) < 1]
        assert c["lost_margin"] == (pytest.approx(max(lost)) if lost else None)
        n = int(of[0]["n_tok"])
        assert int(of[0]["causal_pairs"]) == 270 * n * (n + 1) // 2 and 800 < n < 1024 - 100
    assert any(c["lost_margin"] for c in table["cells"]) and all(0 < float(r["margin"]) < 20 for r in rows)
    for index in ("0", "1"):
        assert len({r["margin"] for r in rows if r["index"] == index}) == 1, "of the dense run, whatever was pruned"
    assert [c["budget"] for c in table["cells"]] == [r["budget"] for r in rows_of(folder / "table.csv")]
    svg = ET.parse(folder / "plot.svg").getroot()
    assert svg.tag.endswith("svg") and len(svg.findall(".//{*}circle")) == len(table["cells"])


def test_resume_adds_what_is_missing(job, tmp_path):
    path = tmp_path / "rows.csv"
    start = ["--tasks", "niah_single_1", "--lengths", "1024", "--samples", "2", "-o", path]
    lines = (job[2] / "rows.csv").read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:20])
    assert "--resume" in ruler(*start, code=2).stderr
    done = ruler(*start, "--select", "stream", "--k", "6,64", "--resume", "--json")
    assert "sample 0 done" in done.stderr and "sample 1 done" in done.stderr
    again = rows_of(path)
    assert path.read_text().startswith("".join(lines[:2])) and len(again) == 4
    for row in again[1:]:
        old = next(r for r in job[1] if all(r[k] == row[k] for k in ("select", "target", "index")))
        assert (row["n_same"], row["sparse"], row["kept_pairs"]) == (old["n_same"], old["sparse"], old["kept_pairs"])
    done = ruler(*start, "--select", "stream", "--k", "6,64", "--resume", "--json")
    assert "done" not in done.stderr and json.loads(done.stdout)["cells"][0]["samples"] == 2
    path.write_text("something,else\n1,2\n")
    assert "line 1" in ruler(*start, "--resume", code=1).stderr
    assert path.read_text() == "something,else\n1,2\n"


def test_lengths_ascend_within_a_task(job, tmp_path):
    """However the rows came, and whatever lies between them."""
    path = tmp_path / "rows.csv"
    header, *lines = (job[2] / "rows.csv").read_text().splitlines()
    line = next(x for x in lines if ",stream,k=6," in x)
    path.write_text("\n".join([header, line, line.replace("niah_single_1", "vt"), line.replace(",1024,", ",512,")]) + "\n")
    cells = json.loads(ruler("--tasks", "niah_single_1", "--lengths", "1024", "--samples", "1", "--select", "stream", "--k", "6",
                             "-o", path, "--resume", "--json").stdout)["cells"]
    assert [(c["task"], c["length"]) for c in cells] == [("niah_single_1", 512), ("niah_single_1", 1024), ("vt", 1024)]


def test_foreign_files_stay(tmp_path):
    path = tmp_path / "rows.csv"
    for text in ("a text without an end", "x" * 5000, '{"input": "' + "y" * 2000 + '"}\n'):
        path.write_text(text)
        assert "line 1" in ruler("--tasks", "vt", "-o", path, "--resume", code=1).stderr
        assert path.read_text() == text


def test_no_sample_at_all(tmp_path):
    """Nothing to run is a failure, and what stood in the file stays."""
    data = tmp_path / "data.jsonl"
    data.write_text("old")
    done = ruler("--tasks", "vt", "--lengths", "64", "--write-data", data, code=1)
    assert "not one sample" in done.stderr and data.read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["data.jsonl"]
    assert json.loads(ruler("--data", data, "--json", code=1).stdout)["cells"] == []


def test_blocks_by_length(tmp_path):
    """A short prompt keeps its answer where blocks suit its length; blocks that were typed stay; a share that wants
    smaller ones has a dense run of its own, and the same dense score."""
    start = ["--tasks", "niah_single_1", "--lengths", "1024", "--samples", "1", "--pruned", "0.96,0.989", "--json", "-o",
             tmp_path / "rows.csv", "--resume"]
    cells = json.loads(ruler(*start).stdout)["cells"]
    assert [(c["block_q"], c["block_k"]) for c in cells] == [(4, 2), (4, 1)]
    assert cells[0]["pruned"] > 0.96 and cells[0]["kept_right"] == cells[0]["dense_right"] == 1
    assert cells[0]["dense"] == cells[1]["dense"]
    typed = json.loads(ruler(*start, "--block-q", "8", "--block-k", "8").stdout)["cells"]
    assert [(c["block_q"], c["block_k"]) for c in typed] == [(8, 8)] * 2 and len(rows_of(tmp_path / "rows.csv")) == 4
    assert "go together" in ruler(*start, "--block-q", "8", code=2).stderr


def test_range_of_shares(tmp_path):
    """Of a range the first of five shares from above that leaves the answer as it is, as if that had been typed; where
    none does, as with window, the lower end."""
    shares = ["0.96", "0.93", "0.90", "0.87", "0.84"]
    start = ["--tasks", "niah_single_1", "--lengths", "1024", "--samples", "1", "--select", "hip,window", "--pruned",
             ",".join(["0.84-0.96", *shares]), "--block-q", "8", "--block-k", "4", "--json", "-o", tmp_path / "rows.csv"]
    table = json.loads(ruler(*start).stdout)
    for method in ("hip", "window"):
        typed = [cell(table, select=method, budget=share) for share in shares]
        assert typed[0]["argmax_same"] < 1, "or nothing is searched"
        want = next((c for c in typed if c["argmax_same"] == 1), typed[-1])
        got = cell(table, select=method, budget="0.84-0.96")
        assert all(got[x] == want[x] for x in ("pruned", "kl", "argmax_same", "kept_right", "recall", "needle_kept"))
    assert json.loads(ruler(*start, "--resume").stdout) == table and len(rows_of(tmp_path / "rows.csv")) == 12


def test_ctrl_c_leaves_whole_rows(tmp_path):
    path = tmp_path / "rows.csv"
    job = subprocess.Popen([CLI, "ruler", "-m", SMOLLM2, "--tasks", "niah_single_1", "--lengths", "1024", "--samples",
                            "500", "-o", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not path.exists() or path.read_text().count("\n") < 2:
        time.sleep(0.05)
        assert job.poll() is None
    job.send_signal(signal.SIGINT)
    out, err = job.communicate()
    assert job.returncode == 1 and "--resume goes on" in err and "niah_single_1" in out
    assert path.read_text().endswith("\n") and all(None not in r.values() for r in rows_of(path))


def test_written_data_comes_back_the_same(tmp_path):
    data, haystack = tmp_path / "data.jsonl", tmp_path / "text.txt"
    haystack.write_text("This is a text of its own. It has two sentences! " * 3)
    ruler("--tasks", "niah_single_2,vt", "--haystack", haystack, "--lengths", "1024", "--samples", "1", "--write-data",
          data)
    lines = [json.loads(x) for x in data.read_text().splitlines()]
    assert [x["task"] for x in lines] == ["niah_single_2", "vt"]
    assert all(x["length_w_model_temp"] <= 1024 and x["length_w_model_temp"] > 900 for x in lines)
    direct = json.loads(ruler("--tasks", "niah_single_2", "--haystack", haystack, "--lengths", "1024", "--samples", "1",
                              "--k", "8", "--json").stdout)["cells"]
    text = data.read_text().splitlines()
    foreign = {k: lines[0][k] for k in ("index", "input", "outputs", "length", "answer_prefix")}
    data.write_text("\n".join([text[0], "{broken", json.dumps(foreign), '{"input": "x"}']))
    done = ruler("--data", data, "--k", "8", "--json")
    assert "line 2" in done.stderr and "line 4" in done.stderr and "outputs is missing" in done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert [(c["task"], c["length"]) for c in cells] == [("niah_single_2", 1024), ("niah", 1024)]
    for c in cells:
        for key in ("dense", "sparse", "kl", "pruned", "n_tok", "needle_cases"):
            assert c[key] == pytest.approx(direct[0][key]), key


def test_base_model_and_short_prompts():
    """Gemma-3-270M has no chat template, and sliding windows, which are not pruned."""
    done = ruler("--tasks", "niah_multikey_3,vt,fwe", "--lengths", "100,1024", "--samples", "1", "--pruned", "0.99",
                 "--json", model=GEMMA3)
    table = json.loads(done.stdout)
    assert len(re.findall("100 tokens: the smallest sample", done.stderr)) == 3
    assert not table["chat"] and [c["length"] for c in table["cells"]] == [1024] * 3
    assert all(0.95 < c["pruned"] < 0.995 for c in table["cells"]), "as far as leaves one block to choose, from row 0 on"
    assert all((c["block_q"], c["block_k"]) == (4, 1) for c in table["cells"]), "small blocks for short prompts"
    assert cell(table, task="fwe")["needle_cases"] == 0
    assert "has no chat template" in ruler("--chat", "on", model=GEMMA3, code=1).stderr
