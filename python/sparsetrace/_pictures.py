# SPDX-License-Identifier: MIT
"""A head as a picture, and the viewer's page inside a notebook."""

import html
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ._arrays import whole
from ._extras import need


def plot_head(trace, layer, head, ax=None):
    if ax is None:
        ax = need("matplotlib.pyplot", "plot").subplots()[1]
    indptr, indices, mass = trace.csr(layer, head)
    row = np.repeat(np.arange(trace.nbq), np.diff(indptr))
    picture = np.zeros((trace.nbq, trace.nbk), np.float32)
    picture[row, indices] = np.sqrt(mass)
    ax.imshow(
        picture,
        extent=(0, trace.nbk * trace.bk, trace.nbq * trace.bq, 0),
        aspect="auto",
        cmap="magma",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    ax.set(xlabel="key token", ylabel="query token", title=f"L{layer}.H{head}")
    return ax


class Page:
    """A self-contained page: `html`, shown by a notebook in a frame of its own."""

    def __init__(self, text, height):
        self.html, self.height = text, height

    def _repr_html_(self):
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="{self.height}" frameborder="0" '
            'sandbox="allow-scripts allow-downloads"></iframe>'
        )

    def save(self, path):
        Path(path).write_text(self.html, encoding="utf-8")


def program(cli):
    """The path of the program sparsetrace."""
    named = cli or os.environ.get("SPARSETRACE_CLI")
    found = shutil.which(os.fspath(named)) if named else shutil.which("sparsetrace")
    if found is None:
        raise FileNotFoundError(
            f"there is no program {named}"
            if named
            else "the viewer's page is made by the program sparsetrace, which is not on the PATH: `make` builds it as "
            "build/sparsetrace; "
            "give its path as cli= or in the variable SPARSETRACE_CLI"
        )
    return found


def page(trace, height, max_bytes, cli):
    command = [program(cli), "view", trace.path, "--max-bytes", str(whole(max_bytes, "max_bytes", 1, 2**62))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "page.html"
        done = subprocess.run([*command, "-o", out], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"sparsetrace view failed: {done.stderr.strip()}")
        return Page(out.read_text(encoding="utf-8"), whole(height, "height", 1, 100000))
