#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A file as a C array, so that the library carries it: embed.py FILE NAME OUT.c gives
`const unsigned char NAME[]` (at a multiple of 8 bytes) and `const unsigned long NAME_bytes`."""

import sys
from pathlib import Path

data = Path(sys.argv[1]).read_bytes()
name = sys.argv[2]
with open(sys.argv[3], "w", encoding="ascii") as out:
    out.write(f"extern const unsigned char {name}[];\nextern const unsigned long {name}_bytes;\n")
    out.write(f"const unsigned long {name}_bytes = {len(data)};\n_Alignas(8) const unsigned char {name}[] = {{\n")
    for i in range(0, len(data), 24):
        out.write(",".join(map(str, data[i : i + 24])) + ",\n")
    out.write("};\n")
