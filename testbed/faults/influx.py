"""A real InfluxDB for the site's orchestrator to ship to, and what is in it in the end."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.shipping_study.servers import DATABASE, Influxd
from configs.influxdb import InfluxSection
from testbed.faults.ledger import Effect

COUNT = 'SELECT count("request_id") FROM "response"'
POINTS = 'SELECT "request_id", "node", "outcome", "tier" FROM "response"'


class InfluxServer:
    """InfluxDB 1.6.7 as Debian installs it. Start and stop it from one thread; both block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers = ExitStack()
        self._influxd: Influxd | None = None

    def start(self) -> InfluxSection:
        """What to write into the orchestrator's file. Raises ServerMissing."""
        self._influxd = self._servers.enter_context(Influxd(self._directory / "influxd"))
        return InfluxSection(url=self._influxd.url, database=DATABASE, retry_max_s=5.0)

    def stop(self) -> None:
        """End it."""
        self._servers.close()

    def count(self) -> int:
        """How many points `response` has."""
        rows = self._rows(COUNT)
        return int(rows[0][1]) if rows else 0

    def effects(self) -> list[Effect]:
        """Every point of `response`, asked past our own code."""
        return [Effect(request, node, outcome, tier) for _time, request, node, outcome, tier in self._rows(POINTS)]

    def _rows(self, question: str) -> list[list[Any]]:
        if self._influxd is None:
            raise RuntimeError("the server has not been started")
        result = json.loads(self._influxd.query(question))["results"][0]
        return [row for series in result.get("series", []) for row in series["values"]]
