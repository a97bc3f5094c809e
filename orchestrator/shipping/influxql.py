"""Asking by InfluxQL on `/query`, which InfluxDB 1.8, 2 and 3 all answer. Flux is on its way out.

Answers come in chunks, so that a long one does not fill the memory. InfluxDB 2 needs a mapping from database to bucket
(`influx v1 dbrp create`); without it, it answers 404.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from broker.errors import TierwiseError
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable
from orchestrator.shipping.target import MENDS, MOST_MESSAGE, read_token, what_failed

CHUNK_ROWS = 10_000
READ_BYTES = 1 << 16
MOST_LINE_BYTES = 64 << 20  # of a server that does not chunk


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

    def __init__(self, section: InfluxSection) -> None:
        self._section = section
        certificates = None if section.ca_file is None else str(section.ca_file)
        if not section.verify:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # whoever set it knows
        verify = "CERT_REQUIRED" if section.verify else "CERT_NONE"
        self._pool = urllib3.PoolManager(
            cert_reqs=verify, ca_certs=certificates, retries=False, timeout=section.timeout_s
        )

    def ask(self, question: str) -> Iterator[Series]:
        """The answer, piece by piece. Raises InfluxUnavailable, QueryRefused."""
        database, _, retention = self._section.bucket.partition("/")
        fields = {"db": database, "q": question, "epoch": "ns", "chunked": "true", "chunk_size": str(CHUNK_ROWS)}
        if retention:
            fields["rp"] = retention
        token = read_token(self._section)
        headers = {"Accept-Encoding": "gzip", **({"Authorization": f"Token {token}"} if token else {})}
        with self._answered():
            response = self._pool.request(
                "GET", f"{self._section.url}/query", fields=fields, headers=headers, preload_content=False
            )
            try:
                if response.status != 200:
                    raise self._refused(response.status, response.read(MOST_LINE_BYTES, decode_content=True))
                goes_on = True
                for line in _lines(response):
                    if line.strip():
                        series, goes_on = _series(line)
                        yield from series
                if goes_on:
                    raise InfluxUnavailable(f"the answer of {self._section.url} broke off; ask again")
            finally:
                response.close()

    def version(self) -> str:
        """What the server says it is, '' where it does not. Raises InfluxUnavailable."""
        with self._answered():
            response = self._pool.request("GET", f"{self._section.url}/ping")
        if response.status >= 300:
            raise InfluxUnavailable(f"{self._section.url}/ping answers {response.status}", response.status)
        return response.headers.get("X-Influxdb-Version", "")

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise InfluxUnavailable(f"no answer from {self._section.url}: {what_failed(error)}") from error

    def _refused(self, status: int, body: bytes) -> TierwiseError:
        said = _error_of(body)
        if status == 400:
            return QueryRefused(f"{self._section.url} does not understand the question: {said}")
        mend = MENDS.get(status, "")
        text = f"{self._section.url}/query answers {status}: {said}"
        return InfluxUnavailable(f"{text}; {mend}" if mend else text, status)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    kept = b""
    for piece in response.stream(READ_BYTES, decode_content=True):
        *lines, kept = (kept + piece).split(b"\n")
        yield from lines
        if len(kept) > MOST_LINE_BYTES:
            raise InfluxUnavailable("the server's answer has no end; ask for a shorter time span")
    yield kept


def _series(line: bytes) -> tuple[list[Series], bool]:
    """What one piece of the answer holds, and whether the server says that another one follows."""
    series: list[Series] = []
    goes_on = False
    try:
        told = json.loads(line)
        if error := told.get("error"):
            raise QueryRefused(f"InfluxDB answers: {error}")
        for result in told.get("results", ()):
            if error := result.get("error"):
                raise QueryRefused(f"InfluxDB answers: {error}")
            goes_on = bool(result.get("partial"))
            for each in result.get("series", ()):
                series.append(
                    Series(each["name"], each.get("tags", {}), tuple(each["columns"]), each.get("values", []))
                )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InfluxUnavailable(f"what the server answers is no answer of InfluxQL: {line[:80]!r}") from error
    return series, goes_on


def _error_of(body: bytes) -> str:
    text = body.decode(errors="replace")
    try:
        told = json.loads(text)
        text = str(told.get("error") or told.get("message") or text)
    except (ValueError, AttributeError):
        pass  # not JSON: shown as it is
    return " ".join(text.split())[:MOST_MESSAGE]
