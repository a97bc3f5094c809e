"""Acknowledgements: at once, but of one device not more than once a second."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.clock import ManualClock
from broker.messages import ReportAck
from broker.vocabulary import NodeId, RequestId
from orchestrator.acknowledging import APART_S, Acknowledging

S1, S2 = NodeId("s1"), NodeId("s2")


def _run(scenario: Any) -> list[tuple[NodeId, list[str]]]:
    told: list[tuple[NodeId, list[str]]] = []

    def publish(node: NodeId, ack: ReportAck) -> None:
        told.append((node, list(ack.request_ids)))

    async def run() -> None:
        clock = ManualClock()
        await scenario(Acknowledging(publish, clock), clock)

    asyncio.run(run())
    return told


def _ids(*pairs: tuple[NodeId, str]) -> list[tuple[NodeId, RequestId]]:
    return [(node, RequestId(name)) for node, name in pairs]


def test_the_first_goes_at_once_and_those_within_a_second_together() -> None:
    """Each device for itself."""

    async def scenario(acknowledging: Acknowledging, clock: ManualClock) -> None:
        acknowledging.stored(_ids((S1, "a"), (S1, "b")))
        acknowledging.stored(_ids((S1, "c"), (S2, "d")))
        clock.advance(APART_S / 2)
        acknowledging.stored(_ids((S1, "e")))
        clock.advance(APART_S / 2)
        acknowledging.stored([])

    assert [(S1, ["a", "b"]), (S2, ["d"]), (S1, ["c", "e"])] == _run(scenario)


def test_what_waits_goes_by_itself_when_the_second_is_over() -> None:
    """Though nothing more is stored."""

    async def scenario(acknowledging: Acknowledging, clock: ManualClock) -> None:
        acknowledging.stored(_ids((S1, "a")))
        acknowledging.stored(_ids((S1, "b")))
        clock.advance(APART_S)
        acknowledging._on_time()

    assert [(S1, ["a"]), (S1, ["b"])] == _run(scenario)


def test_at_the_end_all_are_told_at_once() -> None:
    """What waits, and what is stored after that."""

    async def scenario(acknowledging: Acknowledging, _clock: ManualClock) -> None:
        acknowledging.stored(_ids((S1, "a")))
        acknowledging.stored(_ids((S1, "b")))
        acknowledging.close()
        acknowledging.stored(_ids((S1, "c")))

    assert [(S1, ["a"]), (S1, ["b"]), (S1, ["c"])] == _run(scenario)


def test_a_message_names_no_more_ids_than_the_wire_allows() -> None:
    """2,500 of one device are three messages."""

    async def scenario(acknowledging: Acknowledging, _clock: ManualClock) -> None:
        acknowledging.stored(_ids(*((S1, f"request-{number}") for number in range(2500))))

    assert [1000, 1000, 500] == [len(ids) for _, ids in _run(scenario)]
