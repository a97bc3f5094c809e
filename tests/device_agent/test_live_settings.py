"""Settings of a node that change while it runs: each live one has its effect, in real parts."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from broker.clock import ManualClock
from broker.messages import Heartbeat, Telemetry
from broker.topics import Channel, filter_for
from broker.vocabulary import Link, NodeState
from configs.editing import put
from configs.node import ImagesSection, MonitoringSection, NodeConfig, RequesterSection
from configs.reloading import live_keys
from device_agent.agent import Agent
from device_agent.images.source import open_source
from device_agent.monitoring.link import LinkEstimator
from device_agent.monitoring.monitor import ResourceMonitor
from device_agent.requester.requester import Requester
from device_agent.requester.sequence import RequestSequence, Settings
from device_agent.requester.ticks import PeriodicTicks, RoundGate

Check = Callable[[Any], None]


def _monitor(settings: MonitoringSection, clock: Any, sent: list[Any]) -> ResourceMonitor:
    """A real monitor whose client notes what it is given."""

    class Client:
        connected, session, site, node = True, 1, "home", "s1"

        def __init__(self) -> None:
            self.refused: dict[str, int] = {}

        def publish(self, _address: Any, body: Any) -> None:
            sent.append(body)

        def publish_state(self, _state: NodeState, on_puback: object = None) -> None: ...

    class Readings:
        emulated, waiting, overruns = False, 0, 0

        def cpu_percent(self) -> float:
            return 1.0

        def memory_percent(self) -> float:
            return 1.0

    client: Any = Client()
    return ResourceMonitor(client, settings, Readings(), Readings(), clock)


@pytest.mark.parametrize(
    ("key", "kind"), [("period_s", Telemetry), ("heartbeat_s", Heartbeat)], ids=["telemetry", "heartbeat"]
)
def test_a_new_period_begins_at_once(key: str, kind: type[Any]) -> None:
    """Not after the old one, which is an hour (a minute for heartbeats) and has just begun."""
    from broker.clock import SystemClock

    slow = MonitoringSection(period_s=3600, heartbeat_s=60)
    sent: list[Any] = []

    async def scenario() -> None:
        monitor = _monitor(slow, SystemClock(), sent)
        tasks = [asyncio.create_task(monitor.send_telemetry()), asyncio.create_task(monitor.send_heartbeats())]
        try:
            async with asyncio.timeout(120):
                while len(sent) < 2:
                    await asyncio.sleep(0)
                monitor.reconfigure(slow.model_copy(update={key: 0.1}))
                while sum(isinstance(body, kind) for body in sent) < 4:
                    await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())

    assert 4 == sum(isinstance(body, kind) for body in sent)
    assert 2 >= sum(not isinstance(body, kind) for body in sent)  # the other goes on in its own rhythm


@pytest.mark.parametrize(
    ("key", "value"), [("weak_rtt_ms", 5.0), ("weak_uplink_mbit_s", 50.0)], ids=["round trip", "throughput"]
)
def test_a_link_is_judged_by_the_new_threshold(key: str, value: float) -> None:
    """The same samples, 10 ms and 8 Mbit/s, are regular before and weak after."""
    clock = ManualClock()
    monitor = _monitor(MonitoringSection(), clock, [])
    for _ in range(5):
        monitor.link.round_trip(clock.monotonic(), 10.0)
        monitor.uploaded(1_000_000, 1.0)
    before = monitor.link.link(clock.monotonic())

    monitor.reconfigure(MonitoringSection(**{key: value}))

    assert (Link.REGULAR, Link.WEAK) == (before, monitor.link.link(clock.monotonic()))


def test_thresholds_of_a_link_can_be_loosened_too() -> None:
    """A weak link is regular again under a larger threshold."""
    link = LinkEstimator(5.0, 0.0)
    for _ in range(5):
        link.round_trip(0.0, 10.0)
    before = link.link(0.0)

    link.reconfigure(100.0, 0.0)

    assert (Link.WEAK, Link.REGULAR) == (before, link.link(0.0))


def test_ticks_count_in_the_new_period() -> None:
    """From a tick each 100 s to one each 7 s: the next whole multiple of 7."""
    ticks = PeriodicTicks(100.0)
    before = ticks.wait_s(1003.0)
    ticks.reconfigure(7.0)

    assert (97.0, 5.0) == (before, ticks.wait_s(1003.0))
    ticks.take()
    ticks.reconfigure(7.0)  # the same: nothing is forgotten
    assert 12.0 == ticks.wait_s(1003.0)


def test_a_silence_that_has_begun_ends_by_the_new_timeout() -> None:
    """After 3 of 600 seconds, 5 are left of 8."""
    gate = RoundGate(600.0, 0.0)
    before = gate.wait_s(3.0)
    gate.reconfigure(8.0)

    assert (597.0, 5.0) == (before, gate.wait_s(3.0))


class Parts:
    """What a request sequence needs around it, as far as these tests go."""

    def __init__(self) -> None:
        self.expiries_s: list[float] = []

    def request(self, _pending: Any, expiry_s: int) -> None:
        self.expiries_s.append(expiry_s)


def _sequence(settings: RequesterSection, parts: Any) -> RequestSequence:
    given = Settings("s1", settings.decision_timeout_ms / 1000, settings.images)  # type: ignore[arg-type]
    return RequestSequence(given, parts, parts, parts, parts, parts, ManualClock())


def _requester(settings: RequesterSection, parts: Parts) -> Requester:
    source: Any = None
    client: Any = None
    return Requester(settings, client, _sequence(settings, parts), source, ManualClock())


def test_a_request_waits_for_its_decision_by_the_new_timeout() -> None:
    """It is told to the broker as the message's expiry too; the requester hands it on."""

    async def scenario() -> list[float]:
        parts = Parts()
        requester = _requester(RequesterSection(decision_timeout_ms=90_000), parts)
        requester.reconfigure(RequesterSection(decision_timeout_ms=10))
        pending, trace = _Pending(), _Trace()
        async with asyncio.timeout(120):
            assert await requester._sequence._decision(pending, trace) is None  # type: ignore[arg-type]
        assert "no decision" == trace.reason
        return parts.expiries_s

    assert [1] == asyncio.run(scenario())


class _Pending:
    def __init__(self) -> None:
        self.decision: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def lose(self, _reason: str) -> None: ...


class _Trace:
    reason = ""
    decision_lost_s = 0.0
    encode_s = 0.0

    def fail(self, reason: str) -> None:
        self.reason = reason


def test_images_are_encoded_in_the_new_width_and_quality() -> None:
    """The next one already."""
    from io import BytesIO

    async def scenario() -> list[bytes]:
        requester = _requester(RequesterSection(), Parts())
        photograph = open_source(ImagesSection()).next()
        trace: Any = _Trace()
        images = []
        for section in (ImagesSection(), ImagesSection(width_px=64), ImagesSection(jpeg_quality=10)):
            requester.reconfigure(RequesterSection(images=section))
            images.append(await requester._sequence._encode(trace, photograph))
        return images

    usual, narrow, coarse = asyncio.run(scenario())

    assert [224, 64, 224] == [max(Image.open(BytesIO(image)).size) for image in (usual, narrow, coarse)]
    assert len(coarse) < len(usual) / 2


# Where each live key of a node is tried out, by the test above or below that does it.
TRIED: dict[str, Callable[..., None]] = {
    "monitoring.period_s": test_a_new_period_begins_at_once,
    "monitoring.heartbeat_s": test_a_new_period_begins_at_once,
    "monitoring.weak_rtt_ms": test_a_link_is_judged_by_the_new_threshold,
    "monitoring.weak_uplink_mbit_s": test_a_link_is_judged_by_the_new_threshold,
    "requester.period_s": test_ticks_count_in_the_new_period,
    "requester.decision_timeout_ms": test_a_request_waits_for_its_decision_by_the_new_timeout,
    "requester.open_timeout_s": test_a_silence_that_has_begun_ends_by_the_new_timeout,
    "requester.images.width_px": test_images_are_encoded_in_the_new_width_and_quality,
    "requester.images.jpeg_quality": test_images_are_encoded_in_the_new_width_and_quality,
}


def test_every_live_key_is_tried_out_and_no_other() -> None:
    """`log_level` is, by the agent as a process."""
    assert live_keys(NodeConfig) == {*TRIED, "log_level"}


@pytest.mark.mosquitto
def test_an_agent_hands_live_values_to_all_its_parts(bench: Any) -> None:
    """Monitor, ticks, timeout and images of a real agent, and the level of the log."""

    async def scenario() -> tuple[Any, ...]:
        config = bench.config("s1", requester={"mode": "periodic", "period_s": 3600})
        agent = Agent(config, ManualClock(wall_s=7200.0))
        requester = agent._requester
        assert requester is not None
        before = requester._ticks.wait_s(7200.0)
        agent.reconfigure(
            NodeConfig.model_validate(
                config.model_dump()
                | {
                    "log_level": "error",
                    "monitoring": {"period_s": 7},
                    "requester": {"mode": "periodic", "period_s": 10, "decision_timeout_ms": 1},
                }
            )
        )
        settings = requester._sequence._settings
        return before, requester._ticks.wait_s(7200.0), settings.decision_timeout_s, agent.monitor._settings.period_s

    level = logging.getLogger().level
    try:
        assert (3600.0, 10.0, 0.001, 7.0) == asyncio.run(scenario())
        assert logging.ERROR == logging.getLogger().level
    finally:
        logging.getLogger().setLevel(level)


@pytest.mark.system
@pytest.mark.mosquitto
def test_a_running_agent_takes_a_changed_file_on_a_hangup(bench: Any, tmp_path: Path) -> None:
    """It sends telemetry in the new rhythm, logs what changed and what needs a restart, and refuses a bad file."""

    async def scenario() -> None:
        config = bench.config("s1", "edge", monitoring={"period_s": 3600})
        heard: asyncio.Queue[Any] = asyncio.Queue()
        async with bench.orchestrator() as site:
            there = filter_for(bench.site, Channel.TELEMETRY)
            site.client.subscribe(there, Channel.TELEMETRY, lambda inbound: heard.put_nowait(inbound.body))
            async with bench.process(config) as process, asyncio.timeout(60):
                log, file = tmp_path / "s1.log", tmp_path / "s1.yaml"
                await site.state_of("s1", NodeState.ONLINE)
                good = file.read_text(encoding="utf-8")
                await _rewritten(process, file, put(good, "broker.port", "wrong"), log, "config_refused")
                changed = put(put(good, "monitoring.period_s", 0.1), "service.queue_length", 77)
                changed = put(changed, "log_level", "debug")
                await _rewritten(process, file, changed, log, "setting_changed key=log_level old=info new=debug")
                for _ in range(3):
                    await heard.get()
                text = log.read_text(encoding="utf-8")
                assert "setting_changed key=monitoring.period_s old=3600.000 new=0.100" in text
                assert "setting_needs_restart key=service.queue_length new=77" in text
                process.send_signal(signal.SIGTERM)
                assert 0 == await asyncio.to_thread(process.wait, 30)

    asyncio.run(scenario())


async def _rewritten(process: Any, file: Path, text: str, log: Path, until: str) -> None:
    assert yaml.safe_load(text)
    file.write_text(text, encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    while until not in log.read_text(encoding="utf-8"):
        await asyncio.sleep(0.02)
