"""`infer` as any device may send it, right and wrong, to a real edge agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.client import Inbound, MqttClient
from broker.messages import Result
from broker.tickets import TicketKey
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, RequestId
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import SHIPPED_PHOTOGRAPHS

EDGE = NodeId("edge")


class Sender:
    """A device that sends what the test says, and collects what comes back."""

    def __init__(self, client: MqttClient) -> None:
        self.client = client
        self.results: asyncio.Queue[Result] = asyncio.Queue()
        client.subscribe(filter_for(client.site, Channel.RESULT, client.node), Channel.RESULT, self._on_result)

    def infer(self, request: str | None, image: bytes, **properties: str) -> None:
        address = Address(self.client.site, EDGE, Channel.INFER, self.client.node)
        self.client.publish(address, image, correlation=request.encode() if request else None, properties=properties)

    async def result(self) -> Result:
        async with asyncio.timeout(120):
            return await self.results.get()

    def _on_result(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Result):
            self.results.put_nowait(inbound.body)


def photograph() -> bytes:
    return encode_for_offload(sorted(SHIPPED_PHOTOGRAPHS.glob("*.jpg"))[0].read_bytes(), 224, 90)


def exchange(bench: Any, scenario: Any, **sections: Any) -> None:
    """Run `scenario(sender, edge)` beside a real edge agent with d7, in the time that inference takes."""

    async def whole() -> None:
        async with bench.orchestrator() as orchestrator:
            sender = Sender(MqttClient(bench.endpoint, bench.site, NodeId("s1"), "test", announces_state=False))
            link = asyncio.create_task(sender.client.run(), name="sender-link")
            await sender.client.wait_connected(120.0)
            async with bench.agent(bench.config("edge", "edge", models={"pool": ["d7"]}, **sections)) as edge:
                await orchestrator.state_of("edge", NodeState.ONLINE)
                await scenario(sender, edge)
            await sender.client.stop()
            await link

    asyncio.run(whole())


@pytest.mark.models
def test_a_right_image_gets_a_label(bench: Any) -> None:
    """The answer names the request and the model, and carries measured times."""

    async def scenario(sender: Sender, _edge: Any) -> None:
        sender.infer("request-0001", photograph(), model="d7", deadline_ms="20000")
        result = await sender.result()

        assert ("request-0001", "d7", None, False) == (result.request_id, result.model, result.refused, result.emulated)
        assert result.label
        assert result.compute_ms > 0

    exchange(bench, scenario)


@pytest.mark.models
@pytest.mark.parametrize(
    ("properties", "image", "refused"),
    [
        ({"model": "d7", "deadline_ms": "20000"}, b"no photograph", "bad_image"),
        ({"model": "d0", "deadline_ms": "20000"}, None, "unknown_model"),
        ({"model": "../../etc/passwd", "deadline_ms": "20000"}, None, "unknown_model"),
        ({"deadline_ms": "20000"}, None, "unknown_model"),
        ({"model": "d7"}, None, "failed"),
        ({"model": "d7", "deadline_ms": "soon"}, None, "failed"),
        ({"model": "d7", "deadline_ms": "nan"}, None, "failed"),
        ({"model": "d7", "deadline_ms": "-1"}, None, "failed"),
        ({"model": "d7", "deadline_ms": "0"}, None, "expired"),
    ],
)
def test_a_wrong_one_gets_its_refusal(
    bench: Any, properties: dict[str, str], image: bytes | None, refused: str
) -> None:
    """Whoever says which request it is gets an answer that says what was wrong, and the next one is served."""

    async def scenario(sender: Sender, _edge: Any) -> None:
        sender.infer("request-0001", image or photograph(), **properties)
        wrong = await sender.result()
        sender.infer("request-0002", photograph(), model="d7", deadline_ms="20000")
        right = await sender.result()

        assert ("request-0001", refused, None) == (wrong.request_id, wrong.refused, wrong.label)
        assert ("request-0002", None) == (right.request_id, right.refused)

    exchange(bench, scenario)


@pytest.mark.models
@pytest.mark.parametrize("request_id", [None, "short", "no spaces allowed"])
def test_an_image_without_its_request_is_counted_and_not_answered(bench: Any, request_id: str | None) -> None:
    """Nobody could tell what the answer would belong to; telemetry counts it."""

    async def scenario(sender: Sender, edge: Any) -> None:
        sender.infer(request_id, photograph(), model="d7", deadline_ms="20000")
        sender.infer("request-0002", photograph(), model="d7", deadline_ms="20000")
        result = await sender.result()

        assert ("request-0002", 0) == (result.request_id, sender.results.qsize())
        assert 1 == edge.client.refused["malformed"]

    exchange(bench, scenario)


@pytest.mark.models
def test_an_image_that_comes_twice_is_served_once(bench: Any) -> None:
    """QoS 1 may deliver twice; the second copy of what is being served is refused and counted."""

    async def scenario(sender: Sender, edge: Any) -> None:
        for _ in range(2):
            sender.infer("request-0001", photograph(), model="d7", deadline_ms="20000")
        await sender.result()
        sender.infer("request-0002", photograph(), model="d7", deadline_ms="20000")
        second = await sender.result()

        assert ("request-0002", 1) == (second.request_id, edge.client.refused["repeated"])

    slow = {"vcpus": 1, "reference_ms": {"d7": 100.0}}
    exchange(bench, scenario, emulate=slow)


@pytest.mark.models
def test_a_full_node_refuses_at_once(bench: Any) -> None:
    """With one job running and no place to wait, the second is `busy` and the first is not disturbed."""

    async def scenario(sender: Sender, _edge: Any) -> None:
        sender.infer("request-0001", photograph(), model="d7", deadline_ms="20000")
        sender.infer("request-0002", photograph(), model="d7", deadline_ms="20000")
        refusal, result = await sender.result(), await sender.result()

        assert ("request-0002", "busy") == (refusal.request_id, refusal.refused)
        assert ("request-0001", None, True) == (result.request_id, result.refused, result.emulated)

    exchange(
        bench, scenario, emulate={"vcpus": 1, "reference_ms": {"d7": 300.0}}, service={"workers": 1, "queue_length": 0}
    )


@pytest.mark.models
def test_a_device_that_floods_a_node_takes_no_place_from_who_has_a_decision(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 60 jobs without a ticket, or with a forged or used one, at most three are taken at a time; none is in the way
    of jobs with tickets, which all get their label."""
    key = TicketKey(bytes(32))
    monkeypatch.setattr("device_agent.agent.ticket_key_of", lambda _endpoint: key)

    def ticket(device: str, request: str) -> str:
        return key.ticket(EDGE, NodeId(device), RequestId(request))

    async def scenario(good: Sender, _edge: Any) -> None:
        bad = Sender(MqttClient(bench.endpoint, bench.site, NodeId("bad"), "test", announces_state=False))
        link = asyncio.create_task(bad.client.run(), name="bad-link")
        await bad.client.wait_connected(30.0)
        rest = {"model": "d7", "deadline_ms": "20000"}
        own = ticket("bad", "request-used")
        bad.infer("request-used", photograph(), ticket=own, **rest)
        first = await bad.result()
        for number in range(20):
            bad.infer(f"request-1{number:03d}", photograph(), **rest)
            bad.infer(f"request-2{number:03d}", photograph(), ticket=ticket("s1", f"request-2{number:03d}"), **rest)
            bad.infer("request-used", photograph(), ticket=own, **rest)
        results = []
        for number in range(3):
            request = f"request-000{number}"
            good.infer(request, photograph(), ticket=ticket("s1", request), **rest)
            results.append(await good.result())
        turned_away = [await bad.result() for _ in range(40)]
        await bad.client.stop()
        await link

        assert first.refused is None
        assert [None] * 3 == [result.refused for result in results]
        assert sum(result.refused == "busy" for result in turned_away) >= 35
        assert any(result.refused is None for result in turned_away)  # it is served too, after the others

    slow = {"vcpus": 1, "reference_ms": {"d7": 100.0}}
    exchange(bench, scenario, emulate=slow, service={"workers": 1, "queue_length": 8})


@pytest.mark.models
def test_until_the_first_ticket_all_devices_are_alike(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orchestrator that was not started anew since the key came has no tickets: its devices run side by side."""
    monkeypatch.setattr("device_agent.agent.ticket_key_of", lambda _endpoint: TicketKey(bytes(32)))

    async def scenario(sender: Sender, edge: Any) -> None:
        for number in range(2):
            sender.infer(f"request-000{number}", photograph(), model="d7", deadline_ms="20000")
        await bench.until(lambda: edge.service.in_service == 2)
        results = [await sender.result(), await sender.result()]

        assert [None, None] == [result.refused for result in results]

    exchange(bench, scenario, emulate={"vcpus": 2, "reference_ms": {"d7": 300.0}}, service={"workers": 2})


@pytest.mark.models
def test_a_node_that_is_stopped_hands_back_what_waits(bench: Any) -> None:
    """The running job ends with its label, the waiting one with `stopping`, both before the node says `stopped`."""

    async def scenario() -> None:
        async with bench.orchestrator() as orchestrator:
            sender = Sender(MqttClient(bench.endpoint, bench.site, NodeId("s1"), "test", announces_state=False))
            link = asyncio.create_task(sender.client.run(), name="sender-link")
            await sender.client.wait_connected(120.0)
            slow = {"vcpus": 1, "reference_ms": {"d7": 500.0}}
            config = bench.config("edge", "edge", models={"pool": ["d7"]}, emulate=slow)
            async with bench.agent(config) as edge:
                await orchestrator.state_of("edge", NodeState.ONLINE)
                for number in range(2):
                    sender.infer(f"request-000{number}", photograph(), model="d7", deadline_ms="20000")
                await bench.until(lambda: edge.service.waiting == 1)
            results = {result.request_id: result.refused for result in (await sender.result(), await sender.result())}

            assert {"request-0000": None, "request-0001": "stopping"} == results
            await orchestrator.state_of("edge", NodeState.STOPPED)
            await sender.client.stop()
            await link

    asyncio.run(scenario())
