# SPDX-License-Identifier: MIT
"""One function over many traces or prompts: a process per core, or a Dask or Ray cluster; resumable, nothing twice,
nothing lost.

Each item's result is a file of its own in the folder `out`, renamed into place when whole: that is the only state. A
run that is interrupted, or whose workers die, goes on where files are missing.
"""

import hashlib
import json
import os
import traceback
import uuid
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from ._arrays import whole
from ._extras import need


class MapError(RuntimeError):
    """Some items failed in every try. failed: {item's place: last error}; the others' results are in the folder."""

    def __init__(self, failed):
        first = min(failed)
        super().__init__(f"{len(failed)} items failed in every try; item {first}: {failed[first]}")
        self.failed = failed


def key_of(item, at):
    """A file name of the item: its place, and a hash of what it is (a path counts by name, size and time of change)."""
    told = repr(item)
    if isinstance(item, (str, os.PathLike)) and len(os.fspath(item)) < 4096 and os.path.isfile(item):
        about = os.stat(item)
        told = f"{os.path.abspath(item)} {about.st_size} {about.st_mtime_ns}"
    return f"{at:08d}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def one(function, item, at, path):
    """Runs in a worker: a list of rows (dicts), written whole or not at all."""
    rows = function(item)
    rows = [rows] if isinstance(rows, dict) else list(rows)
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "w", encoding="utf-8") as f:
            for row in rows:
                f.write(json.dumps({"item": at, **row}) + "\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def processes(n):
    return ProcessPoolExecutor(n, mp_context=get_context("spawn"))  # forked threads of torch would hang


def local(function, todo, n, tries):
    """{at: error} of what failed. A worker that dies breaks its pool: a new one goes on, and each item that was under
    way has used up a try."""
    left, failed = {at: tries for at in todo}, {}
    while left:
        with processes(n) as pool:
            running, queue = {}, list(left)
            try:
                while running or queue:
                    while queue and len(running) < n:  # no more than workers: a broken pool then costs only these a try
                        at = queue.pop(0)
                        left[at] -= 1
                        running[pool.submit(one, function, *todo[at])] = at
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        at, error = running.pop(done), done.exception()
                        if isinstance(error, BrokenProcessPool):
                            running[done] = at
                            raise error
                        settle(at, error, left, failed, queue)
            except BrokenProcessPool:
                for at in running.values():
                    settle(at, RuntimeError("its worker died"), left, failed, [])
    return failed


def settle(at, error, left, failed, queue):
    if error is None:
        left.pop(at)
    elif left[at] > 0:
        queue.append(at)
    else:
        left.pop(at)
        failed[at] = "".join(traceback.format_exception_only(error)).strip()


def on_dask(client, function, todo, tries):
    """The same on a Dask cluster, which itself brings lost tasks to other workers."""
    run = uuid.uuid4().hex  # Dask takes a task of a known key for done
    futures = {
        at: client.submit(
            one, function, *todo[at], key=f"sparsetrace-{run}-{Path(todo[at][2]).name}", retries=tries - 1, pure=False
        )
        for at in todo
    }
    failed = {}
    for at, future in futures.items():
        error = future.exception()
        if error is not None:
            failed[at] = "".join(traceback.format_exception_only(error)).strip()
    return failed


def on_ray(ray, function, todo, tries):
    """The same on a Ray cluster: lost tasks and failed ones are its to try again."""
    task = ray.remote(max_retries=tries - 1, retry_exceptions=True)(one)
    results = {at: task.remote(function, *todo[at]) for at in todo}
    failed = {}
    for at, result in results.items():
        try:
            ray.get(result)
        except ray.exceptions.RayTaskError as e:
            failed[at] = "".join(traceback.format_exception_only(e.cause)).strip()
        except ray.exceptions.RayError as e:
            failed[at] = "".join(traceback.format_exception_only(e)).strip()
    return failed


def runner(client):
    """What gives work to a cluster, or None."""
    if getattr(client, "__name__", None) == "ray":
        if not client.is_initialized():
            raise ValueError("ray is not connected: call ray.init() first")
        return on_ray
    if hasattr(client, "submit"):
        return on_dask
    raise TypeError(f"client is a {type(client).__name__}; a dask.distributed.Client or the module ray is wanted")


def map(function, items, out, *, workers=0, tries=3, client=None, parquet=None):
    """Applies `function` to each item -> the rows of all, a list of dicts in the items' order.

    function: item -> a dict, or an iterable of dicts, of what JSON can say; importable by name (it runs in other
    processes). items: paths of traces, prompts, whatever pickles. out: folder of the results, made if it is not there;
    what is there already, of the same item at the same place, is not run again: use another folder for another
    function. workers: processes, 0 is one per core. client: a cluster instead, whose machines share `out`: a
    dask.distributed Client, or the module ray after ray.init(). tries: of each item, worker deaths included. parquet: a file to write all rows to (needs pyarrow). Raises
    MapError if items failed in every try, after all others are done."""
    items, out = list(items), Path(out).absolute()
    tries = whole(tries, "tries", 1, 1000)
    workers = whole(workers, "workers", 0, 4096) or len(os.sched_getaffinity(0))
    arrow = need("pyarrow", "parquet") if parquet is not None else None
    cluster = runner(client) if client is not None else None
    out.mkdir(parents=True, exist_ok=True)
    path = {at: str(out / f"{key_of(item, at)}.jsonl") for at, item in enumerate(items)}
    todo = {at: (items[at], at, path[at]) for at in path if not os.path.exists(path[at])}
    failed = cluster(client, function, todo, tries) if cluster else local(function, todo, workers, tries)
    for at in todo:  # of workers that were killed while they wrote; nobody writes any more
        for part in out.glob(f"{Path(path[at]).name}.*.part"):
            part.unlink()
    failed = {at: error for at, error in failed.items() if not os.path.exists(path[at])}
    if failed:
        raise MapError(failed)
    rows = [json.loads(line) for at in path for line in Path(path[at]).read_text(encoding="utf-8").splitlines()]
    if arrow is not None:
        table = arrow.Table.from_pylist(rows)
        need("pyarrow.parquet", "parquet").write_table(table, f"{parquet}.part")
        os.replace(f"{parquet}.part", parquet)
    return rows
