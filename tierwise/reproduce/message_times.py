"""What messages take on the real stack: rows of Table 12 from a fleet's response log. Pure but for reading the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from broker.vocabulary import Link
from configs.orchestrator import Policy
from tierwise.reproduce.artifact import Row
from tierwise.reproduce.fleet_run import Site
from tierwise.reproduce.published import published

# Only what ended as decided: a fallback's uplink is that of an attempt that failed.
REQUESTS = """
    SELECT policy, tier, response_ms, decide_ms, encode_ms, uplink_ms FROM response
    WHERE outcome = 'done' AND policy = '{policy}' ORDER BY id
"""
# Before the first response, round trips are those of processes that are still starting.
UPDATES = """
    SELECT rtt_ms FROM telemetry
    WHERE rtt_ms IS NOT NULL AND link = '{link}' AND time_ns >= (SELECT min(time_ns) FROM response) ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Messages:
    """Times in ms on links of one kind; a value stands for one row of the log."""

    link: Link
    uplink: list[float]  # of offloaded requests, as are encode, decide_offloaded, and response_offloaded
    encode: list[float]
    decide_offloaded: list[float]
    response_offloaded: list[float]
    decide_local: list[float]
    response_local: list[float]
    update: list[float]


def messages_of(site: Site, link: Link) -> Messages:
    """Read `edge_only` and `device_only` of a site whose devices all have this `link`. Raises LogRefused."""
    local = [row for row in site.rows(REQUESTS.format(policy=Policy.DEVICE_ONLY)) if row["tier"] == "end"]
    offloaded = [row for row in site.rows(REQUESTS.format(policy=Policy.EDGE_ONLY)) if row["tier"] == "edge"]
    return Messages(
        link=link,
        uplink=[row["uplink_ms"] for row in offloaded],
        encode=[row["encode_ms"] for row in offloaded],
        decide_offloaded=[row["decide_ms"] for row in offloaded],
        response_offloaded=[row["response_ms"] for row in offloaded],
        decide_local=[row["decide_ms"] for row in local],
        response_local=[row["response_ms"] for row in local],
        update=[row["rtt_ms"] for row in site.rows(UPDATES.format(link=link))],
    )


def message_rows(messages: Messages) -> Iterator[Row]:
    """Table 12's four rows for one kind of link, and encoding, which the paper does not have."""
    said = published()["table12_message_overhead_ms"][messages.link]
    decide = messages.decide_offloaded + messages.decide_local
    update_ms = median(messages.update)
    pairs = zip(messages.uplink, messages.decide_offloaded, strict=True)
    whole = [uplink_ms + decide_ms + update_ms for uplink_ms, decide_ms in pairs]
    yield _row("request", messages.link, said["request"], messages.uplink)
    yield _row("update", messages.link, said["update"], messages.update)
    yield _row("decision", messages.link, said["decision"], decide)
    yield _row("total", messages.link, round(sum(said.values()), 1), whole)
    yield _row("encoding (not a message)", messages.link, None, messages.encode)


def share_rows(messages: Messages) -> Iterator[Row]:
    """What of a response time is broadcasting: the median over requests, in %."""
    update_ms = median(messages.update)
    kinds = [
        ("update, decision", Policy.DEVICE_ONLY, messages.decide_local, messages.response_local),
        ("update, decision", Policy.EDGE_ONLY, messages.decide_offloaded, messages.response_offloaded),
    ]
    with_image = [sum(pair) for pair in zip(messages.decide_offloaded, messages.uplink, strict=True)]
    kinds.append(("update, decision, request", Policy.EDGE_ONLY, with_image, messages.response_offloaded))
    most = published()["overheads"]["broadcasting_percent_of_response"]
    for what, policy, sent_ms, response_ms in kinds:
        shares = [100 * (ms + update_ms) / whole for ms, whole in zip(sent_ms, response_ms, strict=True)]
        share = median(shares)
        yield {
            "link": str(messages.link),
            "strategy": str(policy),
            "messages": what,
            "share_percent": round(share, 2),
            "published_percent": most,
            "agrees": share <= most,
            "n": len(shares),
        }


def _row(message: str, link: Link, published_ms: float | None, values: Sequence[float]) -> Row:
    return {
        "message": message,
        "link": str(link),
        "published_ms": published_ms,
        "ours_ms": round(median(values), 2),
        "p95_ms": round(quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0], 2),
        "n": len(values),
    }
