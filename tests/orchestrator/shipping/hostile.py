"""Servers that mean harm, and a child process whose memory is measured, for the tests of shipping."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

Answer = Callable[[bytes, bytes], Iterator[bytes]]
"""What a server sends for the head and the body of one request, piece by piece."""

PIECE = b"x" * 65_536
DRIP_S = 0.05
BOMB = gzip.compress(bytes(200 << 20), 9)  # 200 MB as 200 kB


def endless_body(_head: bytes, _body: bytes) -> Iterator[bytes]:
    """An answer that has no end."""
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    yield from itertools.repeat(PIECE)


def endless_chunks(_head: bytes, _body: bytes) -> Iterator[bytes]:
    """The same under a status of failure, in chunks."""
    yield b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from itertools.repeat(b"10000\r\n" + PIECE + b"\r\n")


def endless_header(_head: bytes, _body: bytes) -> Iterator[bytes]:
    """Not even the headers end."""
    yield b"HTTP/1.1 204 No Content\r\nX: "
    yield from itertools.repeat(PIECE)


def slow_drip(_head: bytes, _body: bytes) -> Iterator[bytes]:
    """A byte at a time, for ever: no single read times out."""
    for byte in itertools.chain(b"HTTP/1.1 200 OK\r\n\r\n", itertools.repeat(120)):
        time.sleep(DRIP_S)
        yield bytes([byte])


def gzip_bomb(_head: bytes, _body: bytes) -> Iterator[bytes]:
    """200 kB that unpack to 200 MB."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(BOMB)}\r\n\r\n"
    yield head.encode() + BOMB


def echo(head: bytes, body: bytes) -> Iterator[bytes]:
    """Takes test points; to all else it repeats what it was sent, in many spellings, under a status of refusal."""
    if b"tierwise_check" in (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body):
        yield b"HTTP/1.1 204 No Content\r\n\r\n"
        return
    status = "400 Bad Request" if b"/write" in head.split(b"\r\n")[0] else "401 Unauthorized"
    header = next((line for line in head.decode().split("\r\n") if line.lower().startswith("authorization:")), "")
    secret = header.partition(" ")[2].partition(" ")[2]
    if "Basic" in header:
        secret += " " + base64.b64decode(secret).decode()
    words = " ".join(dict.fromkeys([header, secret, quote(secret), base64.b64encode(secret.encode()).decode()]))
    if b"/ping" in head:
        status = "204 No Content"
    said = b"" if b"/ping" in head else json.dumps({"error": words}).encode()
    yield (
        f"HTTP/1.1 {status} {secret}\r\nX-Influxdb-Version: {secret}\r\nContent-Length: {len(said)}\r\n\r\n".encode()
        + said
    )


@dataclass
class Hostile:
    """One running server, and the heads of the requests that it got."""

    url: str
    heads: list[bytes] = field(default_factory=list)


@contextmanager
def serving(answer: Answer) -> Iterator[Hostile]:
    """Answer each connection's requests so until the end."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Hostile(f"http://127.0.0.1:{listening.getsockname()[1]}")
    open_ones: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := _request(connection):
                server.heads.append(request[0])
                for piece in answer(*request):
                    connection.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                open_ones.append(connection)
                threads.append(threading.Thread(target=serve, args=(connection,), name="hostile-connection"))
                threads[-1].start()

    accepting = threading.Thread(target=accept, name="hostile-server")
    accepting.start()
    try:
        yield server
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for connection in open_ones:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _request(connection: socket.socket) -> tuple[bytes, bytes] | None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := connection.recv(65_536)):
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        if not (piece := connection.recv(65_536)):
            return None
        body += piece
    return head, body


# The libraries are loaded before the measurement: what is measured is what an answer adds.
MEASURED = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
import influxdb_client, urllib3, tierwise.ship_bar
import orchestrator.shipping.checking, orchestrator.shipping.running, orchestrator.shipping.target
from tierwise.__main__ import main
commands, codes = json.loads(sys.argv[1]), []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for command in commands:
    sys.argv = ["tierwise", *command]
    try:
        main()
        codes.append(0)
    except SystemExit as ended:
        codes.append(int(ended.code or 0))
growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
sys.stderr.write("\\n" + json.dumps({"codes": codes, "growth_mib": growth / 1024}))
"""


@dataclass(frozen=True)
class Ran:
    """Some commands in a process of its own."""

    codes: list[int]
    growth_mib: float
    said: str


def run_measured(*commands: str) -> Ran:
    """Run `tierwise COMMAND` for each in turn; exit codes, what they printed, and how much the memory grew."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps([command.split() for command in commands])],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    said, _, told = done.stderr.rpartition("\n")
    measured = json.loads(told)
    return Ran(measured["codes"], measured["growth_mib"], done.stdout + said)
