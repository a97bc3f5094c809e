"""One sender's flood is cut, and nobody else's messages; and it does not flood the log."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from broker import rate_limit
from broker.client import MqttClient
from broker.publish_packet import Publish
from broker.rate_limit import RateLimit, RefusalLog
from broker.topics import Address, Channel, filter_for, topic_for
from broker.vocabulary import node_id


def test_a_burst_is_taken_and_then_the_rate() -> None:
    """As many at once as the burst allows, one more for each share of a second, and never more than the burst."""
    limit = RateLimit(per_s=2.0, burst=3.0)

    at_once = [limit.takes("s1", 0.0) for _ in range(4)]
    half_a_second_later = [limit.takes("s1", 0.5) for _ in range(2)]
    much_later = [limit.takes("s1", 1000.0) for _ in range(4)]

    assert ([True, True, True, False], [True, False], [True, True, True, False]) == (
        at_once, half_a_second_later, much_later,
    )  # fmt: skip


def test_the_flood_of_one_sender_costs_another_nothing() -> None:
    """Buckets are each sender's own."""
    limit = RateLimit(per_s=1.0, burst=1.0)
    for _ in range(10):
        limit.takes("flood", 0.0)

    assert limit.takes("s1", 0.0)


def test_senders_without_end_do_not_fill_the_memory(monkeypatch) -> None:
    """Beyond the bound the one that was met first is forgotten."""
    monkeypatch.setattr(rate_limit, "MOST_SENDERS", 2)
    limit = RateLimit(per_s=1.0, burst=1.0)

    assert [True] * 4 == [limit.takes(sender, 0.0) for sender in ("a", "b", "c", "a")]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60).map(sorted))
def test_no_more_is_taken_than_burst_and_rate_allow(moments: list[float]) -> None:
    """However messages are spread, what is taken up to a moment is at most the burst and the rate up to it."""
    limit = RateLimit(per_s=3.0, burst=5.0)
    taken = 0
    for moment_s in moments:
        taken += limit.takes("s1", moment_s)

        assert taken <= 5.0 + 3.0 * moment_s + 1e-6


def test_a_flood_of_refusals_gets_a_few_lines_and_their_number() -> None:
    """So many lines a second; how many went without one is told with the first of a later second."""
    refusals = RefusalLog(lines_per_s=2)

    first_second = [refusals.says(10.2) for _ in range(5)]
    later = refusals.says(12.0)

    assert ([(True, 0), (True, 0), (False, 0), (False, 0), (False, 0)], (True, 3)) == (first_second, later)


def test_what_is_over_the_limit_is_refused_before_it_is_decoded(mosquitto_endpoint, site) -> None:
    """Even rubbish counts as too many, not as malformed: decoding is what a flood may not cost."""

    async def scenario() -> dict[str, int]:
        client = MqttClient(mosquitto_endpoint, site, node_id("orchestrator"), "test", limit=RateLimit(0.001, 1.0))
        client.subscribe(filter_for(site, Channel.TELEMETRY), Channel.TELEMETRY, lambda _inbound: None)
        topic = topic_for(Address(site, node_id("s1"), Channel.TELEMETRY)).encode()
        for _ in range(3):
            client._on_message(Publish(topic, b"rubbish", retain=False))
        return dict(client.refused)

    assert {"malformed": 1, "too_many_messages": 2} == asyncio.run(scenario())
