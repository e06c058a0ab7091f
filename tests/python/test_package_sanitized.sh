#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The Python package over the core library as the sanitizers' build made it (ST_BUILD_DIR): arrays of all shapes, strides
# and dtypes, transformers' attention, traces written, read and broken. Nothing that calls the program.
set -euo pipefail
cd "$ST_SOURCE_DIR/tests/python"
LD_PRELOAD=$("${CC:-gcc}" -print-file-name=libasan.so)
export LD_PRELOAD ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1

# first: would it be seen? Two numbers are given, eight are said to be there
reads_beyond='import ctypes, numpy, sparsetrace._abi as a
f = a.lib.st_kurtosis; f.argtypes = [ctypes.c_void_p, ctypes.c_int64]; f.restype = ctypes.c_double
x = numpy.ones(2); f(x.ctypes.data, 8)'
if said=$("$ST_PYTHON" -c "$reads_beyond" 2>&1) || ! grep -q 'AddressSanitizer: heap-buffer-overflow' <<<"$said"; then
    echo "the sanitizer does not see a read beyond an array: $said"
    exit 1
fi

"$ST_PYTHON" -m pytest -q -p no:cacheprovider test_package_arrays.py
"$ST_PYTHON" -m pytest -q -p no:cacheprovider test_package_attention.py \
    -k '(padding and llama) or pieces or holes or (full_budget and gpt_oss) or trace_refuses'
"$ST_PYTHON" -m pytest -q -p no:cacheprovider test_package_trace.py test_package_routes.py \
    -k 'bad_files or outlive or wrong_questions or broken or passages or hid or refused or sentences' --deselect \
    test_package_routes.py::test_passages_by_their_text
