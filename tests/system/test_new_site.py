"""From nothing to a secured site that decides: two commands, one folder for each process, nothing copied or merged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.client import Inbound, MqttClient
from broker.endpoint import Endpoint
from broker.messages import Report
from broker.ports import free_port
from broker.tls import Tls
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, SiteId

LAB, SCREEN = SiteId("lab"), NodeId("screen")
DEVICES = [f"s{number}" for number in range(1, 6)]
NODES = ["edge", "cloud", *DEVICES]
DECIDED = 2  # requests of each device
PATIENCE_S = 400.0


def tierwise(*arguments: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "tierwise", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)
    assert 0 == done.returncode, done.stderr


def run_commands() -> dict[str, list[str]]:
    """As the README has them, each with the file in the folder of its process."""
    agent = ["device_agent", "run", "--config"]
    commands = {
        "broker": ["tierwise", "broker", "run", "--config", "lab/broker/broker.yaml"],
        "orchestrator": [
            "tierwise", "orchestrator", "run", "--config", "lab/nodes/orchestrator/orchestrator.yaml",
        ],
    }  # fmt: skip
    return commands | {name: [*agent, f"lab/nodes/{name}/node.yaml"] for name in NODES}


async def decided_requests(here: Path, port: int) -> Counter[str]:
    """How many requests of each device were decided and answered, until all have some; an observer counts."""
    decided: Counter[str] = Counter()
    enough = asyncio.Event()

    def hear(inbound: Inbound) -> None:
        if isinstance(inbound.body, Report) and inbound.body.decided:
            decided[inbound.address.node] += 1
        if all(decided[name] >= DECIDED for name in DEVICES):
            enough.set()

    tls = Tls.in_directory(here / "lab" / "people" / SCREEN)
    client = MqttClient(Endpoint("127.0.0.1", port, tls=tls), LAB, SCREEN, "test", announces_state=False)
    client.subscribe(filter_for(LAB, Channel.REPORT), Channel.REPORT, hear)
    link = asyncio.create_task(client.run(), name="screen")
    try:
        await asyncio.wait_for(enough.wait(), PATIENCE_S)
    finally:
        await client.stop()
        await link
    return decided


@pytest.mark.mosquitto
@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_new_secured_site_runs_from_its_folders(tmp_path: Path) -> None:
    """Five devices, edge and cloud, each with its certificate: the requests of every device are decided and answered,
    and no process was refused anything. The one edit, a time-out that suits a busy machine, survives provisioning."""
    port = free_port()
    options = ["--site", "lab", "--broker-host", "127.0.0.1", "--broker-port", str(port), "--output", "lab"]
    tierwise("config", "new", "site", *options, cwd=tmp_path)
    for name in DEVICES:
        file = tmp_path / "lab" / "nodes" / name / "node.yaml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("decision_timeout_ms: 800", "decision_timeout_ms: 10000"), encoding="utf-8")
    tierwise("broker", "provision", "lab/site.yaml", cwd=tmp_path)

    logs = {}
    with ExitStack() as stack:
        for name, command in run_commands().items():
            logs[name] = tmp_path / f"{name}.log"
            output = stack.enter_context(logs[name].open("wb"))
            words = [sys.executable, "-m", *command]
            process = stack.enter_context(subprocess.Popen(words, stdout=output, stderr=output, cwd=tmp_path))
            stack.callback(process.kill)
        decided = asyncio.run(decided_requests(tmp_path, port))
    refused = [
        line for log in logs.values() for line in log.read_text(encoding="utf-8").splitlines() if "refused" in line
    ]

    assert set(DEVICES) == set(decided)
    assert [] == [line for line in refused if "Connection refused" not in line]  # the broker may be the last to start
