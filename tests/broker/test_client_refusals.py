"""What the client refuses, on a real Mosquitto."""

from __future__ import annotations

import asyncio

import pytest

from broker.client import Inbound, MqttClient
from broker.messages import Heartbeat
from broker.topics import Address, Channel, filter_for, filter_for_everything
from broker.vocabulary import node_id

DEVICE = node_id("device-1")
WAIT_S = 120.0


@pytest.mark.parametrize(
    ("reason", "channel", "payload"),
    [
        ("malformed", "heartbeat", b"{not json"),
        ("malformed", "heartbeat", b'{"session": 1}'),
        ("empty", "heartbeat", b""),
        ("oversized", "heartbeat", b" " * 20_000),
        ("retained", "decision", b"{}"),
        ("unknown_topic", "no-such-channel", b"{}"),
    ],
)
def test_a_bad_message_is_refused_counted_and_logged(
    mosquitto_endpoint, linked, stranger, caplog, reason, channel, payload, soon
):
    """It is counted under its reason, and the next good message is handled."""

    async def scenario() -> dict[str, int]:
        good: asyncio.Queue[Inbound] = asyncio.Queue()

        def prepare(client: MqttClient) -> None:
            client.subscribe_all(filter_for_everything(client.site), good.put_nowait)

        async with linked(mosquitto_endpoint, "observer", prepare, announces_state=False) as client:
            stranger.publish(
                f"tierwise/v1/{client.site}/device-1/{channel}", payload, qos=1, retain=reason == "retained"
            )
            stranger.publish(f"tierwise/v1/{client.site}/device-1/request", b'{"request_id": "request-1"}', qos=1)
            while (await soon(good.get())).address.channel is not Channel.REQUEST:
                pass
            return dict(client.refused)

    assert {reason: 1} == asyncio.run(scenario())
    assert f"refused reason={reason}" in caplog.text


def test_a_retained_decision_is_refused_by_one_who_comes_later(mosquitto_endpoint, linked, stranger, site, soon):
    """A stored decision is as little acted on as one that arrives with the flag set."""
    stranger.publish(f"tierwise/v1/{site}/device-1/decision", b"{}", qos=1, retain=True).wait_for_publish(WAIT_S)

    async def scenario() -> dict[str, int]:
        seen: asyncio.Queue[Inbound] = asyncio.Queue()

        def prepare(client: MqttClient) -> None:
            client.subscribe(filter_for(client.site, Channel.DECISION), Channel.DECISION, seen.put_nowait)
            client.subscribe(filter_for(client.site, Channel.HEARTBEAT), Channel.HEARTBEAT, seen.put_nowait)

        async with linked(mosquitto_endpoint, "device-1", prepare) as client:
            client.publish(Address(site, DEVICE, Channel.HEARTBEAT), Heartbeat(session=1, seq=0))
            assert Channel.HEARTBEAT == (await soon(seen.get())).address.channel
            return dict(client.refused)

    assert {"retained": 1} == asyncio.run(scenario())
