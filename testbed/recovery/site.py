"""A small real site of processes for the trial: a broker, an orchestrator, an edge, a cloud, and devices that ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from broker.children import start_child, wait_or_kill
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.vocabulary import NodeId, SiteId

SITE = SiteId("trial")
DEVICES = [NodeId(f"s{number}") for number in (1, 2, 3)]
ORCHESTRATOR, EDGE, CLOUD = NodeId("orchestrator"), NodeId("edge"), NodeId("cloud")
POOL = ["d3", "d7"]  # small, so that a local answer is a matter of milliseconds
STOP_S = 10.0


class TrialSite:
    """Starts everything, and can freeze, wake, kill and start again each part. A context manager."""

    def __init__(self, directory: Path, policy: str) -> None:
        self._directory = directory
        self._policy = policy
        self.broker = MosquittoProcess(MosquittoSettings(directory=directory / "broker"))
        self._processes: dict[NodeId, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> TrialSite:
        self.broker.start()
        for node in (ORCHESTRATOR, EDGE, CLOUD, *DEVICES):
            self.start(node)
        return self

    def __exit__(self, *_exception: object) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            wait_or_kill(process, STOP_S)
        os.kill(self.broker.pid, signal.SIGCONT)
        self.broker.stop()

    @property
    def log_directory(self) -> Path:
        """The orchestrator's files."""
        return self._directory / "orchestrator"

    def start(self, node: NodeId) -> None:
        """Start a node that does not run."""
        file = self._directory / f"{node}.yaml"
        file.write_text(yaml.safe_dump(self._settings(node)), encoding="utf-8")
        module = ["tierwise", "orchestrator", "run"] if node == ORCHESTRATOR else ["device_agent", "run"]
        with (self._directory / f"{node}.log").open("ab") as log:
            command = [sys.executable, "-m", *module, "--config", str(file)]
            self._processes[node] = start_child(command, log, {**os.environ, "OMP_NUM_THREADS": "1"})

    def send(self, node: NodeId | None, number: int) -> None:
        """A signal to a node, or to the broker for None."""
        os.kill(self.broker.pid if node is None else self._processes[node].pid, number)

    def kill(self, node: NodeId) -> None:
        """End it as a power cut would."""
        self._processes[node].kill()
        self._processes.pop(node).wait()

    def _settings(self, node: NodeId) -> dict[str, object]:
        common = {"version": 1, "site": SITE, "node": node, "broker": {"port": self.broker.endpoint.port}}
        if node == ORCHESTRATOR:
            goal = {"accuracy_floor": "min", "policy": self._policy}
            serving = {"edge": [EDGE], "cloud": [CLOUD]}
            return {**common, "goal": goal, "serving_nodes": serving, "files": {"directory": str(self.log_directory)}}
        tier = {EDGE: "edge", CLOUD: "cloud"}.get(node, "end")
        asks = {"mode": "periodic", "period_s": 0.25} if tier == "end" else {"mode": "none"}
        outbox = {"directory": str(self._directory / "outboxes")}
        return {**common, "tier": tier, "models": {"pool": [*POOL, "d0"]}, "requester": asks, "outbox": outbox}
