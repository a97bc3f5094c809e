"""How a node begins, shows that it is there, and ends: as a process, the way it is run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from broker.client import Inbound
from broker.clock import SystemClock
from broker.link_proxy import LinkProxy
from broker.messages import Heartbeat, State, Telemetry
from broker.topics import Channel, filter_for
from broker.toxics import Latency
from broker.vocabulary import Link, NodeId, NodeState, Outcome, Tier
from device_agent.agent import Agent
from device_agent.monitoring.resources import vcpus
from model_zoo.cache import installed, models_directory
from model_zoo.pool import ModelPool

S1 = NodeId("s1")


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 30)


@pytest.mark.models
def test_birth_tells_what_the_node_is(bench: Any) -> None:
    """Tier, vCPUs, version and the sha256 of each model that is both asked for and installed."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator:
            emulate = {"vcpus": 3, "reference_ms": {"d7": 50.0}}
            config = bench.config("edge", "edge", models={"pool": ["d7"]}, emulate=emulate)
            async with bench.agent(config) as agent:
                await orchestrator.state_of("edge", NodeState.ONLINE)
                birth = orchestrator.births[NodeId("edge")]

                assert (Tier.EDGE, 3, True) == (birth.tier, birth.vcpus, birth.emulated)
                assert {"d7": installed(models_directory())["d7"].sha256} == birth.models  # type: ignore[index]
                assert (agent.client.session, True) == (birth.session, bool(birth.agent_version))

    asyncio.run(scenario())


@pytest.mark.models
def test_a_model_that_cannot_be_run_is_logged_at_the_start_and_not_announced(bench: Any, tmp_path: Path) -> None:
    """One event each for the missing and the damaged one, with a command of the node; the third is offered."""
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    index = json.loads((models_directory() / "index.json").read_text())
    index["models"] = {name: index["models"][name] for name in ("d6", "d7")}
    (zoo / "index.json").write_text(json.dumps(index))
    (zoo / "d7.tflite").symlink_to(models_directory() / "d7.tflite")
    (zoo / "d6.tflite").write_bytes(b"damaged")

    async def scenario() -> None:
        config = bench.config("s1", models={"pool": ["d0", "d6", "d7"], "directory": str(zoo)})
        async with bench.orchestrator() as orchestrator, bench.process(config) as process:
            await orchestrator.state_of("s1", NodeState.ONLINE)
            assert ["d7"] == list(orchestrator.births[S1].models)
            process.terminate()
            assert 0 == await ended(process)

    asyncio.run(scenario())

    told = [line for line in (bench.directory / "s1.log").read_text().splitlines() if "model_not_offered" in line]
    assert ["model=d0", "model=d6"] == [line[line.index("model=") :].split()[0] for line in told]
    assert all("hint=" in line and "tierwise-agent models fetch" in line for line in told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(bench: Any, number: signal.Signals) -> None:
    """Exit code 0, and the site is told `stopped`."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator, bench.process(bench.config("s1")) as process:
            await orchestrator.state_of("s1", NodeState.ONLINE)
            process.send_signal(number)

            assert 0 == await ended(process)
            await orchestrator.state_of("s1", NodeState.STOPPED)

    asyncio.run(scenario())


@pytest.mark.models
def test_a_signal_during_a_request_lets_it_finish_and_hands_in_its_report(bench: Any) -> None:
    """The request that is under way ends as decided; its report is acknowledged before the process goes."""

    async def scenario() -> None:
        emulate = {"vcpus": 1, "reference_ms": {"d7": 700.0}}
        config = bench.config("s1", models={"pool": ["d7"]}, emulate=emulate)
        async with bench.orchestrator() as orchestrator, bench.process(config) as process:
            orchestrator.decide = lambda _node, request: orchestrator.decision(request)
            await orchestrator.state_of("s1", NodeState.ONLINE)
            orchestrator.open_round()
            await bench.until(lambda: len(orchestrator.requests) == 1)
            process.terminate()
            report = await orchestrator.report()

            assert (Outcome.DONE, orchestrator.requests[0][1]) == (report.outcome, report.request_id)
            assert 0 == await ended(process)
            await orchestrator.state_of("s1", NodeState.STOPPED)
            assert 1 == len(orchestrator.requests)

    asyncio.run(scenario())


@pytest.mark.models
def test_a_signal_during_an_endless_request_reports_it_as_failed(bench: Any) -> None:
    """What cannot be finished in time is reported all the same."""

    async def scenario() -> None:
        emulate = {"vcpus": 1, "reference_ms": {"d7": 3_600_000.0}}
        config = bench.config("s1", models={"pool": ["d7"]}, emulate=emulate)
        async with bench.orchestrator() as orchestrator, bench.process(config) as process:
            orchestrator.decide = lambda _node, request: orchestrator.decision(request, deadline_ms=3_600_000.0)
            await orchestrator.state_of("s1", NodeState.ONLINE)
            orchestrator.open_round()
            await bench.until(lambda: len(orchestrator.requests) == 1)
            process.terminate()
            report = await orchestrator.report()

            assert (Outcome.FAILED, "this node is being stopped") == (report.outcome, report.reason)
            assert 0 == await ended(process)

    asyncio.run(scenario())


def test_a_killed_process_is_offline(bench: Any) -> None:
    """The broker sends its last will."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator, bench.process(bench.config("s1")) as process:
            await orchestrator.state_of("s1", NodeState.ONLINE)
            process.kill()
            await orchestrator.state_of("s1", NodeState.OFFLINE)

            assert [(S1, NodeState.ONLINE), (S1, NodeState.OFFLINE)] == orchestrator.history

    asyncio.run(scenario())


def test_a_process_that_never_found_a_broker_ends_cleanly_too(bench: Any) -> None:
    """Exit code 0 without anybody to say goodbye to."""
    from broker.ports import free_port

    async def scenario() -> None:
        bench.endpoint = type(bench.endpoint)(port=free_port())
        async with bench.process(bench.config("s1")) as process:
            log = bench.directory / "s1.log"
            await bench.until(lambda: log.exists() and "no_link" in log.read_text())
            process.terminate()

            assert 0 == await ended(process)

    asyncio.run(scenario())


def test_the_will_of_a_former_session_is_contradicted(bench: Any) -> None:
    """A late `offline` of another session on its own topic makes a live node say `online` again."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator, bench.agent(bench.config("s1")) as agent:
            await orchestrator.state_of("s1", NodeState.ONLINE)
            stale = State(session=agent.client.session - 1, state=NodeState.OFFLINE)
            orchestrator.send(S1, Channel.STATE, stale)
            await bench.until(lambda: (S1, NodeState.OFFLINE) in orchestrator.history[:-1])

            assert (S1, NodeState.ONLINE) == orchestrator.history[-1]

    asyncio.run(scenario())


@pytest.mark.models
def test_telemetry_and_heartbeats_come_and_count_up(bench: Any) -> None:
    """A real node sends what it measured, an emulated one its given link; both say which they are."""

    async def scenario() -> None:
        seen: dict[str, list[Telemetry]] = {"s1": [], "s2": []}
        beats: list[Heartbeat] = []

        def on_telemetry(inbound: Inbound) -> None:
            if isinstance(inbound.body, Telemetry):
                seen[inbound.address.node].append(inbound.body)

        def on_heartbeat(inbound: Inbound) -> None:
            if isinstance(inbound.body, Heartbeat) and inbound.address.node == S1:
                beats.append(inbound.body)

        often = {"period_s": 0.1, "heartbeat_s": 0.1}
        emulate = {"vcpus": 1, "reference_ms": {"d7": 50.0}, "link": "weak"}
        real = bench.config("s1", monitoring=often)
        emulated = bench.config("s2", monitoring=often, models={"pool": ["d7"]}, emulate=emulate)
        async with bench.orchestrator() as orchestrator:
            for channel, handler in ((Channel.TELEMETRY, on_telemetry), (Channel.HEARTBEAT, on_heartbeat)):
                orchestrator.client.subscribe(filter_for(bench.site, channel), channel, handler)
            await orchestrator.client.wait_connected(120.0)
            async with bench.agent(real) as agent, bench.agent(emulated):
                await bench.until(lambda: len(beats) >= 3 and all(len(each) >= 3 for each in seen.values()))
                session = agent.client.session

        assert [(session, number) for number in (1, 2, 3)] == [(beat.session, beat.seq) for beat in beats[:3]]
        assert [1, 2, 3] == [each.seq for each in seen["s1"][:3]]
        assert {False} == {each.emulated for each in seen["s1"]}
        assert {(True, Link.WEAK, 0.0)} == {(each.emulated, each.link, each.cpu_percent) for each in seen["s2"]}
        assert seen["s1"][-1].rtt_ms is not None
        assert all(0 < each.memory_percent < 100 for each in seen["s1"])

    asyncio.run(scenario())


def test_a_real_node_measures_that_its_link_is_weak(bench: Any) -> None:
    """20 ms on its outgoing messages, the paper's weak link, show in the round trip that it reports."""

    async def scenario() -> None:
        weak: list[Telemetry] = []

        def on_telemetry(inbound: Inbound) -> None:
            if isinstance(inbound.body, Telemetry) and inbound.body.link is Link.WEAK:
                weak.append(inbound.body)

        proxy = LinkProxy(bench.endpoint.host, bench.endpoint.port)
        port = (await proxy.listen(0, [Latency(20)])).port
        async with bench.orchestrator() as orchestrator:
            orchestrator.client.subscribe(filter_for(bench.site, Channel.TELEMETRY), Channel.TELEMETRY, on_telemetry)
            often = {"period_s": 0.1, "heartbeat_s": 0.1}
            async with bench.agent(bench.config("s1", broker={"host": "127.0.0.1", "port": port}, monitoring=often)):
                await bench.until(lambda: len(weak) > 0)
        await proxy.close()

        assert False is weak[0].emulated
        assert (weak[0].rtt_ms or 0.0) >= 20.0

    asyncio.run(scenario())


def test_a_node_has_as_many_vcpus_as_it_may_use() -> None:
    """In a cpuset or a container of one processor it starts one worker, however large the machine."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert 1 == vcpus()
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.models
def test_a_graph_that_cannot_be_run_does_not_keep_an_emulated_node_away(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the runtime raises while the node warms up is logged, and the node comes online."""

    def cannot_be_run(*_: object) -> None:
        raise RuntimeError("the graph cannot be run")

    monkeypatch.setattr(ModelPool, "classify", cannot_be_run)

    async def scenario() -> None:
        config = bench.config(
            "edge", "edge", models={"pool": ["d7"]}, emulate={"vcpus": 1, "reference_ms": {"d7": 5.0}}
        )
        async with bench.orchestrator() as orchestrator, bench.agent(config):
            await orchestrator.state_of("edge", NodeState.ONLINE)

    asyncio.run(scenario())


def test_a_defect_of_a_part_ends_the_agent_and_the_thread_of_its_outbox(bench: Any) -> None:
    """What was raised comes out, and nothing stays behind that would keep the process from ending."""

    async def scenario() -> None:
        agent = Agent(bench.config("s1"), SystemClock())

        async def defective() -> None:
            raise ZeroDivisionError

        agent._requester.run = defective  # type: ignore[union-attr, method-assign]
        with pytest.raises(ZeroDivisionError):
            await agent.run(asyncio.Event())

        assert "outbox-s1" not in [thread.name for thread in threading.enumerate()]
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(scenario())


@pytest.mark.models
@pytest.mark.parametrize(("preload", "loaded"), [(True, {"d3": 1, "d7": 1}), (False, {})])
def test_networks_are_loaded_before_the_first_request_if_the_file_says_so(
    bench: Any, preload: bool, loaded: dict[str, int]
) -> None:
    """With `models.preload` a node that has announced itself has run every network of its pool once."""

    async def scenario() -> dict[str, int]:
        config = bench.config("s1", models={"pool": ["d7", "d3"], "preload": preload})
        async with bench.orchestrator() as orchestrator, bench.agent(config) as agent:
            await orchestrator.state_of("s1", NodeState.ONLINE)
            return dict(agent._pool.loaded())

    assert loaded == asyncio.run(scenario())
