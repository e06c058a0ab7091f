#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pictures of the viewer for README and the documents: docs/viewer/*.png, of pages that `sparsetrace view` wrote.

usage: view_pictures.py OUT_DIR DEMO.html REASONING.html

DEMO.html is what `make demo` writes; REASONING.html is of a trace that `sparsetrace reason -m MODEL -o` recorded.
Run it with the python of tools/browser_env.sh; the browser is ST_CHROMIUM, else `chromium`. Pictures have a palette
of 256 colours: a third of the size.
"""

import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

# name: (page, colours, what the address says after #, what is clicked)
SCENES = {
    "needle": (0, "light", "", "#needle"),
    "needle-dark": (0, "dark", "measure=far&sort=most", "#needle"),
    "routes": (0, "dark", "panel=routes&edge=0.05&sel=1600-1632", "#routes li button"),
    "reasoning": (1, "light", "panel=reason", "[data-sentence='12']"),
    "reasoning-dark": (1, "dark", "panel=reason", "[data-sentence='12']"),
}


def decode(png):
    """[height, width, 3] of an 8-bit RGB file, as Chromium writes them."""
    at, data = 8, b""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) == (8, 2)
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    out = np.zeros((height + 1, width + 1, 3), int)  # a row and a column of zeros before the picture
    for y in range(height):
        how, line = lines[y, 0], lines[y, 1:].reshape(width, 3).astype(int)
        above, row = out[y], out[y + 1]
        if how == 0:
            row[1:] = line
        elif how == 1:
            row[1:] = np.cumsum(line, 0) % 256
        elif how == 2:
            row[1:] = (line + above[1:]) % 256
        else:
            for x in range(1, width + 1):
                a, b, c = row[x - 1], above[x], above[x - 1]
                if how == 3:
                    guess = (a + b) // 2
                else:
                    da, db, dc = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
                    guess = np.where((da <= db) & (da <= dc), a, np.where(db <= dc, b, c))
                row[x] = (line[x - 1] + guess) % 256
    return out[1:, 1:].astype(np.uint8)


def palette(pixels):
    """(numbers [height, width], colours [n <= 256, 3]): of each eighth of each channel the most frequent colour, so
    that rare ones keep theirs, then the most frequent ones; others become the nearest of these."""
    flat = pixels.reshape(-1, 3).astype(int) @ [65536, 256, 1]
    colours, where, n = np.unique(flat, return_inverse=True, return_counts=True)
    split = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1)
    order = np.argsort(-n, kind="stable")
    _, first = np.unique((split[order] // 32) @ [64, 8, 1], return_index=True)
    first = np.sort(first)[:256]
    kept = np.concatenate([order[first], np.delete(order, first)])[:256]
    nearest = np.array([np.abs(split[kept] - colour).sum(1).argmin() for colour in split], np.uint8)
    return nearest[where].reshape(pixels.shape[:2]), split[kept].astype(np.uint8)


def encode(numbers, colours):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = numbers.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), numbers], 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", colours.tobytes())
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def main():
    out, pages = Path(sys.argv[1]), [Path(name).resolve() for name in sys.argv[2:4]]
    out.mkdir(parents=True, exist_ok=True)
    browser_path = os.environ.get("ST_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for name, (which, colours, fragment, click) in SCENES.items():
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=colours)
            page.goto(f"file://{pages[which]}#{fragment}")
            page.wait_for_selector("html[data-ready]", state="attached")
            page.click(click)
            page.mouse.move(1270, 790)
            page.wait_for_timeout(800)
            (out / f"{name}.png").write_bytes(encode(*palette(decode(page.screenshot()))))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
