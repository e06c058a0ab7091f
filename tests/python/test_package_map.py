# SPDX-License-Identifier: MIT
"""sparsetrace.map on real worker processes: some fail, some are killed, the run is repeated; nothing is lost or done
twice."""

import json
import os
import secrets
import shutil
import signal
from pathlib import Path

import pytest

import sparsetrace as sp

GOLDEN = Path(os.environ["ST_SOURCE_DIR"]) / "tests/golden/trace_v1/data/trace.safetensors"


def heads(path):
    """A row for each head of a trace; writes down that it ran."""
    with open(Path(path).with_suffix(".ran"), "a") as f:
        f.write("x")
    trace = sp.open(path)
    return [
        {"layer": n, "head": h, "mass": float(trace.csr(n, h)[2].sum())} for n in trace.layers for h in trace.heads[n]
    ]


def dies_once(path):
    """Its worker is killed the first time, in the middle."""
    flag = Path(path).with_suffix(".died")
    if Path(path).name == "3.trace" and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return heads(path)


def fails_once(path):
    flag = Path(path).with_suffix(".failed")
    if Path(path).name == "2.trace" and not flag.exists():
        flag.touch()
        raise RuntimeError("not yet")
    return heads(path)


def fails(path):
    if Path(path).name == "1.trace":
        raise ValueError("never")
    return heads(path)


@pytest.fixture
def traces(tmp_path):
    paths = [tmp_path / f"{i}.trace" for i in range(6)]
    for p in paths:
        shutil.copy(GOLDEN, p)
    return paths


def ran(traces):
    return [len(p.with_suffix(".ran").read_text()) if p.with_suffix(".ran").exists() else 0 for p in traces]


def whole(traces):
    trace = sp.open(GOLDEN)
    one = [
        {"layer": n, "head": h, "mass": float(trace.csr(n, h)[2].sum())} for n in trace.layers for h in trace.heads[n]
    ]
    return [{"item": i, **row} for i in range(len(traces)) for row in one]


def test_all_in_order_and_not_again(traces, tmp_path):
    rows = sp.map(heads, traces, tmp_path / "out", workers=2)
    assert rows == whole(traces) and ran(traces) == [1] * 6
    assert sp.map(heads, traces, tmp_path / "out", workers=2) == rows and ran(traces) == [1] * 6
    next((tmp_path / "out").glob("00000004-*")).unlink()
    assert sp.map(heads, traces, tmp_path / "out", workers=1) == rows and ran(traces) == [1, 1, 1, 1, 2, 1]


def test_a_killed_worker_loses_nothing(traces, tmp_path):
    assert sp.map(dies_once, traces, tmp_path / "out", workers=2) == whole(traces)
    assert traces[3].with_suffix(".died").exists()
    assert not list((tmp_path / "out").glob("*.part"))
    assert sum(ran(traces)) <= 7, "only what was under way beside it may run again"


def test_a_failure_is_tried_again(traces, tmp_path):
    assert sp.map(fails_once, traces, tmp_path / "out", workers=2) == whole(traces)
    assert ran(traces) == [1] * 6


def test_what_always_fails_is_named_and_the_rest_is_there(traces, tmp_path):
    with pytest.raises(sp.MapError, match="1 items failed.*item 1: ValueError: never") as caught:
        sp.map(fails, traces, tmp_path / "out", workers=2, tries=2)
    assert list(caught.value.failed) == [1]
    assert ran(traces) == [1, 0, 1, 1, 1, 1] and len(list((tmp_path / "out").glob("*.jsonl"))) == 5
    assert sp.map(heads, traces, tmp_path / "out", workers=1) == whole(traces)


def test_another_item_in_the_same_place_runs(traces, tmp_path):
    sp.map(heads, traces[:1], tmp_path / "out", workers=1)
    sp.map(heads, traces[1:2], tmp_path / "out", workers=1)
    assert ran(traces)[:2] == [1, 1]


def test_parquet(traces, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rows = sp.map(heads, traces, tmp_path / "out", workers=1, parquet=tmp_path / "all.parquet")
    assert parquet.read_table(tmp_path / "all.parquet").to_pylist() == rows


@pytest.fixture(params=["dask", "ray"])
def cluster(request, tmp_path, monkeypatch):
    """A local cluster of two worker processes."""
    if request.param == "dask":
        distributed = pytest.importorskip("distributed", reason="Dask is not installed")
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
            with distributed.Client(local) as client:
                yield client
        return
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    here = str(Path(__file__).parent)  # where its workers find this module
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "token").write_text(secrets.token_hex(32))  # this cluster's own, not one in the user's home
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")  # a machine with much to do
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield ray
    ray.shutdown()


def test_a_cluster_loses_nothing(cluster, traces, tmp_path):
    """One worker is killed by its task, in the middle; the run is repeated, and goes on after a part is lost."""
    rows = sp.map(dies_once, traces, tmp_path / "out", client=cluster)
    assert rows == whole(traces) and traces[3].with_suffix(".died").exists()
    before = ran(traces)
    assert before[3] >= 1 and not list((tmp_path / "out").glob("*.part"))
    assert sp.map(dies_once, traces, tmp_path / "out", client=cluster) == rows and ran(traces) == before
    next((tmp_path / "out").glob("00000004-*")).unlink()
    assert sp.map(dies_once, traces, tmp_path / "out", client=cluster) == rows
    assert [b - a for a, b in zip(before, ran(traces))] == [0, 0, 0, 0, 1, 0]
    with pytest.raises(sp.MapError, match="1 items failed.*item 1: ValueError: never"):
        sp.map(fails, traces, tmp_path / "other", client=cluster, tries=2)
    assert len(list((tmp_path / "other").glob("*.jsonl"))) == 5


def test_what_is_no_cluster(traces, tmp_path):
    with pytest.raises(TypeError, match="client is a str"):
        sp.map(heads, traces, tmp_path / "out", client="ray")
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(ValueError, match="ray.init"):
        sp.map(heads, traces, tmp_path / "out", client=ray)


@pytest.mark.parametrize(
    "more, error", [({"tries": 0}, ValueError), ({"workers": -1}, ValueError), ({"workers": 1.5}, TypeError)]
)
def test_refused(tmp_path, more, error):
    with pytest.raises(error):
        sp.map(json.dumps, [1], tmp_path, **more)
