"""Memory of every process of a site, beside a bare interpreter and a bare paho process.

    python benchmarks/footprint.py [--settle 3] [--rounds 100] [--json FILE]

All are processes of one run, on one Mosquitto, measured after they have settled. `rss` is what the goals are set for:
all resident pages, shared ones counted whole. `pss` shares them out among those who share, `uss` is what the process
alone occupies. The interpreter imports asyncio and nothing else; paho is connected with MQTT 5 and subscribed. An agent
has loaded d0, or all eight, because it classified photographs with them. The orchestrators have decided `--rounds`
rounds of five devices, and a shipper has sent their rows to a server that accepts everything.
Goals: an agent 60 MB at rest, 130 MB with d0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Row, write_report
from benchmarks.report_form import Report as Figures
from benchmarks.site import MODELS, SITE, Device, node, orchestrator
from broker.children import wait_or_kill
from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Decision, Report, Request, Result
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, Tier, new_request_id

GOALS_MB = {"agent, end device, at rest": 60.0, "agent, end device, with d0": 130.0}
WHY_MISSED = "a library that an agent imports has grown: python -X importtime -m device_agent run ... shows which"
POLICIES = ("factored", "q_learning")
PATIENCE_S = 60.0
MB = 1_000_000
PHOTOGRAPH = Path(__file__).parents[1] / "device_agent" / "photos" / "coffee.jpg"

INTERPRETER = "import asyncio, sys; print('ready', flush=True); sys.stdin.read()"
PAHO = """
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bare", protocol=mqtt.MQTTv5)
client.on_connect = lambda client, *rest: client.subscribe("bare/#", qos=1)
client.on_subscribe = lambda *rest: print("ready", flush=True)
client.connect("{host}", {port})
client.loop_start()
sys.stdin.read()
"""


class Observer:
    """Plays the orchestrator and the requester of the agents: tells a device each model once, sends an edge d0."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._client = MqttClient(endpoint, SITE, NodeId("observer"), "observer", announces_state=False)
        self._online: set[str] = set()
        self._done: dict[str, set[str]] = {}
        self._changed = asyncio.Event()
        for channel, handler in (
            (Channel.STATE, self._state),
            (Channel.REQUEST, self._request),
            (Channel.REPORT, self._report),
            (Channel.RESULT, self._result),
        ):
            self._client.subscribe(filter_for(SITE, channel), channel, handler)
        self._link = asyncio.create_task(self._client.run(), name="observer-link")

    async def until(self, online: set[str], ran: dict[str, set[str]]) -> None:
        """Return when these are online and those have run their models."""
        async with asyncio.timeout(PATIENCE_S):
            while not (online <= self._online and all(ran[name] <= self._done.get(name, set()) for name in ran)):
                self._changed.clear()
                await self._changed.wait()

    def send_image(self, serving: str, model: str) -> None:
        """One photograph to an edge node; its answer comes back to this observer."""
        self._client.publish(
            Address(SITE, NodeId(serving), Channel.INFER, NodeId("observer")),
            PHOTOGRAPH.read_bytes(),
            correlation=new_request_id().encode("ascii"),
            properties={"model": model, "deadline_ms": "30000"},
        )

    async def close(self) -> None:
        await self._client.stop()
        await self._link

    def _state(self, inbound: Inbound) -> None:
        if getattr(inbound.body, "state", None) is NodeState.ONLINE:
            self._online.add(inbound.address.node)
            self._changed.set()

    def _request(self, inbound: Inbound) -> None:
        device = inbound.address.node
        if device != "with-all" or not isinstance(inbound.body, Request):
            return
        model = next((name for name in MODELS if name not in self._done.get(device, ())), "d0")
        decision = Decision(
            request_id=inbound.body.request_id,
            round=1,
            tier=Tier.END,
            model=model,
            serving_node=device,
            fallback_model="d0",
            deadline_ms=5000.0,
            policy="bench",
            policy_version=1,
            explored=False,
        )
        self._client.publish(Address(SITE, device, Channel.DECISION), decision)

    def _report(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Report) and inbound.body.label is not None:
            self._done.setdefault(inbound.address.node, set()).add(inbound.body.model)
            self._changed.set()

    def _result(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Result) and inbound.body.label is not None:
            self._done.setdefault("edge-loaded", set()).add(inbound.body.model)
            self._changed.set()


@contextlib.contextmanager
def bare(name: str, code: str) -> Iterator[int]:
    """A Python process that lives as long as its standard input is open, once it is ready."""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit(f"{name} ended before it was ready")
        yield process.pid
    finally:
        process.terminate()
        wait_or_kill(process, PATIENCE_S)


async def agents(stack: contextlib.ExitStack, endpoint: Endpoint, directory: Path) -> dict[str, int]:
    """Five agents that have done what they are measured for."""
    alone = {"mode": "periodic", "period_s": 0.5, "decision_timeout_ms": 50.0}
    told = {"mode": "periodic", "period_s": 0.5, "decision_timeout_ms": 2000.0}
    started = {
        "agent, end device, at rest": stack.enter_context(node(endpoint, directory, "at-rest")),
        "agent, end device, with d0": stack.enter_context(node(endpoint, directory, "with-d0", requester=alone)),
        "agent, end device, with all eight": stack.enter_context(node(endpoint, directory, "with-all", requester=told)),
        "agent, edge node, at rest": stack.enter_context(node(endpoint, directory, "edge", "edge")),
        "agent, edge node, with d0": stack.enter_context(node(endpoint, directory, "edge-loaded", "edge")),
    }
    observer = Observer(endpoint)
    await observer.until({"at-rest", "edge", "edge-loaded"}, {})
    observer.send_image("edge-loaded", "d0")
    await observer.until(set(), {"with-d0": {"d0"}, "with-all": set(MODELS), "edge-loaded": {"d0"}})
    await observer.close()
    return {name: running.pid for name, running in started.items()}


async def rounds_of_five(endpoint: Endpoint, rounds: int) -> None:
    """Five devices that ask and report."""
    devices = [Device(endpoint, f"s{index}") for index in range(1, 6)]
    for _ in range(rounds):
        await asyncio.gather(*(device.ask() for device in devices))
    for device in devices:
        await device.close()


async def measure(directory: Path, settle_s: float, rounds: int) -> list[dict[str, Any]]:
    """Start everything, wait until each has done what it is measured for, and read its memory."""
    rows = []
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(MosquittoProcess(MosquittoSettings(directory / "broker")))
        endpoint = broker.endpoint
        paho = PAHO.format(host=endpoint.host, port=endpoint.port)
        pids = {
            "bare interpreter": stack.enter_context(bare("the interpreter", INTERPRETER)),
            "bare paho": stack.enter_context(bare("paho", paho)),
            "Mosquitto": broker.pid,
            **await agents(stack, endpoint, directory),
        }
        await asyncio.sleep(settle_s)
        rows += [memory_of(name, pid) for name, pid in pids.items()]
    for policy in POLICIES:
        with (
            MosquittoProcess(MosquittoSettings(directory / policy / "broker")) as broker,
            time_series_server() as url,
            orchestrator(
                broker.endpoint, directory / policy, 5, policy, influxdb={"url": url, "bucket": "b"}
            ) as running,
        ):
            await rounds_of_five(broker.endpoint, rounds)
            await asyncio.sleep(settle_s)
            rows.append(memory_of(f"orchestrator, {policy}, five devices", running.pid))
            if policy == POLICIES[0]:
                rows.append(memory_of("shipper of the response log", shipper_of(running.pid)))
    return rows


@contextlib.contextmanager
def time_series_server() -> Iterator[str]:
    """The address of what accepts every write and keeps nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Accepting)
    thread = threading.Thread(target=server.serve_forever, name="time-series")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Accepting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def shipper_of(orchestrator_pid: int) -> int:
    """The process that ships the log of this orchestrator."""
    for child in psutil.Process(orchestrator_pid).children(recursive=True):
        if "orchestrator.shipping" in child.cmdline():
            return child.pid
    raise SystemExit("the orchestrator has no shipping process")


def memory_of(name: str, pid: int) -> dict[str, Any]:
    """Resident, proportional and unique memory of one process."""
    memory = psutil.Process(pid).memory_full_info()
    return {"process": name, "rss_mb": memory.rss / MB, "pss_mb": memory.pss / MB, "uss_mb": memory.uss / MB}


def report(rows: list[dict[str, Any]], rounds: int) -> Figures:
    """Each beside the bare interpreter."""
    python = rows[0]
    page_rows = [
        Row(
            what=f"{row['process']}, resident (RSS)",
            ours=row["rss_mb"],
            unit="MB",
            beside="" if row is python else python["process"],
            beside_value=None if row is python else python["rss_mb"],
            goal=Goal(limit=GOALS_MB[row["process"]], why_missed=WHY_MISSED) if row["process"] in GOALS_MB else None,
            note=f"PSS {row['pss_mb']:.1f}, USS {row['uss_mb']:.1f} MB",
        )
        for row in rows
    ]
    details = {"rounds": rounds, "processes": rows}
    return Figures(benchmark="footprint", title="Memory of each process", rows=page_rows, details=details)


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="Memory of every process of a site, beside bare processes.")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds to wait before measuring")
    parser.add_argument("--rounds", type=int, default=100, help="that an orchestrator decides before it is measured")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(measure(Path(directory), options.settle, options.rounds))
    print(f"{'process':40}{'rss MB':>10}{'pss MB':>10}{'uss MB':>10}{'goal MB':>10}")
    for row in rows:
        goal = GOALS_MB.get(row["process"])
        verdict = "" if goal is None else ("  met" if row["rss_mb"] <= goal else "  MISSED")
        figures = f"{row['rss_mb']:10.1f}{row['pss_mb']:10.1f}{row['uss_mb']:10.1f}"
        print(f"{row['process']:40}{figures}{goal or '':>10}{verdict}")
    write_report(options.json, report(rows, options.rounds))


if __name__ == "__main__":
    main()
