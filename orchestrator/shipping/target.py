"""The server that rows go to, through `influxdb_client`, synchronously: a write returns when the server has answered.

The library's batching writer loses data without a word when its retries run out, and its buffer when the process dies.
What is used is its `WriteService`, the request itself: lines are made here, and its own gzip is of level 9, which takes
four times as long as level 1 to save a sixth of the bytes.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3
from influxdb_client import InfluxDBClient, WritePrecision, WriteService
from influxdb_client.client.exceptions import InfluxDBError

from broker.events import event
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable, PointsRefused

log = logging.getLogger(__name__)

# About the points themselves: malformed, of another type, outside the retention time, or too many at once.
OF_CONTENT = (400, 413, 422)
STORED = 204
GZIP_LEVEL = 1
MOST_TOKEN_BYTES = 10_000
MOST_MESSAGE = 1000  # characters of a server's answer that are kept

MENDS = {
    200: "that may be another service, or a proxy's page: correct url",
    401: "the token is not accepted: see token_file or token_environment, and whether it may write to the bucket",
    403: "the token may not write to this bucket: give it that right",
    404: "there is no such bucket (1.8: database), organisation or path: make it, or correct url, org and bucket",
    429: "the server asks for a pause",
}


def read_token(section: InfluxSection) -> str:
    """The token, '' where none is configured. Raises InfluxUnavailable that names what to mend."""
    if section.token_environment is not None:
        token = os.environ.get(section.token_environment, "")
        where = f"the environment variable {section.token_environment} (influxdb.token_environment)"
    elif section.token_file is not None:
        where = f"{section.token_file} (influxdb.token_file)"
        token = _content(section.token_file, where)
    else:
        return ""
    token = token.strip()
    if not token:
        raise InfluxUnavailable(f"no token in {where}; put it there")
    if not token.isascii() or not token.isprintable():
        raise InfluxUnavailable(f"{where} holds more than a token; put the token there alone, on one line")
    return token


def _content(file: Path, where: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_TOKEN_BYTES).decode("ascii")
    except OSError as error:
        raise InfluxUnavailable(f"cannot read {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InfluxUnavailable(f"{where} holds no token but other bytes") from error


class Target:
    """Not for several threads. After a failure the next write reads the token anew and connects anew."""

    def __init__(self, section: InfluxSection) -> None:
        self._section = section
        self._client: Any = None
        self._writes: Any = None

    def send(self, lines: Sequence[str]) -> None:
        """Return when the server has stored them. Raises PointsRefused, InfluxUnavailable (nothing is known then)."""
        body = "\n".join(lines).encode(errors="backslashreplace")
        try:
            writes = self._writes or self._open()
            answer = writes.post_write(
                org=self._section.org,
                bucket=self._section.bucket,
                body=gzip.compress(body, GZIP_LEVEL) if self._section.gzip else body,
                precision=WritePrecision.NS,
                content_encoding="gzip" if self._section.gzip else "identity",
                async_req=False,
                _preload_content=False,  # the library would decode what is no UTF-8, and fail
            )
            self._check(answer.status, answer.data)
        except InfluxDBError as error:
            raise self._judged(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            raise InfluxUnavailable(f"no answer from {self._section.url}: {what_failed(error)}") from error
        except InfluxUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client, self._writes = self._client, None, None
        if client is not None:
            client.close()

    def _check(self, status: int, body: bytes) -> None:
        """A page of a portal or of another service comes with 200; rows that it swallowed would be lost."""
        if status != STORED:
            raise InfluxUnavailable(
                f"{self._section.url} answers {status} to a write, where an InfluxDB says {STORED}: {_shown(body)}; "
                f"{MENDS[200]}",
                status,
            )

    def _open(self) -> Any:
        section = self._section
        if not section.verify:
            event(log, logging.WARNING, "tls_not_verified", url=section.url)
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once is enough
        self._client = InfluxDBClient(
            section.url,
            token=read_token(section) or None,
            org=section.org,
            timeout=max(1, round(section.timeout_s * 1000)),
            verify_ssl=section.verify,
            ssl_ca_cert=None if section.ca_file is None else str(section.ca_file),
            retries=False,  # one attempt: what failed is in the log, and is sent again from there
        )
        self._writes = WriteService(self._client.api_client)
        return self._writes

    def _judged(self, error: InfluxDBError) -> InfluxUnavailable | PointsRefused:
        status = int(getattr(error, "status", 0) or 0)
        said = _said(error)
        if status in OF_CONTENT:
            return PointsRefused(status, said)
        self.close()
        mend = MENDS.get(status, "")
        what = (
            f"{self._section.url} answers {status}: {said}" if status else f"no answer from {self._section.url}: {said}"
        )
        return InfluxUnavailable(f"{what}; {mend}" if mend else what, status, _retry_after_s(error))


def _retry_after_s(error: InfluxDBError) -> float:
    with suppress(TypeError, ValueError):  # absent, or a date
        return max(0.0, float(error.retry_after))
    return 0.0


def _said(error: InfluxDBError) -> str:
    body = getattr(error, "body", None)
    return _shown(body or str(getattr(error, "reason", "") or ""))


def _shown(body: bytes | str) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    with suppress(ValueError, AttributeError):  # not JSON, or no mapping: shown as it is
        told = json.loads(text)
        text = str(told.get("message") or told.get("error") or text)
    return " ".join((text or "no reason given").split())[:MOST_MESSAGE]


def what_failed(error: Exception) -> str:
    """The last cause in words: urllib3 wraps it in names and addresses of objects."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(str(reason).split())[:MOST_MESSAGE]
