"""An image up and a label down: our MQTT client and bare paho through Mosquitto, beside HTTP and gRPC.

    python benchmarks/offload.py [--rounds 400] [--json FILE]

150 kB (a large photograph) and 15 kB (a photograph of 224 px), 176 bytes back, one at a time, as one device asks. The
serving sides are processes of their own and answer at once. All take turns in blocks, in one run. HTTP is http.client
with one kept connection to uvicorn with a bare ASGI function; gRPC is one unary call with bytes in and out. Both go
straight to the server, where MQTT goes through the broker. TLS is a secured site: TLS 1.3, a certificate for everybody,
access rules. TCP_NODELAY everywhere.
Goal: at QoS 1, which Tierwise uses, a 150 kB image takes at most 1.3 times gRPC's unary call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import offload_servers as servers
from benchmarks.access_matrix.site import running_site
from benchmarks.report_form import Goal, Report, Row, write_report
from broker.access import Role
from broker.children import wait_or_kill
from broker.client import Endpoint, Inbound, MqttClient
from broker.identity.accounts import Account
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.ports import free_port
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, new_request_id

SIZES_BYTES = (150_000, 15_000)
BLOCK = 25
WARM_UP = 50
ANSWER_TIMEOUT_S = 10.0
GOAL_RATIO = 1.3
OURS, GRPC = "Tierwise, QoS 1", "gRPC"
WHY_MISSED = (
    "MQTT sends the image twice, to the broker and from it, and the broker copies it in between: see bare paho, which "
    "does nothing else"
)
ACCOUNTS = (
    Account(NodeId(f"{servers.DEVICE}-1"), Role.END_DEVICE),
    Account(servers.edge_of(1), Role.SERVING_NODE),
)
Once = Callable[[bytes], Awaitable[float]]


class Ours:
    """A device with our client: `infer` as the agent publishes it, the result decoded and checked."""

    def __init__(self, endpoint: Endpoint, qos: int) -> None:
        self._device = NodeId(f"{servers.DEVICE}-{qos}")
        self._qos = qos
        self._serving = servers.edge_of(qos)
        self._client = MqttClient(endpoint, servers.SITE, self._device, "agent", announces_state=False)
        topics = filter_for(servers.SITE, Channel.RESULT, self._device)
        self._client.subscribe(topics, Channel.RESULT, self._receive)
        self._arrived: asyncio.Future[Inbound] = asyncio.get_running_loop().create_future()
        self._received_s = 0.0
        self._link = asyncio.create_task(self._client.run(), name=f"link of {self._device}")

    async def ready(self) -> None:
        await self._client.wait_connected(ANSWER_TIMEOUT_S)

    async def once(self, image: bytes) -> float:
        servers.set_qos(self._qos)
        request = new_request_id()
        self._arrived = asyncio.get_running_loop().create_future()
        sent_s = time.perf_counter()
        self._client.publish(
            Address(servers.SITE, self._serving, Channel.INFER, self._device),
            image,
            correlation=request.encode("ascii"),
            properties={"model": "d0", "deadline_ms": "5000.0"},
            expiry_s=5,
        )
        answer: Any = (await asyncio.wait_for(self._arrived, ANSWER_TIMEOUT_S)).body
        if answer.request_id != request:
            raise SystemExit(f"a wrong answer: {answer}")
        return (self._received_s - sent_s) * 1000

    async def close(self) -> None:
        await self._client.stop()
        await self._link

    def _receive(self, inbound: Inbound) -> None:
        self._received_s = time.perf_counter()
        if not self._arrived.done():
            self._arrived.set_result(inbound)


class Paho:
    """Published by the main thread, received by paho's own."""

    def __init__(self, endpoint: Endpoint, qos: int) -> None:
        self._qos = qos
        self._arrived = threading.Event()
        self._received_s = 0.0
        self._client = servers.bare_client(endpoint)
        self._client.on_message = self._receive
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.subscribe(f"{servers.DOWN}/{qos}", qos=qos)
        self._client.loop_start()
        if not subscribed.wait(ANSWER_TIMEOUT_S):
            raise SystemExit("bare paho got no subscription")

    async def once(self, image: bytes) -> float:
        self._arrived.clear()
        sent_s = time.perf_counter()
        self._client.publish(f"{servers.UP}/{self._qos}", image, qos=self._qos)
        if not self._arrived.wait(ANSWER_TIMEOUT_S):
            raise SystemExit("the bare responder does not answer")
        return (self._received_s - sent_s) * 1000

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _receive(self, *_: object) -> None:
        self._received_s = time.perf_counter()
        self._arrived.set()


class Http:
    """One connection, kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def once(self, image: bytes) -> float:
        sent_s = time.perf_counter()
        self._connection.request("POST", "/infer", image, {"content-type": "image/jpeg"})
        response = self._connection.getresponse()
        response.read()
        elapsed_ms = (time.perf_counter() - sent_s) * 1000
        if response.status != 200:
            raise SystemExit(f"HTTP answered {response.status}")
        return elapsed_ms


class Grpc:
    """One channel, kept."""

    def __init__(self, port: int) -> None:
        import grpc

        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(self._channel).result(ANSWER_TIMEOUT_S)
        self._call = self._channel.unary_unary(f"/{servers.GRPC_SERVICE}/{servers.GRPC_METHOD}")

    async def once(self, image: bytes) -> float:
        sent_s = time.perf_counter()
        self._call(image, timeout=ANSWER_TIMEOUT_S)
        return (time.perf_counter() - sent_s) * 1000

    def close(self) -> None:
        self._channel.close()


@contextlib.contextmanager
def serving(kind: str, port: int, *rest: str) -> Iterator[None]:
    """One serving side in a process of its own, ready."""
    command = [sys.executable, "-m", "benchmarks.offload_servers", kind, str(port), *rest]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    try:
        if process.stdout is None or process.stdout.readline() != servers.READY:
            raise SystemExit(f"the serving side {kind} did not start")
        yield
    finally:
        process.terminate()
        wait_or_kill(process, 5)


async def measure(
    endpoint: Endpoint, secured: Endpoint, ports: dict[str, int], rounds: int
) -> dict[int, dict[str, list[float]]]:
    """Per size in bytes and side: ms from before the image leaves to its answer, in blocks that take turns."""
    ours = {OURS: Ours(endpoint, 1), f"{OURS}, TLS": Ours(secured, 1), "Tierwise, QoS 0": Ours(endpoint, 0)}
    paho = {qos: Paho(endpoint, qos) for qos in (1, 0)}
    grpc_side = Grpc(ports["grpc"])
    for device in ours.values():
        await device.ready()
    sides: dict[str, Once] = {
        **{name: device.once for name, device in ours.items()},
        "bare paho, QoS 1": paho[1].once,
        "bare paho, QoS 0": paho[0].once,
        "HTTP": Http(ports["http"]).once,
        GRPC: grpc_side.once,
    }
    times: dict[int, dict[str, list[float]]] = {}
    for size in SIZES_BYTES:
        image = os.urandom(size)
        times[size] = {name: [] for name in sides}
        for once in sides.values():
            for _ in range(WARM_UP):
                await once(image)
        for _ in range(rounds // BLOCK):
            for name, once in sides.items():
                times[size][name] += [await once(image) for _ in range(BLOCK)]
    for device in ours.values():
        await device.close()
    for side in paho.values():
        side.close()
    grpc_side.close()
    return times


def run(rounds: int) -> dict[int, dict[str, list[float]]]:
    """Start everything, measure, stop everything."""
    ports = {kind: free_port() for kind in ("http", "grpc")}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint = stack.enter_context(MosquittoProcess(MosquittoSettings(directory))).endpoint
        for kind in ("ours", "paho"):
            for qos in ("0", "1"):
                stack.enter_context(serving(kind, endpoint.port, qos))
        site = stack.enter_context(running_site(directory / "secured", servers.SITE, ACCOUNTS))
        secured, edge = site.endpoint(ACCOUNTS[0].name), site.endpoint(ACCOUNTS[1].name)
        certificates = edge.tls.certificate_file.parent if edge.tls else directory
        stack.enter_context(serving("ours", edge.port, "1", str(certificates)))
        for kind, port in ports.items():
            stack.enter_context(serving(kind, port))
        return asyncio.run(measure(endpoint, secured, ports, rounds))


def rows_of(times: dict[int, dict[str, list[float]]]) -> list[Row]:
    """A row per size and side but gRPC, with which all are compared."""
    rows = []
    for size, of_size in times.items():
        grpc_ms = statistics.median(of_size[GRPC])
        for name, times_ms in of_size.items():
            if name == GRPC:
                continue
            judged = name == OURS and size == max(times)
            row = Row(
                what=f"{size // 1000} kB image up, label down: {name}",
                ours=statistics.median(times_ms),
                unit="ms",
                tail=statistics.quantiles(times_ms, n=20)[-1],
                tail_name="p95",
                beside="gRPC unary",
                beside_value=grpc_ms,
                goal=Goal(limit=GOAL_RATIO, of="ratio", why_missed=WHY_MISSED) if judged else None,
            )
            rows.append(row)
    return rows


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="An image up and a label down, by MQTT, HTTP and gRPC.")
    parser.add_argument("--rounds", type=int, default=400, help="images of each size and side")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    times = run(options.rounds)
    print(f"{'ms':24}{'bytes':>8}{'median':>9}{'p95':>9}{'to gRPC':>9}")
    details: dict[str, Any] = {"rounds": options.rounds}
    for size, of_size in times.items():
        for name, times_ms in of_size.items():
            median, p95 = statistics.median(times_ms), statistics.quantiles(times_ms, n=20)[-1]
            ratio = median / statistics.median(of_size[GRPC])
            print(f"{name:24}{size:>8}{median:9.3f}{p95:9.3f}{ratio:9.2f}")
            details[f"{name}, {size} bytes"] = {"median_ms": median, "p95_ms": p95, "ratio_to_grpc": ratio}
    print(f"goal: {OURS} at most {GOAL_RATIO} times gRPC at {max(times)} bytes")
    write_report(
        options.json, Report(benchmark="offload", title="Offloading an image", rows=rows_of(times), details=details)
    )


if __name__ == "__main__":
    main()
