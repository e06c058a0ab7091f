# SPDX-License-Identifier: MIT
"""What the measuring scripts share: running the tool, a table on the screen, rows in results/<machine>.csv."""
import argparse
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def machine():
    """The processor's name as a file name."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.split(":", 1)[1].lower()
            return re.sub(r"[^a-z0-9]+", "-", f"{name} {os.cpu_count()} cores").strip("-")
    return "unknown"


def commit():
    run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def parser(about):
    p = argparse.ArgumentParser(description=about)
    p.add_argument("--cli", type=pathlib.Path, default=ROOT / "build/sparsetrace")
    p.add_argument("--record", action="store_true", help="append to results/<machine>.csv")
    return p


def run_json(*args):
    """The JSON object that a call of the tool prints."""
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, args))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Table:
    """Rows of one bench: printed as they come, kept for the results file."""

    def __init__(self, bench, columns, record):
        self.bench, self.columns, self.record = bench, columns, record
        print("  ".join(f"{c:>{w}}" for c, w in columns), flush=True)

    def row(self, *values):
        print("  ".join(f"{v:>{w}}" for v, (_, w) in zip(values, self.columns)), flush=True)
        if not self.record:
            return
        path = HERE / "results" / f"{machine()}.csv"
        new = not path.exists()
        with path.open("a", newline="") as f:
            out = csv.writer(f)
            if new:
                out.writerow(["date", "commit", "bench", "column", "value", "..."])
            cells = [x for (c, _), v in zip(self.columns, values) for x in (c, v)]
            out.writerow([time.strftime("%Y-%m-%d"), commit(), self.bench, *cells])
