"""Bad messages through a real broker at a whole running site: do its processes live, answer and stay small?

The site is the demo's fleet. A stranger, for whom there are no accounts in this mode, publishes bad payloads on every
channel of every node, and of nodes that do not exist: so many of these that no one's rate limit hides the decoders.
"""

from __future__ import annotations

import itertools
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psutil
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.codec import CARRIAGE
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId, SiteId, Tier, new_request_id
from configs.demo import DemoConfig
from configs.loader import load
from configs.orchestrator import Policy
from orchestrator.errors import LogRefused
from orchestrator.response_log import LOG_NAME, open_for_reading
from testbed.hostile.images import hostile_images
from testbed.hostile.messages import Judge, bad_messages
from testbed.hostile.mutants import examples_of, mutants_of
from tierwise.fleet import ORCHESTRATOR, Fleet

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
GHOSTS = 60
PER_S = 400.0
WARM_ROUNDS = 6
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Endured:
    """What came of it. Memory is resident, in MB, by process."""

    messages: int
    seconds: float
    rounds_before_per_s: float
    rounds_during_per_s: float
    longest_pause_s: float
    memory_before_mb: dict[str, float]
    memory_after_mb: dict[str, float]
    tracebacks: int
    links_lost: int
    failed_responses: int
    refused_by_the_orchestrator: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """For results/."""
        return asdict(self)


def endure(directory: Path, messages: int, examples: Path, told: Callable[[int], None] = lambda _done: None) -> Endured:
    """Start the fleet, let the stranger publish `messages`, and look. Raises TierwiseError when the fleet fails."""
    # Fixed, so that devices load no further models meanwhile: memory is to tell of messages alone.
    config = load(DEMO, DemoConfig).model_copy(update={"policy": Policy.DEVICE_ONLY})
    with Fleet(config, {}, directory) as fleet:
        fleet.start()
        log = fleet.log_directory / LOG_NAME
        _wait(fleet, lambda: _last_round(log) >= WARM_ROUNDS)
        before, started_s, first = _memory(), time.monotonic(), _last_round(log)
        _wait(fleet, lambda: _last_round(log) >= first + WARM_ROUNDS)
        calm_per_s = WARM_ROUNDS / (time.monotonic() - started_s)
        first_ns, first, started_s = time.time_ns(), _last_round(log), time.monotonic()
        _publish(fleet, config, messages, examples, told)
        seconds = time.monotonic() - started_s
        stormy_per_s = (_last_round(log) - first) / seconds
        _wait(fleet, lambda: _last_round(log) >= first + WARM_ROUNDS)
        after = _memory()
        fleet.check()
        pause_s, failed = _pauses(log, first_ns)
    said = [file.read_text(encoding="utf-8", errors="replace") for file in directory.glob("*.log")]
    return Endured(
        messages, seconds, calm_per_s, stormy_per_s, pause_s, before, after,
        tracebacks=sum(text.count("Traceback") + text.count("handler_failed") for text in said),
        links_lost=sum(text.count("link_lost") for text in said),
        failed_responses=failed,
        refused_by_the_orchestrator=_refused(directory / "orchestrator.log"),
    )  # fmt: skip


def _publish(fleet: Fleet, config: DemoConfig, messages: int, examples: Path, told: Callable[[int], None]) -> None:
    stranger = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    stranger.connect(fleet.endpoint.host, fleet.endpoint.port)
    stranger.loop_start()
    try:
        payloads = _payloads(config, examples)
        started_s = time.monotonic()
        for number in range(messages):
            address, payload, retain, properties = next(payloads)
            info = stranger.publish(topic_for(address), payload, 1, retain, properties)
            if (ahead_s := started_s + number / PER_S - time.monotonic()) > 0:
                time.sleep(ahead_s)
            if number % 100 == 0:
                info.wait_for_publish(PATIENCE_S)
                fleet.check()
                told(number)
        stranger.disconnect()
    finally:
        stranger.loop_stop()


def _payloads(config: DemoConfig, examples: Path) -> Iterator[tuple[Address, bytes, bool, Properties | None]]:
    """Each bad request by name once; then for ever named bad messages, mutants and images, on a node's own topics."""
    chance, judge, site = random.Random(11), Judge(), SiteId(config.site)
    nodes = [ORCHESTRATOR, *(node.node for node in config.nodes)]
    nodes += [NodeId(f"ghost-{number}") for number in range(GHOSTS)]
    serving = [node.node for node in config.nodes if node.tier is not Tier.END]
    named = [bad for bad in bad_messages(examples) if not bad.valid]
    images = [image for _, image in hostile_images() if len(image) <= CARRIAGE[Channel.INFER].limit_bytes]
    mutants = {
        channel: mutants_of(examples_of(examples, channel), chance) for channel in {bad.channel for bad in named}
    }
    for bad in named:
        if bad.channel is Channel.REQUEST and len(bad.payload) < CARRIAGE[Channel.INFER].limit_bytes:
            yield Address(site, config.nodes[0].node, bad.channel), bad.payload, False, None
    while True:
        bad = chance.choice(named)
        payload = bad.payload if chance.random() < 0.5 else next(mutants[bad.channel])
        if not judge.valid(bad.channel, payload) and len(payload) < CARRIAGE[Channel.INFER].limit_bytes:
            yield Address(site, chance.choice(nodes), bad.channel), payload, chance.random() < 0.02, None
        if chance.random() < 0.01:
            ghost = NodeId(f"ghost-{chance.randrange(GHOSTS)}")
            yield Address(site, chance.choice(serving), Channel.INFER, ghost), chance.choice(images), False, _asks()


def _asks() -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
    properties.CorrelationData = new_request_id().encode()
    properties.UserProperty = [("model", "d0"), ("deadline_ms", "5000")]
    return properties


def _wait(fleet: Fleet, happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        fleet.check()
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the fleet does nothing for {PATIENCE_S:g} s; its logs are in {fleet.directory}")
        time.sleep(0.05)


def _last_round(log: Path) -> int:
    if not log.exists():
        return 0
    try:
        with closing(open_for_reading(log)) as connection:
            return int(connection.execute("SELECT coalesce(max(round), 0) FROM response").fetchone()[0])
    except (sqlite3.Error, LogRefused):
        return 0  # it is being made


def _pauses(log: Path, since_ns: int) -> tuple[float, int]:
    """The longest time between two stored responses, and how many responses failed."""
    with closing(open_for_reading(log)) as connection:
        query = "SELECT time_ns FROM response WHERE time_ns >= ? ORDER BY time_ns"
        times = [time_ns for (time_ns,) in connection.execute(query, (since_ns,))]
        failed = connection.execute("SELECT count(*) FROM response WHERE outcome = 'failed'").fetchone()[0]
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0) / 1e9, failed


def _refused(log: Path) -> dict[str, int]:
    """By reason, from the orchestrator's last words."""
    text = log.read_text(encoding="utf-8", errors="replace")
    last_words = text[text.rindex("orchestrator_stopped") :]
    counts = re.search(r" refused=(\S+)", last_words)
    return {} if counts is None else {name: int(n) for name, n in re.findall(r"([a-z_]+):(\d+)", counts[1])}


def _memory() -> dict[str, float]:
    """Resident MB of each process of the fleet, the broker among them."""
    children = psutil.Process().children(recursive=True)
    return {
        " ".join(child.cmdline()[-1:])[-40:].rsplit("/", 1)[-1]: child.memory_info().rss / 1e6 for child in children
    }
