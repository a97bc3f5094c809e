"""Request to decision through our MQTT client at both ends, beside bare paho at both ends.

    python benchmarks/broker_roundtrip.py [--rounds 2000] [--json FILE]

Same Mosquitto, same run, same JSON payloads (a Request up, a Decision down), same QoS 1, blocks that take turns. Bare:
two processes with paho's own thread and TCP_NODELAY, no properties, nothing encoded, decoded, validated or kept.
Ours: two processes with broker.client, topics built and parsed, messages encoded, decoded and validated, expiry set.
The responder decides nothing: what a decision costs is measured by decision_latency.py.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Report, Row, write_report
from broker.client import Endpoint, Inbound, MqttClient
from broker.codec import encode
from broker.messages import Decision, Request
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import ModelName, NodeId, SiteId, Tier, new_request_id

SITE, DEVICE, ORCHESTRATOR = SiteId("bench"), NodeId("device-1"), NodeId("orchestrator")
PING, PONG = "bench/v1/bench/device-1/request", "bench/v1/bench/device-1/decision"
BLOCK = 100
WARM_UP = 200
ANSWER_TIMEOUT_S = 10.0


def decision(request_id: str) -> Decision:
    """What five devices' orchestrator would answer."""
    return Decision(
        request_id=request_id,
        round=123,
        tier=Tier.EDGE,
        model=ModelName("d0"),
        serving_node="edge-1",
        fallback_model="d4",
        deadline_ms=5000.0,
        policy="q_learning",
        policy_version=123,
        explored=False,
    )


def without_delay(_client: mqtt.Client, _userdata: object, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def bare_client(endpoint: Endpoint) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_socket_open = without_delay
    client.connect(endpoint.host, endpoint.port)
    return client


def respond_bare(endpoint: Endpoint) -> None:
    client = bare_client(endpoint)
    payload = encode(decision(new_request_id()))

    def answer(*_: object) -> None:
        client.publish(PONG, payload, qos=1)

    client.on_message = answer
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.subscribe(PING, qos=1)
    client.loop_forever()


async def respond_ours(endpoint: Endpoint) -> None:
    client = MqttClient(endpoint, SITE, ORCHESTRATOR, "orchestrator")

    def answer(inbound: Inbound) -> None:
        if isinstance(inbound.body, Request):
            client.publish(Address(SITE, inbound.address.node, Channel.DECISION), decision(inbound.body.request_id))

    client.subscribe(filter_for(SITE, Channel.REQUEST), Channel.REQUEST, answer)
    link = asyncio.create_task(client.run())
    await client.wait_connected(ANSWER_TIMEOUT_S)
    print("ready", flush=True)
    await link


class BarePinger:
    """Sends from the main thread; paho's own thread receives."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._client = bare_client(endpoint)
        self._payload = encode(Request(request_id=new_request_id()))
        self._arrived = threading.Event()
        self._received_s = 0.0
        self._client.on_message = self._receive
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.subscribe(PONG, qos=1)
        self._client.loop_start()
        subscribed.wait(ANSWER_TIMEOUT_S)

    def block(self, count: int) -> list[float]:
        times_ms = []
        for _ in range(count):
            self._arrived.clear()
            sent_s = time.perf_counter()
            self._client.publish(PING, self._payload, qos=1)
            if not self._arrived.wait(ANSWER_TIMEOUT_S):
                raise SystemExit("the bare responder does not answer")
            times_ms.append((self._received_s - sent_s) * 1000)
        return times_ms

    def _receive(self, *_: object) -> None:
        self._received_s = time.perf_counter()
        self._arrived.set()


class OurPinger:
    """One device with our client."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._client = MqttClient(endpoint, SITE, DEVICE, "agent")
        self._client.subscribe(filter_for(SITE, Channel.DECISION, DEVICE), Channel.DECISION, self._receive)
        self._received_s = 0.0
        self._arrived: asyncio.Future[Inbound] = asyncio.get_running_loop().create_future()

    async def block(self, count: int) -> list[float]:
        times_ms = []
        loop = asyncio.get_running_loop()
        for _ in range(count):
            self._arrived = loop.create_future()
            request = Request(request_id=new_request_id())
            sent_s = time.perf_counter()
            self._client.publish(Address(SITE, DEVICE, Channel.REQUEST), request)
            answer = (await asyncio.wait_for(self._arrived, ANSWER_TIMEOUT_S)).body
            times_ms.append((self._received_s - sent_s) * 1000)
            if not isinstance(answer, Decision) or answer.request_id != request.request_id:
                raise SystemExit(f"a wrong answer: {answer}")
        return times_ms

    async def measure(self, rounds: int, bare: Callable[[int], list[float]]) -> tuple[list[float], list[float]]:
        link = asyncio.create_task(self._client.run())
        await self._client.wait_connected(ANSWER_TIMEOUT_S)
        bare(WARM_UP)
        await self.block(WARM_UP)
        bare_ms: list[float] = []
        our_ms: list[float] = []
        while len(our_ms) < rounds:
            bare_ms += bare(BLOCK)
            our_ms += await self.block(BLOCK)
        await self._client.stop()
        await link
        return bare_ms, our_ms

    def _receive(self, inbound: Inbound) -> None:
        self._received_s = time.perf_counter()
        if not self._arrived.done():
            self._arrived.set_result(inbound)


def spread(times_ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times_ms, n=100)
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98]}


def run(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, MosquittoProcess(MosquittoSettings(Path(directory))) as broker:
        endpoint = broker.endpoint
        responders = []
        try:
            for kind in ("bare", "ours"):
                command = [sys.executable, __file__, "--respond", kind, "--port", str(endpoint.port)]
                responders.append(subprocess.Popen(command, stdout=subprocess.PIPE))
                stdout = responders[-1].stdout
                if stdout is None or stdout.readline() != b"ready\n":
                    raise SystemExit("a responder did not start")

            async def measure() -> tuple[list[float], list[float]]:
                return await OurPinger(endpoint).measure(rounds, BarePinger(endpoint).block)

            bare_ms, our_ms = asyncio.run(measure())
        finally:
            for responder in responders:
                responder.kill()
                responder.wait()
    bare, ours = spread(bare_ms), spread(our_ms)
    return {"rounds": len(our_ms), "bare_paho": bare, "ours": ours, "ratio_p50": ours["p50_ms"] / bare["p50_ms"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--respond", choices=("bare", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.respond == "bare":
        respond_bare(Endpoint(port=arguments.port))
    elif arguments.respond == "ours":
        asyncio.run(respond_ours(Endpoint(port=arguments.port)))
    else:
        figures = run(arguments.rounds)
        print(f"{'request to decision, ms':<26}{'p50':>8}{'p95':>8}{'p99':>8}")
        for name in ("bare_paho", "ours"):
            row = figures[name]
            print(f"{name:<26}{row['p50_ms']:>8.3f}{row['p95_ms']:>8.3f}{row['p99_ms']:>8.3f}")
        print(f"ratio of the medians: {figures['ratio_p50']:.2f} over {figures['rounds']} rounds each")
        write_report(arguments.json, report(figures))


def report(figures: dict[str, Any]) -> Report:
    """One row, without a goal: decision_latency.py has it."""
    row = Row(
        what="request up, decision down, nothing decided: our client at both ends",
        ours=figures["ours"]["p50_ms"],
        unit="ms",
        tail=figures["ours"]["p99_ms"],
        beside="bare paho at both ends",
        beside_value=figures["bare_paho"]["p50_ms"],
    )
    return Report(benchmark="broker_roundtrip", title="Our MQTT client", rows=[row], details=figures)


if __name__ == "__main__":
    main()
