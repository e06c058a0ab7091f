# SPDX-License-Identifier: MIT
"""Packages that only some calls need."""

import importlib


def need(module, extra):
    """The module; ImportError names the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        raise ImportError(f"this needs {module.split('.')[0]}: pip install 'sparsetrace[{extra}]' ({e})") from e
