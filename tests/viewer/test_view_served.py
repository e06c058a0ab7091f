# SPDX-License-Identifier: MIT
"""The served viewer from outside: its routes and nothing else, for this machine's own pages and nobody else."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess

import numpy as np
import pytest
from made_trace import dense, make_trace
from safetensors.numpy import load

CLI = os.environ["ST_CLI"]
N_TOK, BQ, BK, HEADS, LAYERS = 2000, 32, 16, 3, (0, 1, 3)
NBQ, NBK = -(-N_TOK // BQ), -(-N_TOK // BK)


def start(path, port="0"):
    server = subprocess.Popen(
        [CLI, "view", path, "--serve", port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = server.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
    return server, int(found.group(1)) if found else None


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    tensors = make_trace(folder / "t.trace", N_TOK, LAYERS, HEADS, BQ, BK)
    server, port = start(folder / "t.trace")
    yield port, (folder / "t.trace").read_bytes(), tensors
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=10) == 0
    assert server.stderr.read() == ""


def ask(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Host": f"127.0.0.1:{port}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


def test_page(served):
    reply, body = ask(served[0], "/")
    assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/html")
    assert b"connect-src 'self'" in body and b'id="data"' not in body
    assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_bytes_are_the_file(served):
    port, file, _ = served
    for begin, end in ((0, 8), (0, len(file)), (len(file) - 1, len(file)), (12345, 23456)):
        reply, body = ask(port, f"/bytes/{begin}-{end}")
        assert reply.status == 200 and body == file[begin:end]


def test_overview(served):
    port, file, tensors = served
    data = load(ask(port, "/overview")[1])
    assert len(data["view.head"]) == len(LAYERS) * HEADS
    sink = dense(tensors, 1, NBQ, NBK, HEADS)[2, :, 0].mean()
    assert data["view.measure"][5, 1] == pytest.approx(sink, rel=1e-5)


def test_reads_and_readers(served):
    port, _, tensors = served
    m = np.stack([dense(tensors, layer, NBQ, NBK, HEADS) for layer in LAYERS])
    rows, keys = slice(30, 33), slice(10, 12)
    for heads, pick in (("all", [(a, b) for a in range(3) for b in range(HEADS)]), ("1.2,3.0", [(1, 2), (2, 0)])):
        chosen = np.stack([m[a, b] for a, b in pick])
        reads = np.frombuffer(ask(port, f"/reads/{30 * BQ + 5}-{33 * BQ - 5}/{heads}")[1])
        assert reads == pytest.approx(chosen[:, rows].mean((0, 1)), abs=1e-9)
        readers = np.frombuffer(ask(port, f"/readers/{10 * BK + 3}-{11 * BK + 1}/{heads}")[1])
        assert readers == pytest.approx(chosen[:, :, keys].sum(2).mean(0), abs=1e-9)


def test_rows(served):
    port, _, tensors = served
    rows = json.loads(ask(port, f"/rows/{40 * BQ}-{41 * BQ}")[1])["rows"]
    assert [(r["layer"], r["head"], r["query_block"]) for r in rows] == [
        (a, b, 40) for a in LAYERS for b in range(HEADS)
    ]
    want = dense(tensors, 3, NBQ, NBK, HEADS)[1, 40]
    got = np.zeros(NBK)
    got[rows[7]["key_blocks"]] = rows[7]["mass"]
    assert got == pytest.approx(want, abs=1e-8)


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/../etc/passwd",
        "/bytes/../../etc/passwd",
        "//etc/passwd",
        "/%2e%2e/etc/passwd",
        "/overview/",
        "/overview?x",
        "/bytes/",
        "/bytes/0",
        "/bytes/0-",
        "/bytes/-1-5",
        "/bytes/5-5",
        "/bytes/6-5",
        "/bytes/0-99999999999",
        "/bytes/0-99999999999999999999",
        "/bytes/0-8x",
        "/bytes/+0-8",
        "/bytes/ 0-8",
        "/reads/0-32",
        "/reads/0-32/",
        "/reads/0-32/9.9",
        "/reads/0-32/x",
        "/reads/0-2001/all",
        "/readers/32-0/all",
        "/rows/0-2001",
        "/reads/0-32/0.0;1.1",
        "http://example.org/",
    ],
)
def test_other_paths(served, path):
    reply, body = ask(served[0], path) if " " not in path else (None, None)
    if reply is None:
        return
    assert reply.status == 404 and b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "get"])
def test_get_alone(served, method):
    reply, body = ask(served[0], "/", method)
    assert reply.status == 405 and b"<html" not in body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}", ""]
)
def test_foreign_host(served, host):
    port = served[0]
    assert ask(port, "/overview", Host=host.format(port=port))[0].status == 403


def test_foreign_origin(served):
    port = served[0]
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "/overview", Origin=own)[0].status == 200
    assert ask(port, "/overview", Host=f"localhost:{port}")[0].status == 200
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}", "http://127.0.0.1:1", own + ".evil"):
        assert ask(port, "/overview", Origin=origin)[0].status == 403
    for site, status in (("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)):
        assert ask(port, "/overview", Sec_Fetch_Site=site)[0].status == status


def test_odd_requests(served):
    """Garbage, a request that never ends, one that is too long, a connection that says nothing: others are answered."""
    port = served[0]
    silent = socket.create_connection(("127.0.0.1", port))
    half = socket.create_connection(("127.0.0.1", port))
    half.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    for garbage, status in (
        (b"\x00\x01\x02\r\n\r\n" * 3, None),
        (b"GET /\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000, b"431"),
        (b"GET  / HTTP/1.1\r\n\r\n", None),
    ):
        with socket.create_connection(("127.0.0.1", port)) as odd:
            odd.settimeout(5)
            try:
                odd.sendall(garbage)
                odd.shutdown(socket.SHUT_WR)
                said = odd.recv(200)
            except OSError:  # refused before it was all said
                said = None
            if status and said:
                assert status in said.split(b"\r\n")[0]
    assert ask(port, "/overview")[0].status == 200
    for s in (silent, half):
        s.close()


def test_loopback_alone(served):
    """The socket is bound to 127.0.0.1 and to nothing else."""
    listening = []
    for line in open("/proc/net/tcp", encoding="ascii").read().splitlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        if int(address.split(":")[1], 16) == served[0] and state == "0A":
            listening.append(address.split(":")[0])
    assert listening == ["0100007F"]


def test_port_in_use(served, tmp_path):
    make_trace(tmp_path / "t.trace", 64)
    done = subprocess.run(
        [CLI, "view", tmp_path / "t.trace", "--serve", str(served[0])],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1 and "another port" in done.stderr and done.stdout == ""
