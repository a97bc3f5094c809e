"""The link proxy, between sockets of the test and in front of a real Mosquitto."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from broker import delay_line
from broker import link_proxy as module
from broker.link_proxy import LinkProxy
from broker.messages import Request
from broker.topics import Address, Channel
from broker.toxics import Latency
from broker.vocabulary import new_request_id, node_id

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WAIT_S = 120.0


@asynccontextmanager
async def proxied(serve: Serve, delay_s: float) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to `serve` through a proxy that delays by `delay_s`."""
    served: asyncio.Queue[None] = asyncio.Queue()

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        served.put_nowait(None)

    server = await asyncio.start_server(serve_and_close, "127.0.0.1", 0)
    proxy = LinkProxy("127.0.0.1", server.sockets[0].getsockname()[1])
    link = await proxy.listen(0, [Latency(delay_s * 1000)])
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await proxy.close()
        await asyncio.wait_for(served.get(), WAIT_S)
        server.close()


def test_bytes_arrive_in_order_unchanged_and_not_before_their_time():
    """What the node sends leaves the delay later, byte for byte."""

    async def scenario() -> tuple[bytes, float]:
        received = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = await reader.read()
            received.set_result((data, asyncio.get_running_loop().time()))

        async with proxied(serve, 0.05) as (_, writer):
            writer.write(sent)
            last_byte_sent_s = asyncio.get_running_loop().time()
            writer.write_eof()
            data, arrived_s = await asyncio.wait_for(received, WAIT_S)
            return data, arrived_s - last_byte_sent_s

    sent = bytes(range(256)) * 2000
    data, took_s = asyncio.run(scenario())

    assert sent == data
    assert took_s >= 0.05


def test_the_delay_does_not_limit_throughput():
    """14 MiB, more than the kernel's buffers hold, are on their way before the first byte arrives."""

    async def scenario() -> bool:
        sent = asyncio.Event()
        first_byte = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            first_byte.set_result(sent.is_set())
            await reader.read()

        async with proxied(serve, 1.0) as (_, writer):
            writer.write(bytes(14 * 2**20))
            await writer.drain()
            sent.set()
            return await asyncio.wait_for(first_byte, WAIT_S)

    assert asyncio.run(scenario())


def test_what_is_in_flight_is_bounded_and_nothing_is_lost(monkeypatch):
    """Beyond the bound the sender is held up, and all arrives in the end."""
    monkeypatch.setattr(delay_line, "IN_FLIGHT_BYTES", 100_000)

    async def scenario() -> int:
        received = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(len(await reader.read()))

        async with proxied(serve, 0.001) as (_, writer):
            writer.write(bytes(2_000_000))
            writer.write_eof()
            return await asyncio.wait_for(received, WAIT_S)

    assert 2_000_000 == asyncio.run(scenario())


def test_what_comes_from_the_broker_is_not_delayed():
    """An answer overtakes bytes that are still held back in the other direction."""

    async def scenario() -> tuple[bytes, bool]:
        reached = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"downlink")
            await reader.read(1)
            reached.set()

        async with proxied(serve, 3600.0) as (reader, writer):
            writer.write(b"uplink")
            return await asyncio.wait_for(reader.readexactly(8), WAIT_S), reached.is_set()

    assert (b"downlink", False) == asyncio.run(scenario())


def test_a_half_closed_connection_still_carries_the_answer():
    """The end of one direction is passed on and leaves the other open."""

    async def scenario() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"read " + await reader.read())

        async with proxied(serve, 0.001) as (reader, writer):
            writer.write(b"all")
            writer.write_eof()
            return await asyncio.wait_for(reader.read(), WAIT_S)

    assert b"read all" == asyncio.run(scenario())


def test_a_reset_of_one_side_resets_the_other():
    """A crash of the broker looks like one to the node."""

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            module.reset(writer)

        async with proxied(serve, 0.001) as (reader, writer):
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.readexactly(1), WAIT_S)

    asyncio.run(scenario())


def test_no_broker_behind_it_resets_the_node():
    """A node that connects while the broker is away is told so, and the proxy stays."""

    async def scenario() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            proxy = LinkProxy("127.0.0.1", closed.getsockname()[1])
            port = (await proxy.listen(0)).port
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(reader.readexactly(1), WAIT_S)
                writer.close()
            await proxy.close()

    asyncio.run(scenario())


def test_a_client_works_over_a_weak_link(mosquitto_endpoint, linked):
    """Our client connects, publishes and stops through the proxy; an acknowledgement takes at least the delay."""

    async def scenario() -> float:
        proxy = LinkProxy(mosquitto_endpoint.host, mosquitto_endpoint.port)
        weak = replace(mosquitto_endpoint, port=(await proxy.listen(0, [Latency(20)])).port)
        taken = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with linked(weak, "device-1") as client:
            sent_s = loop.time()
            request = Request(request_id=new_request_id())
            client.publish(Address(client.site, node_id("device-1"), Channel.REQUEST), request, on_puback=taken.set)
            await asyncio.wait_for(taken.wait(), WAIT_S)
            took_s = loop.time() - sent_s
        await proxy.close()
        return took_s

    assert asyncio.run(scenario()) >= 0.02


def test_the_program_says_when_it_is_ready_and_ends_on_sigterm():
    """One line tells the port that was drawn; SIGTERM is a clean end."""
    command = [sys.executable, "-m", "broker.link_proxy", "--upstream", "127.0.0.1:1", "--listen", "0=20", "0=0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        words = process.stdout.readline().split()
        process.send_signal(signal.SIGTERM)
        code = process.wait(WAIT_S)

    assert ["link_proxy", "ready"] == words[:2]
    assert ["20", "0.5"] == [word.partition("=")[2] for word in words[2:]]
    assert 0 == code


@pytest.mark.parametrize("arguments", [["--listen", "2001=20"], ["--upstream", "x", "--listen", "1=1"],
                                       ["--upstream", "h:1", "--listen", "1=-5"],
                                       ["--upstream", "h:1", "--listen", "20"]])  # fmt: skip
def test_wrong_usage_is_told(arguments, monkeypatch, capsys):
    """A missing upstream, a malformed one, a negative or missing delay: exit code 2."""
    monkeypatch.setattr(sys, "argv", ["link_proxy", *arguments])
    with pytest.raises(SystemExit) as ended:
        module.main()

    assert 2 == ended.value.code
    assert "usage:" in capsys.readouterr().err


def test_a_port_in_use_is_told(monkeypatch, capsys):
    """Exit code 1 and one line."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"{taken.getsockname()[1]}=20"
        monkeypatch.setattr(sys, "argv", ["link_proxy", "--upstream", "127.0.0.1:1", "--listen", listen])
        code = module.main()

    assert 1 == code
    assert "cannot listen" in capsys.readouterr().err
