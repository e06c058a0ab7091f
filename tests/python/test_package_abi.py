# SPDX-License-Identifier: MIT
"""python/sparsetrace/_abi.py against the public headers, the C compiler and the shared library's symbols."""

import ctypes as c
import os
import re
import subprocess
from pathlib import Path

import pytest

from sparsetrace import _abi

SOURCE, BUILD = Path(os.environ["ST_SOURCE_DIR"]), Path(os.environ["ST_BUILD_DIR"])
HEADERS = sorted((SOURCE / "include/sparsetrace").glob("*.h"))
SCALARS = {
    "int": c.c_int,
    "int32_t": c.c_int32,
    "int64_t": c.c_int64,
    "uint64_t": c.c_uint64,
    "float": c.c_float,
    "double": c.c_double,
    "bool": c.c_bool,
    "size_t": c.c_size_t,
    "void": None,
}


def text():
    """All headers without their comments."""
    whole = "\n".join(h.read_text() for h in HEADERS)
    return re.sub(r"/\*.*?\*/", " ", whole, flags=re.S)


TEXT = text()
ENUMS = set(re.findall(r"typedef enum (st_\w+)", TEXT))
STRUCTS = {f"st_{s.__name__.lower()}": s for s in _abi.STRUCTS}


def prototypes():
    found = re.findall(r"ST_API\s+([\w\s]+?[\s*]+)(st_\w+)\s*\(([^;]*?)\)\s*;", TEXT)
    return {name: (result.strip(), parameters) for result, name, parameters in found}


def same(spelt, kind):
    """Whether the C type `spelt` (a parameter with or without its name) is what ctypes calls `kind`."""
    words = re.sub(r"\b(const|enum|struct)\b", " ", spelt).replace("*", " * ").split()
    base, stars = words[0], words.count("*")
    if stars == 0:
        return kind is (c.c_int if base in ENUMS else SCALARS.get(base, STRUCTS.get(base)))
    if kind is c.c_void_p:
        return base not in STRUCTS or stars > 1 or base in ("st_trace", "st_group")
    if kind is c.c_char_p:
        return base == "char" and stars == 1
    to = kind._type_
    if stars == 2:
        return to is c.c_void_p and base not in STRUCTS or to is c.POINTER(STRUCTS.get(base, c.c_int))
    return to is STRUCTS.get(base, SCALARS.get(base))


DECLARED = _abi.FUNCTIONS | _abi.PLUGIN_FUNCTIONS


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_function_is_as_the_header_says(name):
    result, parameters = prototypes()[name]
    spelt = [p.strip() for p in parameters.split(",")]
    spelt = [] if spelt == ["void"] else spelt
    kind, kinds = DECLARED[name]
    assert same(result, kind), f"{name} returns {result}"
    assert len(spelt) == len(kinds), f"{name}({parameters})"
    for one, its in zip(spelt, kinds):
        assert same(one, its), f"{name}: {one} is not {its}"


def test_a_wrong_declaration_would_be_seen():
    assert not same("int64_t n", c.c_int) and not same("const char *path", c.c_int64)
    assert not same("const st_attn *a", c.POINTER(_abi.Rows)) and not same("st_keys **keys", c.POINTER(c.c_int64))


def test_every_symbol_is_exported():
    out = subprocess.run(["nm", "-D", "--defined-only", BUILD / "libsparsetrace.so"], capture_output=True, text=True)
    symbols = {line.split()[-1] for line in out.stdout.splitlines()}
    assert set(_abi.FUNCTIONS) <= symbols
    assert all(name.startswith("st_") for name in symbols)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """What the compiler says: {"struct": size, "struct.field": (offset, size), "ENUMERATOR": value}."""
    folder = tmp_path_factory.mktemp("layout")
    lines = [f'#include "sparsetrace/{h.name}"' for h in HEADERS] + ["#include <stdio.h>", "int main(void)", "{"]
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu 0\\n", sizeof({name}));')
        for field, _ in struct._fields_:
            lines.append(
                f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));'
            )
    for word in enumerators():
        lines.append(f'printf("{word} %d 0\\n", (int){word});')
    source, program = folder / "layout.c", folder / "layout"
    source.write_text("\n".join(lines) + "\nreturn 0;\n}\n")
    subprocess.run([os.environ.get("CC", "cc"), "-I", SOURCE / "include", source, "-o", program], check=True)
    rows = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    return {name: (int(a), int(b)) for name, a, b in (row.split() for row in rows)}


def enumerators():
    names = [n for n in dir(_abi) if re.match(r"(OK|ERR_|DTYPE_|CHUNK_)", n)]
    return [f"ST_{n}" for n in names] + [f"ST_SELECT_{m.upper()}" for m in _abi.METHODS] + ["ST_SELECT_METHOD_COUNT"]


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_struct_is_laid_out_as_in_c(layout, name):
    struct = STRUCTS[name]
    body = re.search(r"typedef struct %s \{(.*?)\} %s;" % (name, name), TEXT, re.S).group(1)
    assert len(re.findall(r"[;,]", re.sub(r"\([^)]*\)", "", body))) == len(struct._fields_), "a field is missing"
    assert layout[name][0] == c.sizeof(struct)
    for field, _ in struct._fields_:
        at = getattr(struct, field)
        assert layout[f"{name}.{field}"] == (at.offset, at.size), f"{name}.{field}"


def test_enumerators(layout):
    for word in enumerators():
        short = word.removeprefix("ST_")
        method = short.removeprefix("SELECT_").lower()
        want = _abi.METHODS.index(method) if method in _abi.METHODS else getattr(_abi, short, len(_abi.METHODS))
        assert layout[word][0] == want, word
    assert [_abi.lib.st_select_method_name(i).decode() for i in range(len(_abi.METHODS))] == list(_abi.METHODS)


def test_defaults_are_the_librarys():
    import sparsetrace

    ours, theirs = sparsetrace.Params().struct(), _abi.lib.st_select_params_default()
    for field, _ in _abi.Select_Params._fields_:
        assert getattr(ours, field) == getattr(theirs, field), field


def test_a_missing_or_foreign_library_is_named(tmp_path):
    with pytest.raises(ImportError, match="pip install"):
        _abi.load(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(ImportError, match="text.so"):
        _abi.load(tmp_path / "text.so")
