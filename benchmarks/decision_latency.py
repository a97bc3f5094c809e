"""Request to decision for a single device, beside a bare paho ping-pong of the same payloads and quality of service.

    python benchmarks/decision_latency.py [--rounds 1000] [--json FILE]

Both go through the same Mosquitto in the same run, in blocks that take turns. The bare side is the least that MQTT
costs with paho: a client and a responder process, each with paho's own thread, TCP_NODELAY at both ends, nothing
decoded. Our side is the real orchestrator process with its Q-table and the response log, and a device that reports each
time, so that rounds complete. Goals: ratio of the medians at most 2; with five devices at most 1 ms (median) from the
last request of a round arriving at the orchestrator to all its decisions handed to the client, on its own clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint, Inbound, MqttClient
from broker.codec import encode
from broker.messages import Birth, Decision, Heartbeat, Report, Request, Round, Stages
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, Outcome, SiteId, Tier, new_request_id

SITE = SiteId("bench")
MODELS = [f"d{index}" for index in range(8)]
BLOCK = 100
WARM_UP = 100
RESTS_S = (0.0, 0.01)  # back to back, and after a rest in which caches and cores cool down, as real devices ask


def bare_client(endpoint: Endpoint) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_socket_open = lambda _c, _u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(endpoint.host, endpoint.port)
    return client


def respond(host: str, port: int, answer: str) -> None:
    """The bare responder: `answer` for every `ping`."""
    client = bare_client(Endpoint(host=host, port=port))
    payload = answer.encode()
    client.on_message = lambda _c, _u, _m: client.publish("bench/pong", payload, qos=1)
    client.subscribe("bench/ping", qos=1)
    client.loop_forever()


class BarePing:
    """The bare requester."""

    def __init__(self, endpoint: Endpoint, request: bytes) -> None:
        self._request = request
        self._answered = threading.Event()
        self._received_s = 0.0
        self._client = bare_client(endpoint)
        self._client.on_message = self._on_message
        self._client.subscribe("bench/pong", qos=1)
        self._client.loop_start()

    def _on_message(self, *_: Any) -> None:
        self._received_s = time.perf_counter()
        self._answered.set()

    def measure(self, count: int, rest_s: float = 0.0) -> list[float]:
        times_ms = []
        while len(times_ms) < count:
            self._answered.clear()
            time.sleep(rest_s)
            sent_s = time.perf_counter()
            self._client.publish("bench/ping", self._request, qos=1)
            if self._answered.wait(1.0):
                times_ms.append((self._received_s - sent_s) * 1000)
        return times_ms

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Device:
    """A device that asks, and reports a local run of no length, so that its round completes."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self.node = NodeId(name)
        self._client = MqttClient(endpoint, SITE, self.node, "bench")
        self._client.on_connect.append(self._announce)
        self._client.subscribe(filter_for(SITE, Channel.DECISION, self.node), Channel.DECISION, self._decided)
        self._client.subscribe(filter_for(SITE, Channel.REPORT_ACK, self.node), Channel.REPORT_ACK, lambda _: None)
        self._client.subscribe(filter_for(SITE, Channel.ROUND), Channel.ROUND, self._round)
        self._opened: asyncio.Queue[int] = asyncio.Queue()
        self._decision: asyncio.Future[float] | None = None
        self._last: Decision | None = None
        self._tasks = [
            asyncio.create_task(self._client.run(), name=f"{name}-link"),
            asyncio.create_task(self._beat(), name=f"{name}-heartbeat"),
        ]

    def _publish(self, channel: Channel, body: Any) -> None:
        self._client.publish(Address(SITE, self.node, channel), body)

    def _announce(self) -> None:
        birth = Birth(
            session=self._client.session,
            tier=Tier.END,
            agent_version="bench",
            vcpus=1,
            models=dict.fromkeys(MODELS, "0" * 64),
        )
        self._publish(Channel.BIRTH, birth)
        self._client.publish_state(NodeState.ONLINE)

    async def _beat(self) -> None:
        seq = 0
        while True:
            if self._client.connected:
                self._publish(Channel.HEARTBEAT, Heartbeat(session=self._client.session, seq=seq))
            seq += 1
            await asyncio.sleep(1.0)

    def _round(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Round) and inbound.body.open:
            self._opened.put_nowait(inbound.body.round)

    def _decided(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Decision) and self._decision is not None and not self._decision.done():
            self._last = inbound.body
            self._decision.set_result(inbound.received_s)

    async def ask(self, rest_s: float = 0.0) -> float:
        """Wait for an open round, ask, report; from the request to the decision, in ms."""
        await asyncio.wait_for(self._opened.get(), 10)
        while not self._opened.empty():
            self._opened.get_nowait()
        self._decision = asyncio.get_running_loop().create_future()
        request_id = new_request_id()
        await asyncio.sleep(rest_s)
        sent_s = time.monotonic()
        self._publish(Channel.REQUEST, Request(request_id=request_id))
        received_s = await asyncio.wait_for(self._decision, 10)
        elapsed_ms = (received_s - sent_s) * 1000
        decision = self._last
        if decision is None:
            raise RuntimeError("a decision without its content")
        report = Report(
            request_id=request_id,
            outcome=Outcome.DONE,
            decided=True,
            tier=decision.tier,
            model=decision.model,
            serving_node=decision.serving_node,
            response_ms=elapsed_ms,
            stages=Stages(decide_ms=elapsed_ms),
        )
        self._publish(Channel.REPORT, report)
        return elapsed_ms

    async def close(self) -> None:
        self._tasks[1].cancel()
        await self._client.stop()
        await self._tasks[0]


@contextlib.contextmanager
def orchestrator(endpoint: Endpoint, directory: Path, devices: int) -> Iterator[Path]:
    """The real program in a process of its own; gives the path of its log."""
    config = {
        "version": 1,
        "site": str(SITE),
        "broker": {"host": endpoint.host, "port": endpoint.port},
        "goal": {"policy": "q_learning", "accuracy_floor": "min"},
        "q_learning": {"epsilon": 0.0},  # always the greedy action: the dearer branch, an argmax over all joint actions
        "rounds": {"min_devices": devices, "open_period_s": 0.5},
        "files": {"directory": str(directory), "checkpoint_every_rounds": 1000},
    }
    directory.mkdir()
    file, log = directory / "orchestrator.yaml", directory / "orchestrator.log"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "tierwise", "orchestrator", "run", "--config", str(file)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


async def single_device(endpoint: Endpoint, directory: Path, rounds: int) -> dict[float, dict[str, list[float]]]:
    """Per rest before each request (s): ours and bare in ms, in blocks that take turns."""
    request = encode(Request(request_id=new_request_id()))
    answer = encode(
        Decision(
            request_id=new_request_id(),
            round=123,
            tier=Tier.END,
            model="d0",
            serving_node="s1",
            fallback_model="d0",
            deadline_ms=5000,
            policy="q_learning",
            policy_version=1,
            explored=True,
        )
    )
    responder = subprocess.Popen([sys.executable, __file__, "--respond", f"{endpoint.port}", answer.decode()])
    ping = BarePing(endpoint, request)
    times: dict[float, dict[str, list[float]]] = {rest_s: {"ours": [], "bare": []} for rest_s in RESTS_S}
    try:
        await asyncio.to_thread(ping.measure, WARM_UP)
        with orchestrator(endpoint, directory, 1) as log:
            device = Device(endpoint, "s1")
            for _ in range(WARM_UP):
                await device.ask()
            for _ in range(rounds // BLOCK):
                for rest_s, of_rest in times.items():
                    of_rest["ours"] += [await device.ask(rest_s) for _ in range(BLOCK)]
                    of_rest["bare"] += await asyncio.to_thread(ping.measure, BLOCK, rest_s)
            await device.close()
        print("one device, decided within", decide_times(log))
    finally:
        ping.close()
        responder.terminate()
        responder.wait()
    return times


async def five_devices(endpoint: Endpoint, directory: Path, rounds: int) -> dict[str, float]:
    """What the orchestrator itself measured from the last request to all decisions handed over."""
    with orchestrator(endpoint, directory, 5) as log:
        devices = [Device(endpoint, f"s{index}") for index in range(1, 6)]
        for _ in range(rounds):
            await asyncio.gather(*(device.ask() for device in devices))
        for device in devices:
            await device.close()
    return {**decide_times(log), "rounds": rounds}


def decide_times(log: Path) -> dict[str, float]:
    """What a stopped orchestrator wrote about its own decisions."""
    text = log.read_text(encoding="utf-8")
    found = re.search(r"orchestrator_stopped decide_median_ms=([\d.]+) decide_p99_ms=([\d.]+)", text)
    if not found:
        raise RuntimeError(f"the orchestrator did not say how long its decisions took:\n{text[-2000:]}")
    return {"median_ms": float(found[1]), "p99_ms": float(found[2])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--respond", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.respond:
        respond("127.0.0.1", int(arguments.respond[0]), arguments.respond[1])
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with MosquittoProcess(MosquittoSettings(port=0, directory=directory / "broker")) as broker:
            times = asyncio.run(single_device(broker.endpoint, directory / "one", arguments.rounds))
            five = asyncio.run(five_devices(broker.endpoint, directory / "five", min(arguments.rounds, 300)))
    print(f"{'request to decision':34} {'median ms':>10} {'p99 ms':>10} {'ratio':>6}")
    single = []
    for rest_s, of_rest in times.items():
        ratio = statistics.median(of_rest["ours"]) / statistics.median(of_rest["bare"])
        rest = f"{rest_s * 1000:.0f} ms rest"
        for side, name in (("ours", "Tierwise, one device"), ("bare", "bare paho ping-pong")):
            median, p99 = statistics.median(of_rest[side]), statistics.quantiles(of_rest[side], n=100)[98]
            shown = f"{ratio:6.2f}" if side == "ours" else ""
            print(f"{name + ', ' + rest:34} {median:10.3f} {p99:10.3f} {shown}")
            single.append({"side": side, "rest_ms": rest_s * 1000, "median_ms": median, "p99_ms": p99})
        single[-2]["ratio_of_medians"] = ratio
    print("goal: ratio of the medians at most 2")
    print(
        f"five devices, last request to all decisions handed over: median {five['median_ms']:.3f} ms, "
        f"p99 {five['p99_ms']:.3f} ms (goal: median at most 1 ms)"
    )
    figures = {
        "one_device": single,
        "goal_ratio": 2.0,
        "five_devices": five,
        "goal_five_devices_median_ms": 1.0,
        "rounds": arguments.rounds,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
