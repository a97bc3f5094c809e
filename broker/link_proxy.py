"""Makes links weak, or worse: a TCP proxy in front of the broker, in which toxics befall what nodes send and hear.

    python -m broker.link_proxy --upstream 127.0.0.1:1883 --listen 2001=20 2002=20

Each listening port is one node's link. The command line knows one toxic, a latency in ms on what the node sends; in a
program, `Link.add` and `Link.remove` set any of `broker.toxics`, also on connections that are open.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from broker.delay_line import DelayLine, LinkCut
from broker.events import event, log_to_stderr
from broker.toxics import Latency, Stream, Toxic

log = logging.getLogger(__name__)

E = TypeVar("E", bound=BaseException)
LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class _Befalling:
    """A toxic of a link; `toxicity` is the share of its connections that it befalls."""

    toxic: Toxic
    stream: Stream
    toxicity: float


def reset(writer: asyncio.StreamWriter) -> None:
    """Break this side as the other side broke: with a TCP reset."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    writer.transport.abort()


class _Connection:
    """One node's connection and ours to the broker, with a line in each direction."""

    def __init__(
        self,
        node: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        broker: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        draw: random.Random,
    ) -> None:
        self._writers = (node[1], broker[1])
        self._draw = draw
        self._lines = {
            Stream.UPSTREAM: DelayLine(node[0], broker[1], draw),
            Stream.DOWNSTREAM: DelayLine(broker[0], node[1], draw),
        }
        self._befalling: dict[str, tuple[_Befalling, float]] = {}  # and since when
        self._changed = asyncio.Event()

    def add(self, name: str, befalling: _Befalling) -> None:
        """Let it befall this connection, if the lot falls on it."""
        if self._draw.random() < befalling.toxicity:
            self._befalling[name] = befalling, asyncio.get_running_loop().time()
            self._apply()

    def remove(self, name: str) -> None:
        """It does so no longer."""
        if self._befalling.pop(name, None) is not None:
            self._apply()

    @property
    def held_bytes(self) -> int:
        """What has arrived and not left, in both directions."""
        return sum(line.held_bytes for line in self._lines.values())

    async def run(self) -> None:
        """Carry bytes until both directions have ended. Raises OSError, in a group, when a side broke off."""
        # asyncio sets TCP_NODELAY on both sockets.
        async with asyncio.TaskGroup() as group:
            cutting = group.create_task(self._cut_when_due())
            async with asyncio.TaskGroup() as both:
                for line in self._lines.values():
                    both.create_task(line.take_in())
                    both.create_task(line.let_out())
            cutting.cancel()

    def end(self) -> None:
        """Close both sides."""
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """Break both sides."""
        for writer in self._writers:
            reset(writer)

    def _apply(self) -> None:
        for stream, line in self._lines.items():
            line.toxics = tuple(b.toxic for b, _ in self._befalling.values() if b.stream is stream)
        self._changed.set()

    async def _cut_when_due(self) -> None:
        """Raises LinkCut when a toxic ends the connection."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            ends = [
                (since_s + after_s, befalling.toxic.resets)
                for befalling, since_s in self._befalling.values()
                if (after_s := befalling.toxic.ends_after_s) is not None
            ]
            due_s, resets = min(ends, default=(None, False))
            if due_s is not None and due_s <= loop.time():
                raise LinkCut(resets)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._changed.wait()


class Link:
    """One listening port: all connections through it, and what befalls them. Made by `LinkProxy.listen`."""

    def __init__(self, upstream: tuple[str, int], draw: random.Random) -> None:
        self.port = 0
        self._upstream = upstream
        self._draw = draw
        self._toxics: dict[str, _Befalling] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    def add(self, name: str, toxic: Toxic, stream: Stream = Stream.UPSTREAM, toxicity: float = 1.0) -> None:
        """Let `toxic` befall one direction, now and of connections to come; `toxicity` is the share of them."""
        self.remove(name)
        self._toxics[name] = befalling = _Befalling(toxic, stream, toxicity)
        for connection in self._connections:
            connection.add(name, befalling)

    def remove(self, name: str) -> None:
        """Take it away; what it held back goes on."""
        if self._toxics.pop(name, None) is not None:
            for connection in self._connections:
                connection.remove(name)

    @property
    def held_bytes(self) -> int:
        """What all connections hold back at this moment."""
        return sum(connection.held_bytes for connection in self._connections)

    async def listen(self, port: int) -> None:
        """Raises OSError when the port is in use."""
        self._server = await asyncio.start_server(self._own, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and break what is still connected."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _own(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            # asyncio's streams would log it; whoever cancelled this task waits for it in `close`.
            pass
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker = await asyncio.open_connection(*self._upstream)
        except OSError as error:
            event(log, logging.WARNING, "no_upstream", upstream="{}:{}".format(*self._upstream), error=error)
            reset(writer)
            return
        connection = _Connection((reader, writer), broker, random.Random(self._draw.random()))
        for name, befalling in self._toxics.items():
            connection.add(name, befalling)
        self._connections.add(connection)
        try:
            await connection.run()
        except* LinkCut as cut:
            if _first(cut).resets:
                connection.reset()
        except* OSError as broken:
            event(log, logging.INFO, "connection_broken", error=_first(broken))
            connection.reset()
        finally:
            self._connections.discard(connection)
            connection.end()


def _first(group: BaseExceptionGroup[E]) -> E:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


class LinkProxy:
    """Listens for nodes and connects each to `upstream`. `close` ends all connections; `seed` is that of all lots."""

    def __init__(self, upstream_host: str, upstream_port: int, seed: int | None = None) -> None:
        self._upstream = (upstream_host, upstream_port)
        self._draw = random.Random(seed)
        self._links: list[Link] = []

    async def listen(self, port: int, toxics: Sequence[Toxic] = ()) -> Link:
        """Open one node's link on loopback, with `toxics` on what the node sends; port 0 draws a free one.

        Raises OSError when the port is in use.
        """
        link = Link(self._upstream, random.Random(self._draw.random()))
        for number, toxic in enumerate(toxics):
            link.add(f"at-start-{number}", toxic)
        await link.listen(port)
        self._links.append(link)
        return link

    async def close(self) -> None:
        """Listen no more, and break what is still connected."""
        for link in self._links:
            await link.close()


async def serve(upstream: tuple[str, int], delays_ms: Sequence[tuple[int, float]]) -> None:
    """Run until SIGTERM or SIGINT. Raises OSError when a port is in use."""
    proxy = LinkProxy(*upstream)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        listening = [((await proxy.listen(port, [Latency(ms)])).port, ms) for port, ms in delays_ms]
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
