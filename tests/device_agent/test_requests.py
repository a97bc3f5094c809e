"""One request after the other through a real broker, real models and real agents: each way in which it can end."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from broker.messages import Decision, Goal, Heartbeat, Report
from broker.topics import Channel
from broker.vocabulary import NodeId, NodeState, Outcome, Tier
from configs.node import NodeConfig

pytestmark = pytest.mark.models

S1 = NodeId("s1")
LIGHT = {"pool": ["d7", "d3"]}  # quick to load
TO_EDGE = {"tier": Tier.EDGE, "model": "d7", "serving_node": "edge"}
FOREVER = {"vcpus": 1, "reference_ms": {"d7": 3_600_000.0}}


async def one_report(bench: Any, config: NodeConfig, **changes: Any) -> Report:
    """What a device with these settings reports of one round, decided with `changes`."""
    async with bench.orchestrator() as orchestrator, bench.agent(config):
        orchestrator.decide = lambda _node, request: orchestrator.decision(request, **changes)
        await orchestrator.state_of("s1", NodeState.ONLINE)
        orchestrator.open_round()
        report: Report = await orchestrator.report()
        return report


def test_local_run(bench: Any) -> None:
    """Decided d7 here: done here, with measured times."""
    report = asyncio.run(one_report(bench, bench.config("s1", models=LIGHT)))

    assert (Outcome.DONE, True, Tier.END, "d7", "s1", None, False) == (
        report.outcome,
        report.decided,
        report.tier,
        report.model,
        report.serving_node,
        report.reason,
        report.emulated,
    )
    assert report.label
    assert (0.0, 0.0) == (report.stages.uplink_ms, report.stages.downlink_ms)
    assert report.stages.compute_ms > 0


def test_local_run_of_an_emulated_node(bench: Any) -> None:
    """Its compute time is at least the given one, and the report says that it is emulated."""
    emulate = {"vcpus": 1, "reference_ms": {"d7": 200.0, "d3": 60.0}}
    report = asyncio.run(one_report(bench, bench.config("s1", models=LIGHT, emulate=emulate)))

    assert (Outcome.DONE, True) == (report.outcome, report.emulated)
    assert report.stages.compute_ms > 199.999


def test_offload_to_an_edge_agent(bench: Any) -> None:
    """Decided d7 at the edge: the label and the times come from there, and the stages add up."""

    async def scenario() -> Report:
        edge = bench.config("edge", "edge", models={"pool": ["d7"]})
        async with bench.orchestrator() as orchestrator, bench.agent(edge):
            await orchestrator.state_of("edge", NodeState.ONLINE)
            async with bench.agent(bench.config("s1", models=LIGHT)):
                orchestrator.decide = lambda _node, request: orchestrator.decision(request, **TO_EDGE)
                await orchestrator.state_of("s1", NodeState.ONLINE)
                orchestrator.open_round()
                report: Report = await orchestrator.report()
                return report

    report = asyncio.run(scenario())
    stages = report.stages
    parts = (stages.decide_ms, stages.encode_ms, stages.uplink_ms, stages.queue_ms, stages.compute_ms)

    assert (Outcome.DONE, Tier.EDGE, "edge", None) == (
        report.outcome,
        report.tier,
        report.serving_node,
        report.reason,
    )
    assert report.label
    assert all(part > 0 for part in parts)
    assert pytest.approx(report.response_ms) == sum(parts) + stages.downlink_ms


def test_a_serving_node_that_is_not_there(bench: Any) -> None:
    """No answer by the deadline: the fallback model runs here."""
    changes = {**TO_EDGE, "deadline_ms": 300.0, "fallback_model": "d3"}
    report = asyncio.run(one_report(bench, bench.config("s1", models=LIGHT), **changes))

    assert (Outcome.FALLEN_BACK, True, Tier.END, "d3", "s1", "edge: no result in time") == (
        report.outcome,
        report.decided,
        report.tier,
        report.model,
        report.serving_node,
        report.reason,
    )


def test_a_serving_node_that_is_full(bench: Any) -> None:
    """Its refusal `busy` lets one device fall back an hour before its deadline; the other one has its place."""

    async def scenario() -> list[Report]:
        edge = bench.config(
            "edge", "edge", models={"pool": ["d7"]}, emulate=FOREVER, service={"workers": 1, "queue_length": 0}
        )
        async with bench.orchestrator() as orchestrator, bench.process(edge) as process:
            await orchestrator.state_of("edge", NodeState.ONLINE)
            async with bench.agent(bench.config("s1", models=LIGHT)), bench.agent(bench.config("s2", models=LIGHT)):
                orchestrator.decide = lambda _node, request: orchestrator.decision(
                    request, **TO_EDGE, deadline_ms=3_600_000.0
                )
                await orchestrator.state_of("s1", NodeState.ONLINE)
                await orchestrator.state_of("s2", NodeState.ONLINE)
                orchestrator.open_round()
                refused = await orchestrator.report()
                process.kill()
                return [refused, await orchestrator.report()]

    first, second = asyncio.run(scenario())

    assert (Outcome.FALLEN_BACK, Tier.END) == (first.outcome, first.tier)
    assert str(first.reason).startswith("edge: busy")
    assert str(second.reason).startswith("edge: edge is offline")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, "edge: edge is offline"),
        (signal.SIGTERM, "edge: stopping"),
        (signal.SIGSTOP, "edge: edge is silent"),
    ],
)
def test_a_serving_node_that_ends_or_freezes_while_it_serves(bench: Any, number: int, reason: str) -> None:
    """Its will, the answer `stopping` with which it goes, or its silence ends the wait an hour before the deadline."""

    async def scenario() -> Report:
        edge = bench.config("edge", "edge", models={"pool": ["d7"]}, emulate=FOREVER)
        async with bench.orchestrator() as orchestrator, bench.process(edge) as process:
            await orchestrator.state_of("edge", NodeState.ONLINE)
            async with bench.agent(bench.config("s1", models=LIGHT)) as device:
                orchestrator.decide = lambda _node, request: orchestrator.decision(
                    request, **TO_EDGE, deadline_ms=3_600_000.0
                )
                await orchestrator.state_of("s1", NodeState.ONLINE)
                orchestrator.open_round()
                await bench.until(lambda: device.monitor.link.uplink_mbit_s(device.clock.monotonic()) is not None)
                process.send_signal(number)
                report: Report = await orchestrator.report()
                return report

    report = asyncio.run(scenario())

    assert (Outcome.FALLEN_BACK, Tier.END) == (report.outcome, report.tier)
    assert str(report.reason).startswith(reason)


@pytest.mark.parametrize("how", ["offline", "stopped", "silent"])
def test_an_orchestrator_that_is_gone_is_not_waited_for(bench: Any, how: str) -> None:
    """What waits for its decision runs here at once, and so does what comes after, until it is back."""

    async def scenario() -> list[Report]:
        requester = {"mode": "periodic", "period_s": 0.05, "decision_timeout_ms": 3_600_000}
        async with bench.orchestrator() as orchestrator:
            client = orchestrator.client
            client.publish_state(NodeState.ONLINE)
            goal = Goal(accuracy_floor_percent=85.0, policy="scripted", policy_version=1)
            orchestrator.send(client.node, Channel.GOAL, goal)
            async with bench.agent(bench.config("s1", models=LIGHT, requester=requester)):
                await bench.until(lambda: len(orchestrator.requests) == 1)
                if how != "silent":
                    client.publish_state(NodeState(how))
                reports = [await orchestrator.report(), await orchestrator.report()]
                asked = len(orchestrator.requests)
                orchestrator.decide = lambda _node, request: orchestrator.decision(request)
                client.publish_state(NodeState.ONLINE)
                orchestrator.send(client.node, Channel.HEARTBEAT, Heartbeat(session=client.session, seq=1))
                reports += [await orchestrator.report()]
                while not reports[-1].decided:
                    reports.append(await orchestrator.report())
                assert 1 == asked
                return reports

    *lonely, last = asyncio.run(scenario())

    assert {(Outcome.FALLEN_BACK, False, f"the orchestrator is {how}")} == {
        (report.outcome, report.decided, report.reason) for report in lonely
    }
    assert (Outcome.DONE, True) == (last.outcome, last.decided)


def test_no_decision(bench: Any) -> None:
    """The most accurate model here runs, not the quickest."""
    requester = {"mode": "closed_loop", "decision_timeout_ms": 100, "open_timeout_s": 600}

    async def scenario() -> Report:
        config = bench.config("s1", models=LIGHT, requester=requester)
        async with bench.orchestrator() as orchestrator, bench.agent(config):
            await orchestrator.state_of("s1", NodeState.ONLINE)
            orchestrator.open_round()
            report: Report = await orchestrator.report()
            return report

    report = asyncio.run(scenario())

    assert (Outcome.FALLEN_BACK, False, "d3", "no decision") == (
        report.outcome,
        report.decided,
        report.model,
        report.reason,
    )


def test_a_decision_for_a_model_that_is_not_here(bench: Any) -> None:
    """The fallback model runs, and the report names what was lacking."""
    report = asyncio.run(one_report(bench, bench.config("s1", models=LIGHT), model="d0", fallback_model="d3"))

    assert (Outcome.FALLEN_BACK, "d3", "d0 is not on this node") == (report.outcome, report.model, report.reason)


def test_a_local_run_that_misses_its_deadline(bench: Any) -> None:
    """The run is given up, and the fallback model runs in its place."""
    emulate = {"vcpus": 1, "contention": 1.0, "reference_ms": {"d7": 3_600_000.0, "d3": 200.0}}
    config = bench.config("s1", models=LIGHT, emulate=emulate, service={"discipline": "time_shared"})
    report = asyncio.run(one_report(bench, config, deadline_ms=100.0, fallback_model="d3"))

    assert (Outcome.FALLEN_BACK, "d3") == (report.outcome, report.model)
    assert report.stages.compute_ms > 199.999
    assert str(report.reason).startswith("d7: expired")


def test_a_node_without_any_model(bench: Any, tmp_path: Path) -> None:
    """The request fails, and the report says which command mends it."""
    empty = {"pool": ["d7"], "directory": str(tmp_path / "none")}
    report = asyncio.run(one_report(bench, bench.config("s1", models=empty)))

    assert (Outcome.FAILED, None) == (report.outcome, report.label)
    assert "tierwise-agent models fetch" in str(report.reason)


def test_an_image_that_the_broker_would_not_take(bench: Any) -> None:
    """An upload above the limit is not tried; the device falls back."""
    images = {"width_px": 1920, "jpeg_quality": 100}
    requester = {"mode": "closed_loop", "decision_timeout_ms": 20_000, "images": images}
    report = asyncio.run(one_report(bench, bench.config("s1", models=LIGHT, requester=requester), **TO_EDGE))

    assert Outcome.FALLEN_BACK is report.outcome
    assert "bytes on infer" in str(report.reason)


def test_forged_and_repeated_messages_change_nothing(bench: Any) -> None:
    """Only the first consistent decision for the pending request counts; each other one is counted by its reason."""

    async def scenario() -> tuple[Report, dict[str, int]]:
        async with bench.orchestrator() as orchestrator, bench.agent(bench.config("s1", models=LIGHT)) as device:

            def decide(node: NodeId, request: str) -> Decision:
                for forged in (
                    orchestrator.decision("somebody-elses"),
                    orchestrator.decision(request, serving_node="edge"),
                    orchestrator.decision(request, tier=Tier.EDGE),
                ):
                    orchestrator.send(node, Channel.DECISION, forged)
                orchestrator.send(node, Channel.DECISION, orchestrator.decision(request, model="d3"))
                last: Decision = orchestrator.decision(request, model="d7")
                return last

            orchestrator.decide = decide
            await orchestrator.state_of("s1", NodeState.ONLINE)
            orchestrator.open_round()
            report: Report = await orchestrator.report()
            orchestrator.send(S1, Channel.DECISION, orchestrator.decision(report.request_id))
            await bench.until(lambda: device.client.refused["late"] > 0)
            return report, dict(device.client.refused)

    report, refused = asyncio.run(scenario())

    assert (Outcome.DONE, "d3") == (report.outcome, report.model)
    assert {"unknown_request": 1, "inconsistent": 2, "repeated": 1, "late": 1} == refused


def test_without_a_broker_local_inference_goes_on(bench: Any) -> None:
    """Requests made in an outage end here, and their reports arrive when there is a broker again."""
    from broker.mosquitto import MosquittoProcess, MosquittoSettings
    from broker.ports import free_port

    async def scenario(directory: Path) -> list[Report]:
        bench.endpoint = type(bench.endpoint)(port=free_port())
        requester = {"mode": "periodic", "period_s": 0.05, "decision_timeout_ms": 20_000}
        async with bench.agent(bench.config("s1", models=LIGHT, requester=requester)) as device:
            await bench.until(lambda: len(device.outbox) >= 2)
            settings = MosquittoSettings(port=bench.endpoint.port, directory=directory)
            with MosquittoProcess(settings):
                async with bench.orchestrator() as orchestrator:
                    orchestrator.decide = lambda _node, request: orchestrator.decision(request)
                    reports = [await orchestrator.report()]
                    while reports[-1].decided is False:
                        reports.append(await orchestrator.report())
                    return reports

    reports = asyncio.run(scenario(bench.directory / "late-broker"))
    lonely = [report for report in reports if not report.decided]

    assert len(lonely) >= 2
    assert {(Outcome.FALLEN_BACK, "d3")} == {(report.outcome, report.model) for report in lonely}
    assert (Outcome.DONE, "d7") == (reports[-1].outcome, reports[-1].model)
    assert len(reports) == len({report.request_id for report in reports})


def test_a_broker_that_dies_during_a_request(own_mosquitto: Any, bench: Any) -> None:
    """The wait for a decision ends with the link; later requests are decided again, and no report is lost."""

    async def scenario() -> list[Report]:
        bench.endpoint = own_mosquitto.endpoint
        requester = {"mode": "periodic", "period_s": 0.05, "decision_timeout_ms": 1000}
        config = bench.config("s1", models=LIGHT, requester=requester)
        async with bench.orchestrator() as orchestrator, bench.agent(config):
            await bench.until(lambda: len(orchestrator.requests) > 0)
            own_mosquitto.stop()
            own_mosquitto.start()
            orchestrator.decide = lambda _node, request: orchestrator.decision(request)
            reports = [await orchestrator.report()]
            while not (any(one.reason == "link lost" for one in reports) and any(one.decided for one in reports)):
                reports.append(await orchestrator.report())
            return reports

    reports = asyncio.run(scenario())
    undecided = {report.outcome for report in reports if not report.decided}
    decided = {report.outcome for report in reports if report.decided}

    assert ({Outcome.FALLEN_BACK}, {Outcome.DONE}) == (undecided, decided)
