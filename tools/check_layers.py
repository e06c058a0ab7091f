#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may include whom, and other habits of the house that a machine can see.

usage: check_layers.py SOURCE_DIR [BUILD_DIR]
"""

import re
import subprocess
import sys
from pathlib import Path

# Each room and the rooms it may include; a public header counts as its room.
MAY = {
    "base": set(),
    "cpu": {"base"},
    "kernels": {"base", "cpu"},
    "select": {"base", "cpu", "kernels"},
    "attend": {"base", "cpu", "kernels"},
    "trace": {"base", "cpu", "kernels"},
    "analyse": {"base", "cpu", "kernels", "trace"},
    "view": {"base", "trace"},
    "reason": {"base", "cpu", "kernels", "trace", "analyse"},
    "tasks": {"base"},
    "ggml": {"base", "cpu", "kernels"},
    "engine": {"base", "ggml"},
    "cli": set(),
    "examples": set(),
}
HEADER_ROOM = {"attn": "base", "edit": "base", "tensors": "trace", "groups": "analyse", "live": "engine"}  # else the header's own name
# Public headers may be used by every room that stands on theirs.
ORDER = ["base", "cpu", "kernels", "select", "attend", "trace", "analyse", "view", "reason", "tasks", "ggml", "engine"]
FOREIGN = re.compile(r"^(ggml|gguf|llama)[\w-]*\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
PLACES = re.compile(r"(^|[^\w.-])/(work|root|tmp)/[a-z]|https?://[^ )\"]*(pypi|npmjs|deb\.debian)")

CITED = re.compile(r"\b((?:docs|tools|tests|bench|examples|include|src|cli)/[\w./-]+\.(?:md|sh|py|c|h))\b")
COLUMNS = 100

problems = []


def room_of(path):
    return path.parts[1] if path.parts[0] == "src" else path.parts[0]


def check_public(path, room, header):
    target = HEADER_ROOM.get(header, header)
    if target not in ORDER:
        problems.append(f"{path}: includes unknown public header {header}.h")
    elif room in ORDER and ORDER.index(target) > ORDER.index(room):
        problems.append(f"{path}: room {room} may not include sparsetrace/{header}.h (room {target})")


def check_includes(path, text):
    room = room_of(path)
    if path.parts[0] == "include":
        room = HEADER_ROOM.get(path.stem, path.stem)
    for name in INCLUDE.findall(text):
        if FOREIGN.match(name):
            at = "/".join(path.parts[:2])
            if at not in ("src/ggml", "src/engine", "tests/ggml", "tests/model") and path.parts[0] != "bench":
                problems.append(f"{path}: only src/ggml, src/engine and their tests may include {name}")
        elif name.startswith("sparsetrace/"):
            check_public(path, room, Path(name).stem)
        elif "/" in name and name.split("/")[0] in MAY and path.parts[0] in ("src", "cli", "examples"):
            target = name.split("/")[0]
            if target != room and target not in MAY[room]:
                problems.append(f"{path}: room {room} may not include {name}")


def check_text(root, path, text):
    """Line length of C, and that every file a comment or a document names is there."""
    for n, line in enumerate(text.splitlines(), 1):
        if PLACES.search(line):
            problems.append(f"{path}:{n}: names a machine's path or a package registry")
        if path.suffix in (".c", ".h") and len(line) > COLUMNS:
            problems.append(f"{path}:{n}: {len(line)} columns, at most {COLUMNS}")
        if path.suffix in (".c", ".h", ".md", ".py") and path.name != "adding-a-kernel.md":
            for cited in CITED.findall(line):
                if not (root / cited).exists() and not (root / path.parent / cited).exists():
                    problems.append(f"{path}:{n}: {cited} is not there")


def tracked(root):
    out = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if out.returncode == 0:
        return [Path(p) for p in out.stdout.splitlines() if (root / p).is_file()]
    return [p.relative_to(root) for p in root.rglob("*") if p.is_file() and "build" not in p.parts[0]]


def main():
    root = Path(sys.argv[1])
    names = {}
    for path in tracked(root):
        if path.suffix in (".c", ".h", ".py", ".sh", ".mjs", ".js", ".css", ".cu"):
            text = (root / path).read_text(encoding="utf-8")
            if "SPDX-License-Identifier: MIT" not in text[:300]:
                problems.append(f"{path}: no SPDX line")
            if path.name in names and path.parts[0] not in ("examples",) and path.stem not in ("make", "check"):
                problems.append(f"{path}: the name stands already at {names[path.name]}")
            if path.name in names and path.parts[0] == "src" and names[path.name].parts[0] == "include":
                problems.append(f"{path}: named like a public header")
            names.setdefault(path.name, path)
            if path.suffix in (".c", ".h"):
                check_includes(path, text)
            if text.count("\n") > 800:
                print(f"note: {path} has {text.count(chr(10))} lines")
        if path.suffix not in (".npz", ".safetensors", ".trace", ".png", ".gz") and path.name != "check_layers.py":
            try:
                text = (root / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            check_text(root, path, text)
    for p in problems:
        print(p)
    print(f"{len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
