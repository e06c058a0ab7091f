#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The known circuit (tests/golden/known_circuit) at great lengths: answer, designed reads kept, certificate.

    known_circuit.py [--tokens 131072 ...] [--only easy/stream ...] [--cache f16] [--block-q 32] [--record]

Easy fillers with stream (k 8); hard ones (k 16) with scan, which must keep every designed read, and with stream,
whose certificate must show what it lost: recall of the last row, mean over heads. One needle hop; weights F32.
Needs the packages of the tests (tools/test.sh makes an environment for them).
"""
import os
import pathlib
import sys
import tempfile

from record import ROOT, Table, parser

CASES = (("easy", "stream", 8), ("hard", "scan", 16), ("hard", "stream", 16))
COLUMNS = (("tokens", 8), ("fillers", 7), ("method", 7), ("rows", 4), ("k", 3), ("pruned", 8), ("answer", 6), ("p", 6),
           ("reads lost", 10), ("recall", 7), ("last row", 8), ("seconds", 8), ("select s", 8), ("peak MB", 8))


def main():
    p = parser("the known circuit at great lengths")
    p.add_argument("--tokens", type=int, nargs="+", default=[131072])
    p.add_argument("--cache", default="f16", help="type of the K and V cache")
    p.add_argument("--only", nargs="+", default=["/".join(c[:2]) for c in CASES], metavar="easy/stream",
                   help="some of the cases")
    p.add_argument("--block-q", default="32", help="rows of a query block")
    args = p.parse_args()
    os.environ["ST_CLI"] = str(args.cli)
    sys.path.insert(0, str(ROOT / "tests/python"))
    from test_model_known_circuit import Circuit
    table = Table("known_circuit", COLUMNS, args.record)
    with tempfile.TemporaryDirectory() as folder:
        circuit = Circuit(pathlib.Path(folder))
        for n_tok in args.tokens:
            for hardness, method, k in (c for c in CASES if "/".join(c[:2]) in args.only):
                r, truth, lost = circuit.trace("one", hardness, n_tok, "--k", str(k), "--select", method,
                                               "--ctk", args.cache, "--ctv", args.cache, "--block-q", args.block_q)
                got = r["next_token"]["sparse"]
                table.row(n_tok, hardness, method, args.block_q, k, f"{100 * r['pruned_fraction']:.3f}",
                          "right" if got["id"] == truth["answer"]["id"] else "WRONG", f"{got['p']:.3f}",
                          f"{len(lost)} of {len(truth['reads'])}", f"{r['recall']['mean']:.3f}",
                          f"{r['recall']['last_row']:.3f}", f"{r['seconds']['final']:.1f}",
                          f"{r['seconds']['select']:.1f}", f"{r['peak_rss_bytes'] / 1e6:.0f}")


if __name__ == "__main__":
    main()
