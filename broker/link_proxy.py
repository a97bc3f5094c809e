"""Makes links weak: a TCP proxy in front of the broker that holds back what a node sends.

    python -m broker.link_proxy --upstream 127.0.0.1:1883 --listen 2001=20 2002=20

Each listening port is one node's link, with its own delay in ms. What comes from the broker passes untouched. A `Toxic`
(Toxiproxy's word) says when bytes that have arrived may leave; the proxy keeps their order, their number and, up to
what is in flight, their throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.events import event, log_to_stderr

log = logging.getLogger(__name__)

CHUNK_BYTES = 65_536
IN_FLIGHT_BYTES = 16 * 2**20  # then the sender is held up: 20 ms of 6 Gbit/s
LINGER_ZERO = struct.pack("ii", 1, 0)


class Toxic(Protocol):
    """Something that befalls one direction of a link."""

    def due_s(self, arrived_s: float, size: int) -> float:
        """When `size` bytes that arrived at `arrived_s` (the loop's clock) may leave."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Every byte leaves a fixed time after it arrived."""

    delay_s: float

    def due_s(self, arrived_s: float, size: int) -> float:  # noqa: ARG002 - of the protocol
        return arrived_s + self.delay_s


class DelayLine:
    """One direction of one connection: bytes go in, and leave in order when their toxics let them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxics: Sequence[Toxic]) -> None:
        self._reader = reader
        self._writer = writer
        self._toxics = toxics
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()

    async def take_in(self) -> None:
        """Return when the sender has ended its half. Raises OSError when its side breaks."""
        loop = asyncio.get_running_loop()
        last_due_s = 0.0
        while True:
            data = await self._reader.read(CHUNK_BYTES)
            due_s = loop.time()
            for toxic in self._toxics:
                due_s = toxic.due_s(due_s, len(data))
            last_due_s = max(last_due_s, due_s)
            self._waiting.append((last_due_s, data))
            self._waiting_bytes += len(data)
            self._changed.set()
            if not data:
                return
            while self._waiting_bytes > IN_FLIGHT_BYTES:
                await self._change()

    async def let_out(self) -> None:
        """Return when all that `take_in` took, and the end, is passed on. Raises OSError when that side breaks."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                await self._change()
            due_s, data = self._waiting[0]
            if (left_s := due_s - loop.time()) > 0:
                await asyncio.sleep(left_s)
            self._waiting.popleft()
            if not data:
                self._writer.write_eof()
                return
            self._writer.write(data)
            await self._writer.drain()
            self._waiting_bytes -= len(data)
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The direction that nothing befalls. Raises OSError when a side breaks."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """Break this side as the other side broke: with a TCP reset."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    writer.transport.abort()


class LinkProxy:
    """Listens for nodes and connects each to `upstream`. `close` ends all connections."""

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, port: int, toxics: Sequence[Toxic]) -> int:
        """Open one node's link on loopback; the port, drawn if `port` is 0. Raises OSError when it is in use."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._own(reader, writer, toxics)

        server = await asyncio.start_server(connected, "127.0.0.1", port)
        self._servers.append(server)
        listening_on: int = server.sockets[0].getsockname()[1]
        return listening_on

    async def close(self) -> None:
        """Listen no more, and break what is still connected."""
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _own(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxics: Sequence[Toxic]) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._connections.add(task)
        try:
            await self._serve(reader, writer, toxics)
        except asyncio.CancelledError:
            # asyncio's streams would log it; whoever cancelled this task waits for it in `close`.
            pass
        finally:
            self._connections.discard(task)

    async def _serve(
        self, node_reader: asyncio.StreamReader, node_writer: asyncio.StreamWriter, toxics: Sequence[Toxic]
    ) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection(*self._upstream)
        except OSError as error:
            event(log, logging.WARNING, "no_upstream", upstream="{}:{}".format(*self._upstream), error=error)
            reset(node_writer)
            return
        # asyncio sets TCP_NODELAY on both sockets.
        try:
            async with asyncio.TaskGroup() as group:
                line = DelayLine(node_reader, broker_writer, toxics)
                group.create_task(line.take_in())
                group.create_task(line.let_out())
                group.create_task(pass_on(broker_reader, node_writer))
        except* OSError as broken:
            event(log, logging.INFO, "connection_broken", error=broken.exceptions[0])
            reset(node_writer)
            reset(broker_writer)
        finally:
            for writer in (node_writer, broker_writer):
                writer.close()


async def serve(upstream: tuple[str, int], delays_ms: Sequence[tuple[int, float]]) -> None:
    """Run until SIGTERM or SIGINT. Raises OSError when a port is in use."""
    proxy = LinkProxy(*upstream)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        listening = [(await proxy.listen(port, [Latency(ms / 1000)]), ms) for port, ms in delays_ms]
        links = " ".join(f"{port}={ms:g}" for port, ms in listening)
        print(f"link_proxy ready {links}", flush=True)
        await stopping.wait()
    finally:
        await proxy.close()


def _upstream(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal() and 0 < int(port) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _listen(text: str) -> tuple[int, float]:
    port, separator, delay_ms = text.partition("=")
    try:
        if separator and 0 <= int(port) <= 65535 and 0 <= float(delay_ms) <= 600_000:
            return int(port), float(delay_ms)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not PORT=DELAY_MS")


def main() -> int:
    """Entry point of `python -m broker.link_proxy`. Exit codes: 0 stopped by a signal, 1 cannot listen, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m broker.link_proxy", description="Delays what nodes send.")
    parser.add_argument("--upstream", type=_upstream, required=True, metavar="HOST:PORT", help="the broker")
    parser.add_argument(
        "--listen", type=_listen, required=True, nargs="+", action="extend", metavar="PORT=DELAY_MS",
        help="one link on 127.0.0.1; port 0 draws a free one",
    )  # fmt: skip
    arguments = parser.parse_args()
    log_to_stderr("info")
    try:
        asyncio.run(serve(arguments.upstream, arguments.listen))
    except OSError as error:
        print(f"link_proxy: cannot listen: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
