"""Ready questions in InfluxQL: what people ask of a site. Each is run against a real server in the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.vocabulary import SiteId
from orchestrator.shipping.influxql import quoted


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `template` has places for {site}, a quoted string, and {span}, as in 24h."""

    name: str
    asks: str
    template: str

    def text(self, site: SiteId, span: str) -> str:
        """The InfluxQL for one site and the last `span` of time: a number and one of s, m, h, d, w."""
        return self.template.format(site=quoted(site), span=span)


_HERE = '"site" = {site} AND time > now() - {span}'
_DELIVERED = f"{_HERE} AND \"outcome\" != 'failed'"

QUERIES: Mapping[str, Query] = {
    query.name: query
    for query in (
        Query(
            "slowest-devices",
            "Which five devices are slowest, by their mean response time?",
            'SELECT top("mean_ms", "node", 5) FROM (SELECT mean("response_ms") AS "mean_ms" FROM "response" '
            f'WHERE {_DELIVERED} GROUP BY "node")',
        ),
        Query(
            "p95-by-tier",
            "What is the 95th percentile of the response time, per tier and hour?",
            f'SELECT percentile("response_ms", 95) AS "p95_ms" FROM "response" WHERE {_DELIVERED} '
            'GROUP BY time(1h), "tier" fill(none)',
        ),
        Query(
            "fallback-share",
            "Which share of requests fell back or failed, per hour?",
            'SELECT mean("fallen_back") AS "fallen_back_share", mean("failed") AS "failed_share" FROM "response" '
            f"WHERE {_HERE} GROUP BY time(1h) fill(none)",
        ),
        Query(
            "fallbacks-by-device",
            "Which devices fall back, and how often?",
            'SELECT sum("fallen_back") AS "fallen_back", count("fallen_back") AS "requests" FROM "response" '
            f'WHERE {_HERE} GROUP BY "node"',
        ),
        Query(
            "accuracy-against-floor",
            "Was the average accuracy at or above the floor, per policy and hour?",
            'SELECT mean("accuracy_percent") AS "accuracy_percent", mean("floor_percent") AS "floor_percent" '
            f'FROM "response" WHERE {_DELIVERED} GROUP BY time(1h), "policy" fill(none)',
        ),
        Query(
            "stages",
            "Where does the time go, per tier?",
            "SELECT "
            + ", ".join(
                f'mean("{stage}_ms") AS "{stage}_ms"'
                for stage in ("response", "decide", "encode", "uplink", "queue", "compute", "downlink")
            )
            + f' FROM "response" WHERE {_DELIVERED} GROUP BY "tier"',
        ),
        Query(
            "expected-response",
            "What did the agent expect, per tier and model?",
            'SELECT mean("predicted_ms") AS "predicted_ms", mean("predicted_sd_ms") AS "predicted_sd_ms", '
            f'count("deadline_ms") AS "decisions" FROM "decision" WHERE {_HERE} GROUP BY "tier", "model"',
        ),
        Query(
            "busiest-nodes",
            "How busy are the nodes?",
            'SELECT mean("cpu_percent") AS "cpu_percent", max("memory_percent") AS "memory_percent", '
            f'max("queue_length") AS "longest_queue" FROM "telemetry" WHERE {_HERE} GROUP BY "node"',
        ),
    )
}
