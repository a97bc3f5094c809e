"""One direction of one proxied connection: bytes go in, and leave in order when their toxics let them.

Order and number of the bytes stay as they are, whatever befalls them. What befalls them may change at any time: a byte
leaves by the toxics of the moment, not by those of its arrival.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from broker.toxics import Toxic

CHUNK_BYTES = 65_536
IN_FLIGHT_BYTES = 16 * 2**20  # then the sender is held up: 20 ms of 6 Gbit/s
SLOW_BYTES = 65_536  # the same where bytes pile up: about what a modem or a socket keeps


class LinkCut(OSError):
    """A toxic ended the connection; `resets`: with a TCP reset."""

    def __init__(self, resets: bool) -> None:
        super().__init__("reset by a toxic" if resets else "closed by a toxic")
        self.resets = resets


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A chunk; an empty one is the end of the stream, or with `error` its break."""

    at_s: float
    draw: float
    data: bytes = b""
    error: OSError | None = None


class DelayLine:
    """Run `take_in` and `let_out` together; `toxics` may be set at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draw: random.Random) -> None:
        self._reader = reader
        self._writer = writer
        self._draw = draw
        self._toxics: Sequence[Toxic] = ()
        self._waiting: deque[_Arrived] = deque()
        self._waiting_bytes = 0
        self._passed_bytes = 0
        self._free_s = 0.0  # when the link is done with the last piece
        self._receiver_gone = False
        self._changed = asyncio.Event()

    @property
    def toxics(self) -> Sequence[Toxic]:
        """What befalls this direction now."""
        return self._toxics

    @toxics.setter
    def toxics(self, toxics: Sequence[Toxic]) -> None:
        self._toxics = toxics
        self._free_s = 0.0
        self._changed.set()

    @property
    def held_bytes(self) -> int:
        """What has arrived and not left."""
        return self._waiting_bytes

    async def take_in(self) -> None:
        """Return when the sender has ended its half, or broken off: that travels behind what it sent before."""
        loop = asyncio.get_running_loop()
        while True:
            data, broken = b"", None
            try:
                data = await self._reader.read(CHUNK_BYTES)
            except OSError as error:
                broken = error
            if not self._receiver_gone:
                self._waiting.append(_Arrived(loop.time(), self._draw.uniform(-1.0, 1.0), data, broken))
                self._waiting_bytes += len(data)
                self._changed.set()
            if not data:
                return
            while self._waiting_bytes > self._most_bytes() and not self._receiver_gone:
                await self._change()

    async def let_out(self) -> None:
        """Return when all that `take_in` took, and the end, is passed on. Raises OSError when the sender broke off.

        A receiver that broke off ends this direction quietly: whoever reads from it says so in the other.
        """
        while True:
            chunk = await self._next()
            if chunk.error is not None:
                raise chunk.error
            try:
                if not chunk.data:
                    self._writer.write_eof()
                    return
                await self._write(chunk.data)
            except LinkCut:
                raise
            except OSError:
                self._receiver_gone = True  # `take_in` goes on to the end, for nobody
                self._changed.set()
                return

    def _most_bytes(self) -> int:
        return SLOW_BYTES if any(toxic.slow for toxic in self._toxics) else IN_FLIGHT_BYTES

    @property
    def _held(self) -> bool:
        return any(toxic.holds for toxic in self._toxics)

    async def _next(self) -> _Arrived:
        """The next chunk, when it is due."""
        loop = asyncio.get_running_loop()
        while True:
            left_s = None
            if self._waiting and not self._held:
                left_s = self._due_s(self._waiting[0]) - loop.time()
                if left_s <= 0:
                    return self._waiting.popleft()
            await self._change(left_s)

    def _due_s(self, chunk: _Arrived) -> float:
        due_s = chunk.at_s + sum(toxic.delay_s(chunk.draw) for toxic in self._toxics)
        return due_s if chunk.data else due_s + sum(toxic.end_delay_s() for toxic in self._toxics)

    async def _write(self, data: bytes) -> None:
        """Pass `data` on, piece by piece. Raises OSError when the receiver broke off, LinkCut at the limit."""
        start = 0
        while start < len(data):
            end = start + self._piece_bytes(len(data) - start)
            await self._occupy(end - start)
            self._writer.write(data[start:end])
            await self._writer.drain()
            self._passed_bytes += end - start
            self._waiting_bytes -= end - start
            self._changed.set()
            start = end
            self._allowed()

    def _allowed(self) -> list[int]:
        """How many more bytes each limit lets pass. Raises LinkCut when that is none."""
        allowed = [most - self._passed_bytes for toxic in self._toxics if (most := toxic.most_bytes) is not None]
        if allowed and min(allowed) <= 0:
            raise LinkCut(resets=False)
        return allowed

    def _piece_bytes(self, left: int) -> int:
        sizes = [size for toxic in self._toxics if (size := toxic.piece_bytes(self._draw)) is not None]
        return min([left, *sizes, *self._allowed()])

    async def _occupy(self, size: int) -> None:
        """Wait until the link has carried a piece of `size` bytes, by the toxics of the moment."""
        loop = asyncio.get_running_loop()
        toxics, start_s = self._toxics, max(self._free_s, loop.time())
        self._free_s = start_s + sum(toxic.occupied_s(size) for toxic in toxics)
        while self._toxics is toxics and (left_s := self._free_s - loop.time()) > 0:
            await self._change(left_s)
        while self._held:
            await self._change()

    async def _change(self, longest_s: float | None = None) -> None:
        """Return when something arrived, left, or befalls this direction, or after `longest_s`."""
        self._changed.clear()
        try:
            async with asyncio.timeout(longest_s):
                await self._changed.wait()
        except TimeoutError:
            return
