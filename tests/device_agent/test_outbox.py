"""Reports are kept until the orchestrator has stored them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.client import Endpoint, MqttClient
from broker.clock import ManualClock
from broker.messages import Report, ReportAck, Stages
from broker.ports import free_port
from broker.topics import Channel
from broker.vocabulary import NodeId, NodeState, Outcome, SiteId, Tier
from configs.node import MonitoringSection
from device_agent.monitoring.monitor import ResourceMonitor
from device_agent.monitoring.resources import Resources
from device_agent.outbox import BATCH, RESEND_AFTER_S, Outbox
from device_agent.outbox_file import ENDED_EARLY


def report(number: int) -> Report:
    return Report(
        request_id=f"request-{number:04}",
        outcome=Outcome.DONE,
        decided=True,
        tier=Tier.END,
        model="d0",
        serving_node="s1",
        response_ms=1.0,
        stages=Stages(),
    )


class Idle:
    emulated = False
    waiting = 0
    overruns = 0


def outbox_on(endpoint: Endpoint, site: SiteId, clock: ManualClock, limit: int = 10) -> tuple[MqttClient, Outbox]:
    client = MqttClient(endpoint, site, NodeId("s1"), "agent")
    monitor = ResourceMonitor(client, MonitoringSection(), Resources(), Idle(), clock)
    return client, Outbox(client, monitor, clock, limit)


@asynccontextmanager
async def running(client: MqttClient) -> AsyncIterator[None]:
    link = asyncio.create_task(client.run(), name="device-link")
    try:
        yield
    finally:
        await client.stop()
        await link


def test_the_oldest_report_is_dropped_first_and_counted(site: SiteId) -> None:
    """Beyond its limit the outbox forgets what is oldest."""

    async def scenario() -> None:
        _, outbox = outbox_on(Endpoint(port=free_port()), site, ManualClock(), limit=3)
        for number in range(5):
            outbox.add(report(number))

        assert (3, 2) == (len(outbox), outbox.dropped)

    asyncio.run(scenario())


def test_reports_of_an_outage_arrive_after_it_once_each(bench: Any, site: SiteId) -> None:
    """What was added without a broker is sent on connect, in order, and forgotten when it is acknowledged."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator:
            client, outbox = outbox_on(bench.endpoint, site, ManualClock())
            for number in range(3):
                outbox.add(report(number))
            async with running(client):
                arrived = [await orchestrator.report() for _ in range(3)]
                emptied = await outbox.emptied(30.0)

            assert [f"request-{number:04}" for number in range(3)] == [one.request_id for one in arrived]
            assert (True, 0, 0) == (emptied, len(outbox), orchestrator.reports.qsize())

    asyncio.run(scenario())


def test_a_report_is_sent_again_until_it_is_acknowledged(bench: Any, site: SiteId) -> None:
    """A PUBACK is not delivery: only the orchestrator's own word ends it. Pauses between tries grow."""

    async def scenario() -> None:
        clock = ManualClock()
        async with bench.orchestrator() as orchestrator:
            orchestrator.acknowledges = False
            client, outbox = outbox_on(bench.endpoint, site, clock)
            async with running(client):
                sweeps = asyncio.create_task(outbox.send_for_ever(), name="sweeps")
                await client.wait_connected(120.0)
                outbox.add(report(1))
                await orchestrator.report()
                clock.advance(RESEND_AFTER_S)
                await orchestrator.report()
                clock.advance(2 * RESEND_AFTER_S)
                again = await orchestrator.report()
                orchestrator.send(NodeId("s1"), Channel.REPORT_ACK, ReportAck(request_ids=["request-9999"]))
                orchestrator.send(NodeId("s1"), Channel.REPORT_ACK, ReportAck(request_ids=[again.request_id]))
                emptied = await outbox.emptied(30.0)
                sweeps.cancel()

            assert ("request-0001", True) == (again.request_id, emptied)

    asyncio.run(scenario())


def test_a_new_report_does_not_wait_behind_a_backlog(bench: Any, site: SiteId) -> None:
    """Its round waits for it; what an outage left behind follows in batches."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator:
            orchestrator.acknowledges = False
            client, outbox = outbox_on(bench.endpoint, site, ManualClock(), limit=1000)
            for number in range(5 * BATCH):
                outbox.add(report(number))
            async with running(client):
                await client.wait_connected(120.0)
                outbox.add(report(9999))
                arrived = [(await orchestrator.report()).request_id for _ in range(BATCH + 1)]

            assert "request-9999" == arrived[-1]

    asyncio.run(scenario())


def test_a_backlog_says_nothing_about_the_link(bench: Any, site: SiteId) -> None:
    """Fifty reports at once wait for each other; only one that travels alone measures a round trip."""

    async def scenario() -> None:
        clock = ManualClock()
        async with bench.orchestrator():
            client = MqttClient(bench.endpoint, site, NodeId("s1"), "agent")
            monitor = ResourceMonitor(client, MonitoringSection(), Resources(), Idle(), clock)
            outbox = Outbox(client, monitor, clock)
            for number in range(BATCH):
                outbox.add(report(number))
            async with running(client):
                emptied = await outbox.emptied(30.0)
                of_the_backlog = monitor.link.rtt_ms(clock.monotonic())
                outbox.add(report(9999))
                await bench.until(lambda: monitor.link.rtt_ms(clock.monotonic()) is not None)

            assert (True, None) == (emptied, of_the_backlog)

    asyncio.run(scenario())


@pytest.mark.models
def test_a_request_that_its_node_did_not_survive_is_reported_as_failed(bench: Any) -> None:
    """A device that is killed in the middle of a request says so in its next life, under the request's id."""

    async def scenario() -> None:
        emulate = {"vcpus": 1, "reference_ms": {"d7": 3_600_000.0}}
        config = bench.config("s1", models={"pool": ["d7"]}, emulate=emulate)
        async with bench.orchestrator() as orchestrator:
            orchestrator.decide = lambda _node, request: orchestrator.decision(request, deadline_ms=3_600_000.0)
            async with bench.process(config) as process:
                await orchestrator.state_of("s1", NodeState.ONLINE)
                orchestrator.open_round()
                await bench.until(lambda: len(orchestrator.requests) == 1)
                process.kill()
            async with bench.process(config):
                report = await orchestrator.report()

            expected = (orchestrator.requests[0][1], Outcome.FAILED, ENDED_EARLY)
            assert expected == (report.request_id, report.outcome, report.reason)

    asyncio.run(scenario())


@pytest.mark.models
def test_a_report_outlives_the_node_that_made_it(bench: Any) -> None:
    """A device that is killed before the orchestrator has stored its report sends the same report in its next life."""

    async def scenario() -> None:
        emulate = {"vcpus": 1, "reference_ms": {"d7": 5.0}}
        config = bench.config("s1", models={"pool": ["d7"]}, emulate=emulate)
        async with bench.orchestrator() as orchestrator:
            orchestrator.acknowledges = False
            orchestrator.decide = lambda _node, request: orchestrator.decision(request)
            async with bench.process(config) as process:
                await orchestrator.state_of("s1", NodeState.ONLINE)
                orchestrator.open_round()
                first = await orchestrator.report()
                # The second request is on record, and so is what was written before it.
                orchestrator.open_round(2)
                await bench.until(lambda: len(orchestrator.requests) == 2)
                process.kill()
            while not orchestrator.reports.empty():
                orchestrator.reports.get_nowait()
            orchestrator.acknowledges = True
            async with bench.process(config):
                second = await orchestrator.report()

            assert (Outcome.DONE, first) == (first.outcome, second)

    asyncio.run(scenario())
