"""A device that imports nothing of ours takes part in the rounds of a real site."""

from __future__ import annotations

import ast
import json
import queue
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from orchestrator.response_log import LOG_NAME

ROOT = Path(__file__).parents[2]
DEVICE = Path(__file__).parent / "paho_device.py"
IMAGE = ROOT / "device_agent" / "photos" / "astronaut.jpg"
NODE, MODELS = "foreign-1", {"d0", "d4"}
SERVING = {"edge": "edge-1", "cloud": "cloud-1", "end": NODE}
WAIT_S = 120.0

Happening = dict[str, Any]


@contextmanager
def process(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the site, ended by SIGTERM."""
    with log.open("wb") as output, subprocess.Popen([sys.executable, *command], stdout=output, stderr=output) as popen:
        try:
            yield popen
        finally:
            popen.terminate()
            try:
                popen.wait(20)
            except subprocess.TimeoutExpired:
                popen.kill()


class ForeignDevice:
    """The device as a process, and what it says, line by line."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(DEVICE), *arguments]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.happened: list[Happening] = []
        self._lines: queue.Queue[Happening] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="foreign-device", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.popen.stdout or ():
            self._lines.put(json.loads(line))

    def until(self, done: Callable[[Happening], bool], times: int = 1) -> list[Happening]:
        """The next `times` happenings that are what is waited for; an error when they take too long together."""
        found: list[Happening] = []
        ends_s = time.monotonic() + WAIT_S
        while len(found) < times:
            try:
                self.happened.append(self._lines.get(timeout=max(0.0, ends_s - time.monotonic())))
            except queue.Empty:
                pytest.fail(f"the device waits in vain; the last that happened: {self.happened[-5:]}")
            found += [self.happened[-1]] if done(self.happened[-1]) else []
        return found

    def stop(self) -> int:
        """SIGTERM; its exit code, with the last lines read."""
        self.popen.send_signal(signal.SIGTERM)
        code = self.popen.wait(WAIT_S)
        self._reader.join(WAIT_S)
        while not self._lines.empty():
            self.happened.append(self._lines.get_nowait())
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code

    def all(self, event: str) -> list[Any]:
        """Payloads of that kind, in order."""
        return [happening for happening in self.happened if happening["event"] == event]


class Person:
    """Waits until the site is there, and sets its goal."""

    def __init__(self, host: str, port: int, site: str) -> None:
        self._site = f"tierwise/v1/{site}"
        self._heard: queue.Queue[tuple[str, Happening]] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self._heard.put((message.topic, json.loads(message.payload)))
        self._client.connect(host, port)
        self._client.subscribe([(f"{self._site}/{topic}", 1) for topic in ("+/heartbeat", "orchestrator/goal")])
        self._client.loop_start()

    def wait_for_site(self) -> None:
        """The orchestrator is there, and has heard the heart of each serving node after that."""
        for nodes in (["orchestrator"], ["edge-1", "cloud-1"]):
            missing = {f"{self._site}/{node}/heartbeat" for node in nodes}
            while missing:
                missing.discard(self._heard.get(timeout=WAIT_S)[0])

    def set_goal(self, **goal: object) -> int:
        """The version of the policy from which on it holds."""
        self._client.publish(f"{self._site}/orchestrator/goal/set", json.dumps(goal), qos=1)
        while True:
            topic, in_force = self._heard.get(timeout=WAIT_S)
            if topic.endswith("/goal") and goal.items() <= in_force.items():
                return int(in_force["policy_version"])

    def ping(self, node: str) -> Happening:
        """The pong of that node."""
        self._client.subscribe(f"{self._site}/{node}/pong", 1)
        self._client.publish(f"{self._site}/{node}/ping", json.dumps({"ping_id": "ping-0001"}), qos=1)
        while True:
            topic, pong = self._heard.get(timeout=WAIT_S)
            if topic.endswith(f"/{node}/pong"):
                return pong

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def lab(mosquitto_endpoint, site, tmp_path):
    """A real orchestrator, edge and cloud agent on the shared broker; where they listen and keep their log."""
    broker = {"host": mosquitto_endpoint.host, "port": mosquitto_endpoint.port}
    common = {"version": 1, "site": str(site), "broker": broker}
    files = {
        "orchestrator": {
            "serving_nodes": {"edge": ["edge-1"], "cloud": ["cloud-1"]},
            **common,
            "goal": {"accuracy_floor": "min", "policy": "q_learning"},
            "files": {"directory": str(tmp_path / "log")},
            "seed": 1,
        },
        "edge-1": {**common, "node": "edge-1", "tier": "edge", "models": {"pool": ["d0"]}},
        "cloud-1": {**common, "node": "cloud-1", "tier": "cloud", "models": {"pool": ["d0"]}},
    }
    with ExitStack() as stack:
        for name, settings in files.items():
            file = tmp_path / f"{name}.yaml"
            file.write_text(yaml.safe_dump(settings), encoding="utf-8")
            module = ["tierwise", "orchestrator"] if name == "orchestrator" else ["device_agent"]
            stack.enter_context(process("-m", *module, "run", "--config", str(file), log=tmp_path / f"{name}.log"))
        yield mosquitto_endpoint, site, tmp_path / "log"


def is_decision(happening: Happening) -> bool:
    return happening["event"] == "decision"


def stored_rows(directory: Path) -> dict[str, tuple[str, str, str, str]]:
    """What the response log says of the foreign device, by request id."""
    with closing(sqlite3.connect(f"file:{directory / LOG_NAME}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT request_id, outcome, tier, model, serving_node FROM response WHERE node=?", (NODE,)
        )
        return {row[0]: row[1:] for row in rows}


@pytest.mark.mosquitto
@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
def test_a_device_written_from_the_page_takes_part_in_rounds(lab):
    """It gets decisions that fit it, obeys goals set by a person, gets real labels, and its reports are stored."""
    endpoint, site, log = lab
    person = Person(endpoint.host, endpoint.port, site)
    person.wait_for_site()
    place = ["--host", endpoint.host, "--port", str(endpoint.port), "--site", site, "--node", NODE]
    device = ForeignDevice(*place, "--models", ",".join(sorted(MODELS)), "--image", str(IMAGE))
    try:
        device.until(is_decision, 5)
        pong = person.ping(NODE)
        versions = {}
        for policy in ("edge_only", "cloud_only", "device_only"):
            versions[policy] = person.set_goal(policy=policy)
            device.until(
                lambda seen, now=versions[policy]: is_decision(seen) and seen["payload"]["policy_version"] == now, 5
            )
            device.until(lambda seen: seen["event"] == "acknowledged")
        code = device.stop()
    finally:
        person.close()
        device.popen.kill()
        device.popen.wait()
    decisions, reports = device.all("decision"), [seen["payload"] for seen in device.all("report")]

    assert 0 == code
    assert ("ping-0001", device.all("connected")[0]["session"]) == (pong["ping_id"], pong["session"])
    assert 0 <= pong["handling_ms"] < 1000 * WAIT_S
    for seen in decisions:
        decision = seen["payload"]
        assert (f"tierwise/v1/{site}/{NODE}/decision", False) == (seen["topic"], seen["retain"])
        assert seen["asked"] == decision["request_id"]
        assert decision["serving_node"] == SERVING[decision["tier"]]
        assert decision["model"] in (MODELS if decision["tier"] == "end" else {"d0"})
        assert decision["fallback_model"] in MODELS
        assert 0 < decision["deadline_ms"]
    for policy, tier in (("edge_only", "edge"), ("cloud_only", "cloud"), ("device_only", "end")):
        under = [seen["payload"] for seen in decisions if seen["payload"]["policy_version"] == versions[policy]]
        assert 5 <= len(under)
        assert {(policy, tier)} == {(decision["policy"], decision["tier"]) for decision in under}
    offloaded = [report for report in reports if report["tier"] != "end"]
    assert {"edge", "cloud"} == {report["tier"] for report in offloaded}
    assert all(report["label"] for report in offloaded)
    assert not any(report["outcome"] == "fallen_back" for report in reports if report["decided"])

    acknowledged = {seen["request_id"] for seen in device.all("acknowledged")}
    assert {report["request_id"] for report in reports} == acknowledged
    expected = {
        report["request_id"]: (report["outcome"], report["tier"], report["model"], report["serving_node"])
        for report in reports
    }
    assert expected == stored_rows(log)


def test_the_foreign_device_imports_nothing_of_ours():
    """Its imports are paho and the standard library."""
    tree = ast.parse(DEVICE.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}

    assert all(re.match(r"paho\.", name) for name in foreign)
