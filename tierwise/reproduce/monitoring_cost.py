"""What Resource Monitoring costs a node: processor time of real agents that do nothing else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil
import yaml

from broker.children import start_child, wait_or_kill
from broker.client import Endpoint
from broker.errors import TierwiseError
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.vocabulary import Tier
from configs.node import BrokerSection, MonitoringSection, NodeConfig
from tierwise.reproduce.fleet_run import Tell

PERIOD_S = 1.0
SETTLE_S = 8.0  # the start, and the probes that measure the round trip until there are enough of them
STOP_TIMEOUT_S = 20.0
EACH_SECOND = MonitoringSection(period_s=PERIOD_S, heartbeat_s=PERIOD_S)
ALMOST_NEVER = MonitoringSection(period_s=3600.0, heartbeat_s=60.0)  # as rarely as the settings allow


@dataclass(frozen=True, slots=True)
class Shares:
    """Processor time of two agents on one tier over the same seconds, in % of one core."""

    monitoring_percent: float
    resting_percent: float

    @property
    def cost_percent(self) -> float:
        """What monitoring each second adds; noise may make it negative over a few seconds."""
        return self.monitoring_percent - self.resting_percent


@dataclass(frozen=True, slots=True)
class _Agent:
    popen: Popen[bytes]
    log: Path

    def cpu_s(self) -> float:
        """Of all its threads. Raises TierwiseError when it has ended."""
        if (code := self.popen.poll()) is not None:
            raise TierwiseError(f"an agent ended with exit code {code}; {self.log} says why")
        return cpu_s(self.popen.pid)


def monitoring_shares(directory: Path, seconds: float, tell: Tell) -> Mapping[Tier, Shares]:
    """A pair of agents on each tier, one that monitors each second and one that hardly does. Raises TierwiseError."""
    with ExitStack() as stack:
        broker = stack.enter_context(MosquittoProcess(MosquittoSettings(directory=directory / "broker")))
        agents: list[_Agent] = []
        stack.callback(_stop, agents)
        for tier in Tier:
            for name, monitoring in (("monitoring", EACH_SECOND), ("resting", ALMOST_NEVER)):
                agents.append(_start(directory, broker.endpoint, f"{tier}-{name}", tier, monitoring))
        _wait(SETTLE_S, 0.0, SETTLE_S + seconds, tell, "agents settle")
        before_s, started_s = [agent.cpu_s() for agent in agents], time.monotonic()
        _wait(seconds, SETTLE_S, SETTLE_S + seconds, tell, "measuring processor time")
        used_s, took_s = [agent.cpu_s() for agent in agents], time.monotonic() - started_s
        percent = [100 * (after - before) / took_s for before, after in zip(before_s, used_s, strict=True)]
    return {tier: Shares(*percent[2 * place : 2 * place + 2]) for place, tier in enumerate(Tier)}


def _start(directory: Path, endpoint: Endpoint, node: str, tier: Tier, monitoring: MonitoringSection) -> _Agent:
    config = NodeConfig(
        version=1,
        site="monitoring",
        node=node,
        tier=tier,
        broker=BrokerSection(host=endpoint.host, port=endpoint.port),
        monitoring=monitoring,
    )
    file, log = directory / f"{node}.yaml", directory / f"{node}.log"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    with log.open("wb") as output:
        command = [sys.executable, "-m", "device_agent", "run", "--config", str(file)]
        return _Agent(start_child(command, output, {**os.environ, "OMP_NUM_THREADS": "1"}), log)


def _stop(agents: list[_Agent]) -> None:
    for agent in agents:
        agent.popen.terminate()
    for agent in agents:
        wait_or_kill(agent.popen, STOP_TIMEOUT_S)


def _wait(seconds: float, done_s: float, all_s: float, tell: Tell, what: str) -> None:
    """Real time has to pass here: it is what the processor time is compared with."""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        tell((done_s + seconds - left_s) / all_s, what)
        time.sleep(min(0.5, left_s))


def cpu_s(pid: int) -> float:
    """Processor time of all threads of a process, in nanosecond steps where the kernel keeps them."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
