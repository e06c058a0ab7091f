#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packs viewer/ into one page and that page into a C file.

usage: pack_viewer.py VIEWER_DIR OUT.c

The modules that index.html's script reaches become one inline module: imported modules first, `import` lines
and the word `export` taken out. So modules share one scope, and every top-level name must be unique; imports
are named, relative and unrenamed. Anything else is an error here, not a surprise in the browser. The page's
content-security policy names the hashes of the script and the style, and nothing else may run.

OUT.c defines the page in three parts: page_head, then the source that scripts may connect to ('none' or
'self'), then page_body, then the data, then page_tail.
"""

import base64
import hashlib
import re
import sys
from pathlib import Path

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";\n', re.M)
EXPORT = re.compile(r"^export (?=(?:async )?function|class|const|let)", re.M)
TOP = re.compile(r"^(?:export )?(?:async )?(?:function\*?|class|const|let|var) (\w+)", re.M)


def fail(message):
    sys.exit(f"pack_viewer.py: {message}")


def load(folder, name, modules, waiting):
    if name in modules:
        return
    if name in waiting:
        fail(f"{name} imports itself through {' -> '.join(waiting)}")
    text = (folder / name).read_text(encoding="utf-8")
    for names, target in IMPORT.findall(text):
        load(folder, target, modules, [*waiting, name])
        exported = set(re.findall(r"^export (?:async )?(?:function\*?|class|const|let) (\w+)", modules[target], re.M))
        missing = {n.strip() for n in names.split(",") if n.strip()} - exported
        if missing:
            fail(f"{name}: {target} does not export {', '.join(sorted(missing))}")
    modules[name] = text


def join(modules):
    owner, parts = {}, []
    for name, text in modules.items():
        for top in TOP.findall(text):
            if top in owner:
                fail(f"{name}: the top-level name {top} stands already in {owner[top]}")
            owner[top] = name
        text = EXPORT.sub("", IMPORT.sub("", text))
        left = re.search(r"^(import|export)\b.*", text, re.M)
        if left:
            fail(f'{name}: cannot pack "{left.group()}"')
        parts.append(f"// ---- {name}\n{text}")
    script = "\n".join(parts)
    if "</script" in script.lower() or "<!--" in script:
        fail("the script holds </script or <!--")
    return script


def source_hash(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def pack(folder):
    html = (folder / "index.html").read_text(encoding="utf-8")
    style = re.search(r'<link rel="stylesheet" href="([\w.]+)">', html)
    script = re.search(r'<script type="module" src="([\w.]+)"></script>', html)
    if not style or not script or html.count("<!-- data -->") != 1 or html.count("<!-- policy -->") != 1:
        fail("index.html must have one stylesheet, one module, <!-- policy --> and <!-- data -->")
    modules = {}
    load(folder, script.group(1), modules, [])
    unused = {p.name for p in folder.glob("*.js")} - set(modules)
    if unused:
        fail(f"no module imports {', '.join(sorted(unused))}")
    code, css = "\n" + join(modules), "\n" + (folder / style.group(1)).read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {source_hash(code)}; style-src {source_hash(css)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'; connect-src \0"
    )
    html = html.replace(style.group(), f"<style>{css}</style>")
    html = html.replace("<!-- policy -->", f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    before, after = html.split(script.group())
    html = f'{before}<script type="module">{code}</script>{after}'
    head, rest = html.split("\0")
    body, tail = rest.split("<!-- data -->")
    return {"page_head": head, "page_body": body, "page_tail": tail}


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    lines = ["/* Made by tools/pack_viewer.py from viewer/; not to be edited. */", '#include "page.h"', ""]
    for name, text in pack(folder).items():
        data = text.encode()
        lines.append(f"const unsigned char {name}[] = {{")
        lines += ["    " + "".join(f"{b}," for b in data[i : i + 24]) for i in range(0, len(data), 24)]
        lines += ["};", f"const size_t {name}_bytes = {len(data)};", ""]
    out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
