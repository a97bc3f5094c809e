"""What befalls a link, on real sockets: order and number of the bytes, and how connections end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import pytest

from broker import link_proxy
from broker.link_proxy import Link, LinkProxy
from broker.toxics import Bandwidth, Latency, LimitData, ResetPeer, Slicer, SlowClose, Stream, Timeout, Toxic

WAIT_S = 120.0
SENT = bytes(range(256)) * 16
T = TypeVar("T")
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Bench:
    """A link, and both ends of each connection through it."""

    link: Link
    accepted: asyncio.Queue[Ends]
    opened: list[asyncio.StreamWriter]

    async def connect(self) -> tuple[Ends, Ends]:
        """The client's end and the server's."""
        client = await asyncio.open_connection("127.0.0.1", self.link.port)
        server = await soon(self.accepted.get())
        self.opened += [client[1], server[1]]
        return client, server


@asynccontextmanager
async def bench(seed: int | None = None) -> AsyncIterator[Bench]:
    """A proxy in front of a server that leaves its connections to the test."""
    accepted: asyncio.Queue[Ends] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    proxy = LinkProxy("127.0.0.1", server.sockets[0].getsockname()[1], seed)
    made = Bench(await proxy.listen(0), accepted, [])
    try:
        yield made
    finally:
        for writer in made.opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in made.opened), return_exceptions=True)
        await proxy.close()
        server.close()


async def soon(awaitable: Awaitable[T]) -> T:
    """A hang is an error."""
    return await asyncio.wait_for(awaitable, WAIT_S)


def run(scenario: Callable[[Bench], Awaitable[T]], seed: int | None = None) -> T:
    """What `scenario` says of a bench of its own."""

    async def whole() -> T:
        async with bench(seed) as made:
            return await scenario(made)

    return asyncio.run(whole())


async def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("stream", Stream)
@pytest.mark.parametrize("toxic", [
    Latency(5, jitter=5), Bandwidth(2000), Slicer(100, 60, delay=10), SlowClose(5), LimitData(len(SENT) + 1),
])  # fmt: skip
def test_whatever_befalls_them_bytes_arrive_in_order_and_number(toxic: Toxic, stream: Stream) -> None:
    """Each toxic that lets bytes pass lets all pass, in both directions, and the end of the stream after them."""

    async def scenario(made: Bench) -> bytes:
        made.link.add("it", toxic, stream)
        client, server = await made.connect()
        source, sink = (client, server) if stream is Stream.UPSTREAM else (server, client)
        for start in range(0, len(SENT), 1000):
            source[1].write(SENT[start : start + 1000])
            await source[1].drain()
        source[1].write_eof()
        return await soon(sink[0].read())

    assert SENT == run(scenario)


def test_latency_with_jitter_keeps_to_its_bounds() -> None:
    """300 ms, give or take 200: from 100 to 500 ms for the draws from -1 to 1, and never below nothing."""
    assert [0.1, 0.3, 0.5] == pytest.approx([Latency(300, 200).delay_s(draw) for draw in (-1, 0, 1)])
    assert 0.0 == Latency(10, 50).delay_s(-1)


def test_bandwidth_is_not_exceeded() -> None:
    """4096 bytes at 20 kB/s take at least 0.2 s."""

    async def scenario(made: Bench) -> float:
        made.link.add("slow", Bandwidth(20))
        client, server = await made.connect()
        started_s = await now_s()
        client[1].write(SENT)
        await soon(server[0].readexactly(len(SENT)))
        return await now_s() - started_s

    assert run(scenario) >= len(SENT) / 20_000


def test_a_slow_link_holds_the_sender_up() -> None:
    """8 MiB do not fit into a link of 8 kB/s: the sender's own buffer is not empty while the receiver has little."""

    async def scenario(made: Bench) -> bool:
        made.link.add("slow", Bandwidth(8))
        client, server = await made.connect()
        client[1].write(bytes(8 * 2**20))
        await soon(server[0].readexactly(1))
        return client[1].transport.get_write_buffer_size() > 0

    assert run(scenario)


def test_slices_have_the_size_that_was_asked_for() -> None:
    """Pieces of 100 bytes, give or take 60; the average of many is near 100."""
    sizes = [Slicer(100, 60).piece_bytes(draw) or 0 for draw in [random.Random(1)] for _ in range(500)]

    assert 40 <= min(sizes)
    assert max(sizes) <= 160
    assert 90 <= sum(sizes) / len(sizes) <= 110


def test_a_sliced_packet_arrives_in_pieces() -> None:
    """4096 bytes in slices of 512, with pauses: the receiver reads less than all at first."""

    async def scenario(made: Bench) -> tuple[int, int]:
        made.link.add("slicer", Slicer(512, delay=20_000))
        client, server = await made.connect()
        client[1].write(SENT)
        first = await soon(server[0].read(len(SENT)))
        rest = await soon(server[0].readexactly(len(SENT) - len(first)))
        return len(first), len(first) + len(rest)

    first, whole = run(scenario)
    assert first < len(SENT)
    assert len(SENT) == whole


def test_a_black_hole_passes_nothing_until_it_is_removed() -> None:
    """What is sent in between is not lost, as TCP sends it again; the other direction goes on."""

    async def scenario(made: Bench) -> tuple[bytes, bool, bytes]:
        client, server = await made.connect()
        client[1].write(b"before ")
        before = await soon(server[0].readexactly(7))
        made.link.add("hole", Timeout(0))
        client[1].write(b"in between")
        server[1].write(b"back")
        await soon(client[0].readexactly(4))
        received = asyncio.ensure_future(server[0].readexactly(10))
        await asyncio.wait([received], timeout=0.1)
        held = not received.done()
        made.link.remove("hole")
        return before, held, await soon(received)

    assert (b"before ", True, b"in between") == run(scenario)


def test_a_black_hole_with_a_timeout_closes_the_connection() -> None:
    """Both ends read the end of the stream; nothing that was held arrives."""

    async def scenario(made: Bench) -> tuple[bytes, bytes]:
        made.link.add("hole", Timeout(50))
        client, server = await made.connect()
        client[1].write(b"lost")
        return await soon(client[0].read()), await soon(server[0].read())

    assert (b"", b"") == run(scenario)


def test_reset_peer_resets_both_ends_of_open_connections() -> None:
    """Client and server see a TCP reset, not an end; a connection after the removal stands."""

    async def scenario(made: Bench) -> bytes:
        client, server = await made.connect()
        client[1].write(b"x")
        await soon(server[0].readexactly(1))
        made.link.add("reset", ResetPeer())
        for reader, _ in (client, server):
            with pytest.raises(ConnectionResetError):
                await soon(reader.read(1))
        made.link.remove("reset")
        again, server_again = await made.connect()
        again[1].write(b"y")
        return await soon(server_again[0].readexactly(1))

    assert b"y" == run(scenario)


def test_a_reset_travels_behind_the_bytes_that_were_sent_before() -> None:
    """The client breaks off; what it had sent, and what a latency still held, arrives before the reset does."""

    async def scenario(made: Bench) -> bytes:
        made.link.add("latency", Latency(150))
        client, server = await made.connect()
        server[1].write(b"go")
        await soon(client[0].readexactly(2))
        client[1].write(b"last words")
        await client[1].drain()
        while made.link.held_bytes < len(b"last words"):  # what the proxy has not read, the kernel drops
            await asyncio.sleep(0)
        link_proxy.reset(client[1])
        words = await soon(server[0].readexactly(10))
        with pytest.raises(ConnectionResetError):
            await soon(server[0].read(1))
        return words

    assert b"last words" == run(scenario)


def test_limit_data_closes_after_so_many_bytes() -> None:
    """Exactly 100 bytes arrive, and the end."""

    async def scenario(made: Bench) -> bytes:
        made.link.add("limit", LimitData(100))
        client, server = await made.connect()
        client[1].write(SENT)
        return await soon(server[0].read())

    assert SENT[:100] == run(scenario)


def test_slow_close_delays_the_end_and_not_the_bytes() -> None:
    """The bytes are there before the end is, which comes at least 0.2 s after it was sent."""

    async def scenario(made: Bench) -> tuple[bool, float]:
        made.link.add("slow-close", SlowClose(200))
        client, server = await made.connect()
        started_s = await now_s()
        client[1].write(b"all")
        client[1].write_eof()
        await soon(server[0].readexactly(3))
        ended_early = server[0].at_eof()
        await soon(server[0].read())
        return ended_early, await now_s() - started_s

    ended_early, took_s = run(scenario)
    assert not ended_early
    assert took_s >= 0.2


def test_a_latency_that_is_removed_lets_go_of_what_it_held() -> None:
    """An hour of delay ends when the toxic does, on the connection that is open."""

    async def scenario(made: Bench) -> bytes:
        made.link.add("hour", Latency(3_600_000))
        client, server = await made.connect()
        client[1].write(b"late")
        server[1].write(b"x")
        await soon(client[0].readexactly(1))
        made.link.remove("hour")
        return await soon(server[0].readexactly(4))

    assert b"late" == run(scenario)


def test_toxicity_is_the_share_of_connections_and_the_same_for_a_seed() -> None:
    """Of 40 connections some are cut and some are not; the same seed cuts the same ones."""

    async def scenario(made: Bench) -> list[bool]:
        made.link.add("hole", Timeout(1), toxicity=0.5)
        cut = []
        for _ in range(40):
            client, server = await made.connect()
            client[1].write(b"x")
            cut.append(await soon(server[0].read(1)) == b"")
        return cut

    first = run(scenario, seed=3)
    assert 5 < sum(first) < 35
    assert first == run(scenario, seed=3)


@pytest.mark.parametrize("broken", [lambda: Bandwidth(0), lambda: Slicer(10, 10)])
def test_a_toxic_that_cannot_be_is_refused(broken: Callable[[], Toxic]) -> None:
    """A rate of nothing, and slices that may have no bytes."""
    with pytest.raises(ValueError, match="must be"):
        broken()
