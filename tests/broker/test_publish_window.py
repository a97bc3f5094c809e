"""QoS 1 publishes of one link: no more in flight than the broker takes, the others in order."""

from __future__ import annotations

import pytest

from broker.errors import NotConnected
from broker.publish_packet import frame_length, read_puback, read_publish, write_publish
from broker.publish_window import FIRST_ID, LAST_ID, MOST_WAITING, PublishWindow


def test_what_is_over_the_limit_leaves_in_order_as_the_broker_takes_the_others() -> None:
    """Two in flight at a time, of four."""
    window = PublishWindow()
    window.most_in_flight = 2
    ids = [window.next_id() for _ in range(4)]

    assert [True, True, False, False] == [window.offer(packet_id, b"%d" % packet_id) for packet_id in ids]
    assert [b"%d" % ids[2], b"%d" % ids[3], None] == [window.taken(packet_id) for packet_id in ids[:3]]


def test_a_puback_of_nothing_in_flight_lets_nothing_go() -> None:
    """Neither of an unknown id, nor of one that waits."""
    window = PublishWindow()
    window.most_in_flight = 1
    first, second = window.next_id(), window.next_id()
    window.offer(first, b"first")
    window.offer(second, b"second")

    assert [None, None, b"second"] == [window.taken(packet_id) for packet_id in (7, second, first)]


def test_ids_come_round_and_leave_out_those_of_subscriptions() -> None:
    """After the last the first again."""
    window = PublishWindow()
    ids = [window.next_id() for _ in range(LAST_ID - FIRST_ID + 2)]

    assert (FIRST_ID, LAST_ID, FIRST_ID) == (ids[0], ids[-2], ids[-1])


def test_a_broker_that_takes_nothing_does_not_fill_the_memory() -> None:
    """Whoever publishes more is told, as if there were no broker."""
    window = PublishWindow()
    window.most_in_flight = 0
    for _ in range(MOST_WAITING):
        window.offer(window.next_id(), b"")
    with pytest.raises(NotConnected, match="wait for the broker"):
        window.next_id()


@pytest.mark.parametrize("size", [0, 100, 20_000, 300_000])
@pytest.mark.parametrize("packet_id", [None, 1024])
def test_a_written_packet_reads_as_what_went_in(size: int, packet_id: int | None) -> None:
    """With lengths of one to three bytes, QoS 0 and 1, an expiry of 10 s."""
    packet = write_publish(b"a/b", b"x" * size, b"\x05\x02\x00\x00\x00\x0a", packet_id, True)
    header, rest = frame_length(packet, 0) or (0, 0)
    told = read_publish(packet[0], packet, header)

    assert len(packet) == header + rest
    assert (b"a/b", size, packet_id, True, 10) == (
        told.topic, len(told.payload), told.packet_id, told.retain, told.expiry_s
    )  # fmt: skip


def test_a_puback_has_a_reason_code_or_means_success() -> None:
    """MQTT 5 lets the code be left out."""
    assert [(1024, 0), (1024, 0x97)] == [read_puback(b"\x40\x02\x04\x00", 2), read_puback(b"\x40\x03\x04\x00\x97", 2)]
