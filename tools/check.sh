#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# check.sh [BUILD_DIR] — the checks that run no program of ours.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
python=${PYTHON:-python3}
"$python" tools/check_layers.py . "$build"
"$python" tools/check_symbols.py . "$build"
