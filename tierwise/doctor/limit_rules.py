"""Rules about mosquitto.conf's delays and limits."""

from __future__ import annotations

from collections.abc import Iterator

from tierwise.doctor.broker_rules import LARGEST_MESSAGE
from tierwise.doctor.conf import Conf
from tierwise.doctor.finding import Rules, Told

LARGE_PACKET = 4_000_000
LARGE_QUEUE = 1_000_000_000
LONG_KEEPALIVE_S = 300

limit_rules: Rules[Conf] = Rules()


@limit_rules.warning("no-delay")
def no_delay(conf: Conf) -> Iterator[Told]:
    """QoS 1 takes 44 ms and more instead of 0.3."""
    option = conf.options.get("set_tcp_nodelay")
    if option is None or not option.is_true:
        yield Told("small messages wait 40 ms for each other", "set_tcp_nodelay true", conf.line("set_tcp_nodelay"))


@limit_rules.error("packet-size-unlimited")
def packet_size_unlimited(conf: Conf) -> Iterator[Told]:
    """One client can make the broker hold 256 MB a message."""
    limit = conf.number("max_packet_size")
    if limit is None or not 0 < limit <= LARGE_PACKET:
        yield Told("a message may have any size", "max_packet_size 300000", conf.line("max_packet_size"))


@limit_rules.error("packet-size-too-small")
def packet_size_too_small(conf: Conf) -> Iterator[Told]:
    """A client that sends an image is disconnected, sends it again, and never gets out of that."""
    limit = conf.number("max_packet_size")
    if limit is not None and 0 < limit < LARGEST_MESSAGE:
        yield Told(f"no image fits into {limit} bytes", "max_packet_size 300000", conf.line("max_packet_size"))


@limit_rules.error("queue-bytes-unlimited")
def queue_bytes_unlimited(conf: Conf) -> Iterator[Told]:
    """A client that does not read made the broker grow to 438 MB."""
    limit = conf.number("max_queued_bytes")
    if limit is None or not 0 < limit <= LARGE_QUEUE:
        yield Told("one client may take all memory", "max_queued_bytes 50000000", conf.line("max_queued_bytes"))


@limit_rules.error("queue-length-unlimited")
def queue_length_unlimited(conf: Conf) -> Iterator[Told]:
    """0 is no limit; leaving it out is 1000."""
    if conf.number("max_queued_messages") == 0:
        yield Told("the queue of one client has no end", "max_queued_messages 1000", conf.line("max_queued_messages"))


@limit_rules.warning("connections-unlimited")
def connections_unlimited(conf: Conf) -> Iterator[Told]:
    """Connections that say nothing hold their place for 95 s."""
    limits = [found.options["max_connections"].value for found in conf.listeners if "max_connections" in found.options]
    if "max_connections" in conf.options:
        limits.append(conf.options["max_connections"].value)
    if not limits or "-1" in limits:
        yield Told("any number of connections is taken", "max_connections 2000, or twice the number of clients")


@limit_rules.warning("keep-alive-unlimited")
def keep_alive_unlimited(conf: Conf) -> Iterator[Told]:
    """A client that is gone keeps its place, and its last will is late."""
    limit = conf.number("max_keepalive")
    if limit is None or not 0 < limit <= LONG_KEEPALIVE_S:
        yield Told("clients may be silent for hours", "max_keepalive 60", conf.line("max_keepalive"))


@limit_rules.warning("quality-of-service")
def quality_of_service(conf: Conf) -> Iterator[Told]:
    """QoS 2 lost messages of a client that was killed; nothing of ours uses it."""
    limit = conf.number("max_qos")
    if limit is None or limit > 1:
        yield Told("QoS 2 is taken, which nothing here uses", "max_qos 1", conf.line("max_qos"))
