#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pictures of the viewer for the documents: docs/viewer/*.png from a page that `sparsetrace view` wrote.

usage: view_pictures.py PAGE.html OUT_DIR

Run it with the python of tools/browser_env.sh; the browser is ST_CHROMIUM, else `chromium`.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# name: (colours, what the address says after #, what is clicked)
SCENES = {
    "needle": ("light", "with=all", "#needle"),
    "routes": ("dark", "panel=routes&edge=0.1", "#needle"),
    "far": ("light", "measure=far&sort=most", None),
}


def main():
    page_file, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    browser_path = os.environ.get("ST_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for name, (colours, fragment, click) in SCENES.items():
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=colours)
            page.goto(f"file://{page_file}#{fragment}")
            page.wait_for_selector("html[data-ready]", state="attached")
            if click:
                page.click(click)
            page.wait_for_timeout(800)
            page.screenshot(path=out / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
