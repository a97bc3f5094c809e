"""HTTP to one server that is not trusted: bounded in time and in bytes, without redirects and without decoding.

A hostile or broken server could send an answer without end, one byte a second, or one that unpacks to gigabytes. So a
request has one deadline for everything (connect, TLS, send, headers, body), which is set on the socket before each
system call; at most `MAX_ANSWER_BYTES` of an answer are read; and no content encoding is asked for or undone.
Only the lookup of the host's name has the resolver's own time-outs.

Of the standard library, and not urllib3: its time-outs are per system call, and its responses read to the end.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from broker.clock import Clock, SystemClock
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable

MAX_ANSWER_BYTES = 64 << 10
MAX_HEADER_BYTES = 64 << 10
MAX_STREAM_BYTES = 4 << 30  # of an answer to a query that the caller reads piece by piece
MAX_LINE_BYTES = 16 << 20  # of one piece: 10,000 rows of all columns are 4 MB
MIN_STREAM_BYTES_PER_S = 10_000
READ_BYTES = 64 << 10
SEND_BYTES = 256 << 10


Redact = Callable[[bytes], bytes]
"""Removes secrets."""


class AnswerTooLong(OSError):
    """More bytes than an honest server sends."""


class Deadline:
    """The moment at which a request is given up."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._ends_s = clock.monotonic() + seconds

    def earn(self, seconds: float) -> None:
        """Put it off, to at most the whole time from now."""
        self._ends_s = min(self._ends_s + seconds, self._clock.monotonic() + self.seconds)

    def left_s(self) -> float:
        """Seconds that remain. Raises TimeoutError when none do."""
        left_s = self._ends_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, or the first part of one that is longer than `MAX_ANSWER_BYTES`; without secrets.

    The names in lower case are those that influxdb_client expects of a response.
    """

    status: int
    reason: str
    data: bytes
    headers: http.client.HTTPMessage = field(default_factory=http.client.HTTPMessage)
    redact: Redact = bytes

    def header(self, name: str) -> str:
        """Of any case; '' where it is absent."""
        found = str(self.headers.get(name) or "")
        return self.redact(found.encode(errors="replace")).decode(errors="replace")

    def getheader(self, name: str, default: str | None = None) -> str | None:
        """As urllib3 has it."""
        return self.header(name) or default

    def getheaders(self) -> dict[str, str]:
        """As urllib3 has it."""
        return {name: self.header(name) for name in self.headers}


class Transport:
    """Requests to the server of one section, over one connection that is kept. Not for several threads."""

    def __init__(self, section: InfluxSection, redact: Redact = bytes, clock: Clock | None = None) -> None:
        """`redact` is applied to all that is returned of an answer. Raises InfluxUnavailable."""
        parts = urlsplit(section.url)
        self._redact = redact
        self.url = section.url
        self._timeout_s: float = section.timeout_s
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._secure else 80)
        self._base = parts.path
        self._context = tls_context(section) if self._secure else None
        self._clock = clock or SystemClock()
        self._wire: _Wire | None = None
        self.read_bytes = 0  # of all answers

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Answer:
        """One answer. `path` may be a whole URL of this server. Raises InfluxUnavailable."""
        deadline = deadline or self.deadline()
        try:
            response = self._begin(method, path, body, headers or {}, deadline, MAX_ANSWER_BYTES)
            data = response.read(MAX_ANSWER_BYTES + 1)
            if len(data) > MAX_ANSWER_BYTES or not response.isclosed():
                self.close()  # the rest of it would be taken for the next answer
            return self._answer(response, data)
        except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: no host name
            raise self._failed(error, deadline) from error
        finally:
            self._end()

    def stream(
        self,
        path: str,
        headers: Mapping[str, str],
        refused: Callable[[Answer], Exception],
        limit_bytes: int = MAX_STREAM_BYTES,
    ) -> Generator[bytes]:
        """The lines of an answer. Raises InfluxUnavailable, or what `refused` makes of a status other than 200.

        What arrives buys time at `MIN_STREAM_BYTES_PER_S`, so that a long answer may take long and a slow one may not.
        """
        deadline = self.deadline()
        try:
            response = self._begin("GET", path, None, headers, deadline, limit_bytes)
            if response.status != 200:
                raise refused(self._answer(response, response.read(MAX_ANSWER_BYTES)))
            kept = bytearray()
            while piece := response.read1(READ_BYTES):
                deadline.earn(len(piece) / MIN_STREAM_BYTES_PER_S)
                first, *rest = piece.split(b"\n")
                kept += first
                for part in rest:
                    yield self._redact(bytes(kept))
                    kept = bytearray(part)
                if len(kept) > MAX_LINE_BYTES:
                    raise AnswerTooLong(f"a piece of more than {MAX_LINE_BYTES >> 20} MiB; ask for a shorter time span")
            yield self._redact(bytes(kept))
        except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: no host name
            raise self._failed(error, deadline) from error
        finally:
            self.close()

    def deadline(self) -> Deadline:
        """One that begins now, of the configured time."""
        return Deadline(self._timeout_s, self._clock)

    def close(self) -> None:
        """Let go of the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self.read_bytes += wire.taken()
            wire.end()

    def _begin(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
        limit_bytes: int,
    ) -> http.client.HTTPResponse:
        if self._wire is not None and self._wire.is_stale():
            self.close()
        if self._wire is None:
            self._wire = _Wire(self._connect(deadline))
        wire = self._wire
        wire.allow(deadline, MAX_HEADER_BYTES + limit_bytes)
        # One for each request: what it keeps of an answer that was cut off must not reach the next one.
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = wire
        connection.request(method, self._path(path), body=body, headers=dict(headers))
        return connection.getresponse()

    def _answer(self, response: http.client.HTTPResponse, data: bytes) -> Answer:
        reason = self._redact(response.reason.encode(errors="replace")).decode(errors="replace")
        return Answer(response.status, reason, self._shortened(data), response.headers, self._redact)

    def _shortened(self, data: bytes) -> bytes:
        """Without secrets. Of what was cut off half is dropped: the limit may have cut a secret in two."""
        return self._redact(data) if len(data) < MAX_ANSWER_BYTES else self._redact(data)[: MAX_ANSWER_BYTES // 2]

    def _path(self, path: str) -> str:
        if path.startswith(self.url):
            path = path[len(self.url) :]
        return self._base + path

    def _connect(self, deadline: Deadline) -> socket.socket:
        """To the first of the host's addresses that takes the connection.

        Each has its share of the time that is left: one that nothing answers at, such as an IPv6 address that the
        network drops, must not use up the next one's.
        """
        failure: OSError | None = None
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            sock = socket.socket(family, kind, protocol)
            connected = False
            try:
                sock.settimeout(deadline.left_s() / left)
                sock.connect(address)
                connected = True
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is None:
                    return sock
                sock.settimeout(deadline.left_s())
                return self._context.wrap_socket(sock, server_hostname=self._host)
            except OSError as error:
                sock.close()
                failure = error
                if isinstance(error, ssl.SSLError) or (connected and isinstance(error, TimeoutError)):
                    break
        raise failure or OSError(f"{self._host} has no address")

    def _end(self) -> None:
        """Count, and drop a connection that the server or `http.client` wants closed."""
        if self._wire is not None:
            self.read_bytes += self._wire.taken()
            if self._wire.wants_close:
                self.close()

    def _failed(self, error: Exception, deadline: Deadline) -> InfluxUnavailable:
        self.close()
        if isinstance(error, TimeoutError):
            text = f"timed out after {deadline.seconds:g} s (influxdb.timeout_s)"
            return InfluxUnavailable(f"no answer from {self.url}: {text}", deadline_s=deadline.seconds)
        return InfluxUnavailable(f"no answer from {self.url}: {in_words(error)}")


class _Wire:
    """What `http.client` takes for a socket: each system call has the time that is left, and bytes are counted."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._deadline: Deadline | None = None
        self._left_bytes = self._allowed_bytes = 0
        self.wants_close = False

    def allow(self, deadline: Deadline, most_bytes: int) -> None:
        """For the next request and its answer."""
        self._deadline, self._left_bytes, self._allowed_bytes = deadline, most_bytes, most_bytes

    def taken(self) -> int:
        """Bytes that were read since `allow`, or since they were last asked for."""
        taken, self._allowed_bytes = self._allowed_bytes - self._left_bytes, self._left_bytes
        return taken

    def is_stale(self) -> bool:
        """Whether the server has closed the connection, or sent what nobody asked for."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def end(self) -> None:
        """Close the socket itself."""
        with suppress(OSError):
            self._sock.close()

    # -- called by http.client ----------------------------------------------------------------------------------

    def sendall(self, content: bytes) -> None:
        """Send all of it before the deadline."""
        view = memoryview(content)
        while view:
            self._sock.settimeout(self._left_s())
            view = view[self._sock.send(view[:SEND_BYTES]) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Where the answer is read from."""
        return io.BufferedReader(_Reader(self), READ_BYTES)

    def close(self) -> None:
        """Not yet: the answer may still have to be read."""
        self.wants_close = True

    def receive(self, buffer: memoryview) -> int:
        """What arrives next."""
        if self._left_bytes <= 0:
            raise AnswerTooLong("its answer is longer than what is read of one")
        self._sock.settimeout(self._left_s())
        count = self._sock.recv_into(buffer[: self._left_bytes])
        self._left_bytes -= count
        return count

    def _left_s(self) -> float:
        if self._deadline is None:
            raise TimeoutError
        return self._deadline.left_s()


class _Reader(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.receive(memoryview(buffer))


def query_path(path: str, fields: Mapping[str, str]) -> str:
    """With `fields` as its query."""
    return f"{path}?{urlencode(fields)}"


def tls_context(section: InfluxSection) -> ssl.SSLContext:
    """As the section says. Raises InfluxUnavailable when its certificates cannot be used."""
    try:
        context = ssl.create_default_context(cafile=None if section.ca_file is None else str(section.ca_file))
    except OSError as error:  # an SSLError among them: no certificates in it
        raise InfluxUnavailable(
            f"influxdb.ca_file: {section.ca_file}: {error.strerror or error}; name a readable file of certificates"
        ) from error
    if not section.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def in_words(error: Exception) -> str:
    """What went wrong, in one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())
