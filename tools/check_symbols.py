#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Names at the link: what the core library defines begins with st_ (declared in a public header), sti_ or stk_;
the shared library and the plug-in show the world st_ alone, the plug-in its entry too.

usage: check_symbols.py SOURCE_DIR BUILD_DIR
"""

import re
import subprocess
import sys
from pathlib import Path


def symbols(args):
    out = subprocess.run(["nm", *args], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in out.splitlines() if len(line.split()) >= 3 and line.split()[-2] in "TDBRVW"}


def main():
    source, build = Path(sys.argv[1]), Path(sys.argv[2])
    declared = set()
    for header in (source / "include/sparsetrace").glob("*.h"):
        declared |= set(re.findall(r"\b(st_\w+)\s*\(", header.read_text()))
    problems = []
    for library in ("libsparsetrace.a", "libsparsetrace-ggml.a", "libsparsetrace-engine.a"):
        for name in sorted(symbols(["--defined-only", "-g", str(build / library)])):
            if name.startswith(("sti_", "stk_", "yyjson_", "unsafe_yyjson_")):
                continue
            if not name.startswith("st_") or name not in declared:
                problems.append(f"{library}: {name} is neither internal (sti_, stk_) nor a declared st_ function")
    for name in sorted(symbols(["-D", "--defined-only", str(build / "libsparsetrace.so")]) - declared):
        problems.append(f"libsparsetrace.so shows {name}")
    plugin = symbols(["-D", "--defined-only", str(build / "libggml-sparsetrace.so")])
    for name in sorted(plugin):
        if name != "ggml_backend_init" and name not in declared:
            problems.append(f"libggml-sparsetrace.so shows {name}")
    if "ggml_backend_init" not in plugin:
        problems.append("libggml-sparsetrace.so has no ggml_backend_init")
    for p in problems:
        print(p)
    print(f"{len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
