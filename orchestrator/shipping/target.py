"""The server that rows go to: a write returns when the server has answered.

InfluxDB 2 and 3 take `/api/v2/write`, through `influxdb_client`; 1.x takes `/write`, which the library does not know,
and `auto` asks the server on `/ping` what it is. The library's batching writer loses data without a word when its
retries run out, and its buffer when the process dies; what is used is its `WriteService`, the request itself, over our
own `Transport`. Lines are made here, and its own gzip is of level 9, which takes four times as long as level 1 to save
a sixth of the bytes.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from broker.clock import Clock
from broker.events import event
from configs.influxdb import InfluxApi, InfluxSection
from orchestrator.errors import InfluxUnavailable, PointsRefused
from orchestrator.shipping.credentials import Credentials, read_credentials
from orchestrator.shipping.transport import Answer, Deadline, Transport, query_path

log = logging.getLogger(__name__)

# About the points themselves: malformed, of another type, outside the retention time, or too many at once.
OF_CONTENT = (400, 413, 422)
STORED = 204
GZIP_LEVEL = 1
MAX_MESSAGE = 1000  # characters of a server's answer that are kept
MAX_VERSION = 60

MENDS = {
    200: "that may be another service, or a proxy's page: correct url",
    401: "the token or password is not accepted: see token_file, or username and password_file (InfluxDB 1.x)",
    403: "the token or user may not use this bucket or database: give it that right",
    404: "there is no such bucket (1.x: database), organisation or path: make it, or correct url, org and bucket",
    429: "the server asks for a pause",
}
NOT_WRITTEN_V1 = {
    401: "set username and password_file to a user that the server knows (or a token_file with user:password)",
    403: "give the user that right: GRANT ALL ON {database} TO {user}",
    404: "make the database: influx -execute 'CREATE DATABASE {database}'; or correct influxdb.database",
    500: "if it names the retention policy: CREATE RETENTION POLICY, or correct influxdb.database",
}


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says it is; '' where it does not."""

    version: str
    product: str = "InfluxDB"

    @property
    def api(self) -> InfluxApi:
        """What it takes writes by."""
        return InfluxApi.V1 if self.version.removeprefix("v").startswith(("0.", "1.")) else InfluxApi.V2

    def __str__(self) -> str:
        return f"{self.product} {self.version}".rstrip() if self.version or self.product != "InfluxDB" else ""


def ask_server(transport: Transport, credentials: Credentials, deadline: Deadline | None = None) -> Server:
    """What the server says on `/ping`. Raises InfluxUnavailable, with the status of another answer than "well"."""
    answer = transport.request("GET", "/ping", headers=credentials.header(InfluxApi.V1), deadline=deadline)
    if answer.status >= 300:
        raise InfluxUnavailable(f"{transport.url}/ping answers {answer.status}", answer.status)
    version = answer.header("X-Influxdb-Version")[:MAX_VERSION]
    if not version and answer.header("X-Server-Hostname"):
        return Server("", "VictoriaMetrics")
    return Server("".join(character for character in version if character.isprintable()))


def mend_of_write(section: InfluxSection, api: InfluxApi, status: int) -> str:
    """What to do about a write that was not taken, '' where that is not known."""
    if api is InfluxApi.V1 and status in NOT_WRITTEN_V1:
        database, _ = section.database_and_policy
        return NOT_WRITTEN_V1[status].format(database=json.dumps(database), user=section.username or "USER")
    return MENDS.get(status, "")


class Target:
    """Not for several threads. After a failure the next write reads the secrets anew and connects anew."""

    def __init__(self, section: InfluxSection, clock: Clock | None = None) -> None:
        self._section = section
        self._clock = clock
        self._open_one: _Writer | None = None

    @property
    def api(self) -> InfluxApi:
        """What writes go to; `auto` while that is not known."""
        return self._section.api if self._open_one is None else self._open_one.api

    def send(self, lines: Sequence[str]) -> None:
        """Return when the server has stored them. Raises PointsRefused, InfluxUnavailable (nothing is known then)."""
        body = "\n".join(lines).encode(errors="backslashreplace")
        try:
            writer = self._open_one = self._open_one or self._open()
            answer = writer.post(gzip.compress(body, GZIP_LEVEL) if self._section.gzip else body)
            if answer.status != STORED:
                raise self._not_stored(answer, writer)
        except InfluxUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        writer, self._open_one = self._open_one, None
        if writer is not None:
            writer.transport.close()

    def _open(self) -> _Writer:
        section = self._section
        if not section.verify:
            event(log, logging.WARNING, "tls_not_verified", url=section.url)
        credentials = read_credentials(section)
        transport = Transport(section, credentials.redact_bytes, self._clock)
        deadline = transport.deadline()
        try:
            api = _api_of(section, transport, credentials, deadline)
        except InfluxUnavailable:
            transport.close()
            raise
        return (_WriterV1 if api is InfluxApi.V1 else _WriterV2)(section, transport, credentials, deadline)

    def _not_stored(self, answer: Answer, writer: _Writer) -> InfluxUnavailable | PointsRefused:
        said = shown(answer.data or answer.reason, writer.credentials)
        if answer.status in OF_CONTENT:
            return PointsRefused(answer.status, said)
        url = self._section.url
        if answer.status < 300:  # a page of a portal or another service; rows that it swallowed would be lost
            text = f"{url} answers {answer.status} to a write, where an InfluxDB says {STORED}: {said}; {MENDS[200]}"
        else:
            mend = mend_of_write(self._section, writer.api, answer.status)
            text = f"{url} answers {answer.status}: {said}" + (f"; {mend}" if mend else "")
        return InfluxUnavailable(text, answer.status, _retry_after_s(answer))


def _api_of(section: InfluxSection, transport: Transport, credentials: Credentials, deadline: Deadline) -> InfluxApi:
    if section.api is not InfluxApi.AUTO:
        return section.api
    if section.username is not None:
        return InfluxApi.V1  # InfluxDB 2 takes a user's writes there too
    try:
        return ask_server(transport, credentials, deadline).api
    except InfluxUnavailable as error:
        if not error.status:
            raise
        return InfluxApi.V2  # InfluxDB 3 asks for a token on /ping; some proxies hide it


class _Writer:
    """One connection, its secrets and where writes go."""

    api: InfluxApi

    def __init__(
        self, section: InfluxSection, transport: Transport, credentials: Credentials, deadline: Deadline
    ) -> None:
        self.transport, self.credentials = transport, credentials
        self._section = section
        self._first: Deadline | None = deadline  # the first write shares its time with /ping
        self._encoding = "gzip" if section.gzip else "identity"

    def post(self, body: bytes) -> Answer:
        """One write. Raises InfluxUnavailable when there is no answer."""
        raise NotImplementedError

    def _deadline(self) -> Deadline:
        deadline, self._first = self._first or self.transport.deadline(), None
        return deadline


class _WriterV1(_Writer):
    api = InfluxApi.V1

    def post(self, body: bytes) -> Answer:
        database, policy = self._section.database_and_policy
        fields = {"db": database, "precision": "n"} | ({"rp": policy} if policy else {})
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": self._encoding}
        headers |= self.credentials.header(self.api)
        path = query_path("/write", fields)
        return self.transport.request("POST", path, body=body, headers=headers, deadline=self._deadline())


class _WriterV2(_Writer):
    api = InfluxApi.V2

    def __init__(
        self, section: InfluxSection, transport: Transport, credentials: Credentials, deadline: Deadline
    ) -> None:
        from influxdb_client import InfluxDBClient, WriteService  # 39 MB

        super().__init__(section, transport, credentials, deadline)
        self._client = InfluxDBClient(section.url, token=credentials.token or None, org=section.org)
        self._client.api_client.rest_client.pool_manager = self
        self._writes = WriteService(self._client.api_client)

    def post(self, body: bytes) -> Answer:
        from influxdb_client import WritePrecision
        from influxdb_client.client.exceptions import InfluxDBError

        try:
            answer = self._writes.post_write(
                org=self._section.org,
                bucket=self._section.place,
                body=body,
                precision=WritePrecision.NS,
                content_encoding=self._encoding,
                async_req=False,
                _preload_content=False,  # the library would decode what is no UTF-8, and fail
            )
        except InfluxDBError as error:
            answer = error.response
        if not isinstance(answer, Answer):
            raise InfluxUnavailable(f"no answer from {self._section.url}")
        return answer

    def request(self, method: str, url: str, **options: Any) -> Answer:
        """What the library takes for urllib3's PoolManager."""
        headers = {name: str(value) for name, value in options["headers"].items()}
        return self.transport.request(method, url, body=options["body"], headers=headers, deadline=self._deadline())


HTML = re.compile(r"\s*<(?:!doctype|html|head|body)\b", re.IGNORECASE)
TAG = re.compile(r"<[^>]*>?")
MAX_OF_PAGE = 80
TITLE = re.compile(r"<title[^>]*>([^<]{0,200})", re.IGNORECASE)


def shown(body: bytes | str, credentials: Credentials) -> str:
    """An answer as one line that may be shown, logged and stored: its message where it is JSON, without secrets."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    with suppress(ValueError, AttributeError, RecursionError):  # not JSON, or no mapping: shown as it is
        told = json.loads(text)
        text = str(told.get("message") or told.get("error") or text)
    if HTML.match(text):
        title = TITLE.search(text)
        told = " ".join((title[1] if title else TAG.sub(" ", text[:MAX_MESSAGE])).split())
        text = f"an HTML page ({told[:MAX_OF_PAGE]})" if told else "an HTML page"
    text = " ".join((text or "no reason given").split())
    return credentials.redact(text)[:MAX_MESSAGE]


def _retry_after_s(answer: Answer) -> float:
    with suppress(ValueError):  # absent, or a date
        return max(0.0, float(answer.header("Retry-After")))
    return 0.0
