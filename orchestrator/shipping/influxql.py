"""Asking by InfluxQL on `/query`, which InfluxDB 1.8, 2 and 3 all answer. Flux is on its way out.

Answers come in chunks, so that a long one does not fill the memory. InfluxDB 2 needs a mapping from database to bucket
(`influx v1 dbrp create`); without it, it answers 404.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from broker.clock import Clock
from broker.errors import TierwiseError
from configs.influxdb import InfluxApi, InfluxSection
from orchestrator.errors import InfluxUnavailable
from orchestrator.shipping.credentials import Credentials, read_credentials
from orchestrator.shipping.target import MAX_MESSAGE, MENDS, Server, ask_server, shown
from orchestrator.shipping.transport import MAX_STREAM_BYTES, Answer, Transport, query_path

CHUNK_ROWS = 10_000


class QueryRefused(TierwiseError):
    """A question that InfluxDB does not understand."""


@dataclass(frozen=True, slots=True)
class Series:
    """Some rows of one group; the first column is `time`, in ns."""

    name: str
    tags: Mapping[str, str]
    columns: tuple[str, ...]
    rows: list[list[Any]]

    def named(self) -> Iterator[dict[str, Any]]:
        """Each row by name, the group's tags among them."""
        for row in self.rows:
            yield {**self.tags, **dict(zip(self.columns, row, strict=True))}


def quoted(value: str) -> str:
    """A string of InfluxQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


class InfluxReader:
    """One server, its bucket taken as database. Not for several threads."""

    def __init__(self, section: InfluxSection, clock: Clock | None = None) -> None:
        self._section = section
        self._clock = clock
        self._transport: Transport | None = None

    def ask(self, question: str, limit_bytes: int = MAX_STREAM_BYTES) -> Iterator[Series]:
        """The answer, piece by piece. Raises InfluxUnavailable, QueryRefused."""
        database, policy = self._section.database_and_policy
        fields = {"db": database, "q": question, "epoch": "ns", "chunked": "true", "chunk_size": str(CHUNK_ROWS)}
        if policy:
            fields["rp"] = policy
        credentials = read_credentials(self._section)
        headers = credentials.header(InfluxApi.V1)  # /query is of 1.x; later ones take its scheme there too
        transport = self._open(credentials)
        goes_on = True
        lines = transport.stream(
            query_path("/query", fields), headers, lambda answer: self._refused(answer, credentials), limit_bytes
        )
        with closing(lines):
            for line in _whole(lines):
                series, goes_on = _series(line)
                yield from series
        if goes_on:
            raise InfluxUnavailable(f"the answer of {self._section.url} broke off; ask again")

    def server(self) -> Server:
        """What the server says it is. Raises InfluxUnavailable."""
        credentials = read_credentials(self._section)
        return ask_server(self._open(credentials), credentials)

    def close(self) -> None:
        """Let go of the connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _open(self, credentials: Credentials) -> Transport:
        self.close()
        self._transport = Transport(self._section, credentials.redact_bytes, self._clock)
        return self._transport

    def _refused(self, answer: Answer, credentials: Credentials) -> TierwiseError:
        said = shown(answer.data or answer.reason, credentials)
        if answer.status == 400:
            return QueryRefused(f"{self._section.url} does not understand the question: {said}")
        mend = MENDS.get(answer.status, "")
        text = f"{self._section.url}/query answers {answer.status}: {said}"
        return InfluxUnavailable(f"{text}; {mend}" if mend else text, answer.status)


def _whole(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Those that hold something."""
    return (line for line in lines if line.strip())


def _series(line: bytes) -> tuple[list[Series], bool]:
    """What one piece of the answer holds, and whether the server says that another one follows."""
    series: list[Series] = []
    goes_on = False
    try:
        told = json.loads(line)
        if error := told.get("error"):
            raise QueryRefused(f"InfluxDB answers: {str(error)[:MAX_MESSAGE]}")
        for result in told.get("results", ()):
            if error := result.get("error"):
                raise QueryRefused(f"InfluxDB answers: {str(error)[:MAX_MESSAGE]}")
            goes_on = bool(result.get("partial"))
            for each in result.get("series", ()):
                series.append(
                    Series(each["name"], each.get("tags", {}), tuple(each["columns"]), each.get("values", []))
                )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        start = line[:80].decode(errors="replace")
        raise InfluxUnavailable(f"what the server answers is no answer of InfluxQL: {start}") from error
    return series, goes_on
