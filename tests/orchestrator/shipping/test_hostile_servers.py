"""A server that means harm: bounded in bytes and time, and what it repeats of a secret is shown and stored nowhere."""

from __future__ import annotations

import base64
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from benchmarks.shipping_study.rows import fill
from broker.clock import ManualClock
from configs.influxdb import InfluxApi, InfluxSection
from orchestrator.errors import InfluxUnavailable
from orchestrator.shipping.credentials import REDACTED, Credentials
from orchestrator.shipping.influxql import InfluxReader, QueryRefused
from orchestrator.shipping.running import shipper
from orchestrator.shipping.target import Target
from orchestrator.shipping.transport import MAX_ANSWER_BYTES, MAX_HEADER_BYTES, Transport
from tests.orchestrator.shipping.hostile import (
    Answer,
    echo,
    endless_body,
    endless_chunks,
    endless_header,
    gzip_bomb,
    run_measured,
    serving,
    slow_drip,
)

HOSTILE: dict[str, Answer] = {
    "endless-body": endless_body,
    "endless-chunks": endless_chunks,
    "endless-header": endless_header,
    "slow-drip": slow_drip,
    "gzip-bomb": gzip_bomb,
}
MOST_BYTES = MAX_ANSWER_BYTES + MAX_HEADER_BYTES
GROWTH_MIB = 20
SECRET = "s3cret+t0ken/with=signs&more"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """An orchestrator's folder with a log of 100 rows."""
    fill(tmp_path / "files", 100)
    return tmp_path


def write_config(directory: Path, **influxdb: Any) -> Path:
    settings = {
        "version": 1,
        "site": "home",
        "log_level": "debug",
        "files": {"directory": str(directory / "files")},
        "influxdb": influxdb,
    }
    path = directory / f"orchestrator-{influxdb.get('api', 'auto')}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_costs_the_commands_neither_memory_nor_time(files: Path, name: str) -> None:
    """`check` and `ship` fail, name the server, and grow by less than 20 MiB; a drip is given up at the deadline."""
    with serving(HOSTILE[name]) as server:
        configs = [
            write_config(files, url=server.url, database="edge", api=api, timeout_s=0.5) for api in ("v1", "v2", "auto")
        ]
        commands = [f"influx {what} --config {config}" for config in configs for what in ("check", "ship --once")]
        ran = run_measured(*commands)

        assert [1] * 6 == ran.codes, ran.said
        assert 6 <= ran.said.count(server.url)
        assert "Traceback" not in ran.said
        assert ran.growth_mib < GROWTH_MIB
        if name == "slow-drip":
            assert 6 == ran.said.count("timed out after 0.5 s (influxdb.timeout_s)")
        assert not any(b"gzip" in _value(head, b"accept-encoding") for head in server.heads)


def _value(head: bytes, name: bytes) -> bytes:
    return b" ".join(line for line in head.lower().split(b"\r\n") if line.startswith(name + b":"))


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "slow-drip"])
def test_so_many_bytes_of_an_answer_are_read_and_no_more(name: str) -> None:
    """64 KiB of it, and as much again for headers."""
    with serving(HOSTILE[name]) as server:
        transport = Transport(section_of(server.url))
        try:
            answer = transport.request("GET", "/ping")
            assert len(answer.data) <= MAX_ANSWER_BYTES
        except InfluxUnavailable:
            assert name == "endless-header"
        transport.close()

    assert 0 < transport.read_bytes <= MOST_BYTES


def section_of(url: str, **more: Any) -> InfluxSection:
    return InfluxSection.model_validate({"url": url, "database": "edge", "timeout_s": 30.0, **more})


class TimedDrip:
    """A server that sends one byte a second, on a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sent = 0

    def __call__(self, _head: bytes, _body: bytes) -> Iterator[bytes]:
        """Without an end. The client reads a byte, and a second has passed."""
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        for byte in whole:
            self.sent += 1
            self.clock.advance(1.0)
            yield bytes([byte])


ASKING = {
    "write-v1": lambda section, clock: Target(section_of(section.url, api="v1"), clock).send(["m a=1i 1"]),
    "write-v2": lambda section, clock: Target(section_of(section.url, api="v2"), clock).send(["m a=1i 1"]),
    "write-auto": lambda section, clock: Target(section, clock).send(["m a=1i 1"]),
    "ping": lambda section, clock: InfluxReader(section, clock).server(),
}


@pytest.mark.parametrize("name", ASKING)
def test_one_deadline_is_for_the_whole_answer(name: str) -> None:
    """Though no single read is late: after 30 s on the clock it is given up, and the error says after how many."""
    drip = TimedDrip()
    with serving(drip) as server, pytest.raises(InfluxUnavailable, match="timed out after 30 s") as caught:
        ASKING[name](section_of(server.url), drip.clock)

    assert 30.0 == caught.value.deadline_s


def test_a_query_whose_answer_trickles_is_given_up() -> None:
    """What arrives buys time, at 10 kB/s: one byte buys a ten-thousandth of a second."""
    drip = TimedDrip()
    with serving(drip) as server, pytest.raises(InfluxUnavailable, match="timed out after 30 s"):
        list(InfluxReader(section_of(server.url), drip.clock).ask("SELECT 1"))


def test_a_server_that_does_not_read_is_given_up() -> None:
    """A write that it takes no byte of."""
    clock = ManualClock()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        target = Target(section_of(url, api="v1", gzip=False, timeout_s=0.2), clock)

        with pytest.raises(InfluxUnavailable, match=r"timed out after 0.2 s"):
            target.send(["m a=1i 1" * 2_000_000])


def test_the_deadline_is_logged(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As an event with its length, before the next attempt."""
    section = InfluxSection(
        url="http://127.0.0.1:9", database="edge", timeout_s=0.5, retry_min_s=0.01, retry_max_s=0.01
    )
    paused = []

    def pause(seconds: float) -> bool:
        paused.append(seconds)
        return seconds > 0

    with serving(slow_drip) as server, caplog.at_level(logging.INFO):
        mine = section.model_copy(update={"url": server.url})
        with shipper(files / "files", mine) as (ships, _outbox):
            ships.run(pause)

    (line,) = (record.getMessage() for record in caplog.records if "influxdb_unavailable" in record.getMessage())
    assert "deadline_s=0.500" in line


def test_rows_of_a_report_are_bounded_by_line_and_in_all() -> None:
    """A piece of an answer that never ends, and an answer of pieces that never ends."""
    piece = b'{"results":[{"series":[{"name":"m","columns":["time"],"values":[[1]]}],"partial":true}]}\n'

    def pieces(_head: bytes, _body: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield piece * 100

    with serving(endless_body) as server, pytest.raises(InfluxUnavailable, match="a piece of more than 16 MiB"):
        list(InfluxReader(section_of(server.url)).ask("SELECT 1"))
    with serving(pieces) as server, pytest.raises(InfluxUnavailable, match="longer than what is read of one"):
        list(InfluxReader(section_of(server.url)).ask("SELECT 1", limit_bytes=MAX_ANSWER_BYTES))


LOGINS: dict[str, dict[str, str]] = {
    "token": {"bucket": "edge", "api": "v2", "token_file": "secret"},
    "token-auto": {"bucket": "edge", "token_file": "secret"},
    "user-in-token": {"database": "edge", "api": "v1", "token_file": "secret"},
    "password": {"database": "edge", "api": "v1", "username": "user", "password_file": "secret"},
}


@pytest.mark.parametrize("name", LOGINS)
def test_a_secret_that_a_server_repeats_is_in_no_file_and_no_output(files: Path, name: str) -> None:
    """Plain, in base64 and as in a URL: not in the log at level debug, the dead letters, the status or the database."""
    secret = files / "secret"
    secret.write_text(f"user:{SECRET}" if name == "user-in-token" else SECRET, encoding="ascii")
    login = {key: str(secret) if value == "secret" else value for key, value in LOGINS[name].items()}
    with serving(echo) as server:
        config = write_config(files, url=server.url, timeout_s=20.0, **login)
        here = f"--directory {files / 'files'}"
        ran = run_measured(
            f"influx check --config {config}",
            f"influx ship --once --config {config}",
            *(f"influx {what} {here} {form}" for what in ("status", "dead-letters") for form in ("", "--json")),
        )
        (files / "output.txt").write_text(ran.said, encoding="utf-8")
        sent = b" ".join(_value(head, b"authorization") for head in server.heads)
    secret.unlink()
    found = b"".join(file.read_bytes() for file in files.rglob("*") if file.is_file())

    assert sent  # the secret did reach the server
    assert REDACTED.encode() in found
    for form in spellings(SECRET):
        assert form.encode() not in found


def spellings(secret: str) -> set[str]:
    whole = {secret, f"user:{secret}"}
    return {
        *whole,
        *(quote(each, safe="") for each in whole),
        *(quote(each) for each in whole),
        *(base64.b64encode(each.encode()).decode().rstrip("=") for each in whole),
        secret[:12],
        base64.b64encode(secret.encode()).decode()[:12],
    }


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_secret_within_an_encoded_text_is_redacted(before: str) -> None:
    """Base64 has three alignments; each of the secret's is known."""
    login = Credentials(token=SECRET)
    encoded = base64.b64encode(f"{before}{SECRET}{before}".encode()).decode()

    shown = login.redact(f"x {encoded} {SECRET} {quote(SECRET, safe='').lower()} y")

    assert shown.startswith("x ")
    assert REDACTED in shown
    assert not any(form in shown for form in (SECRET, SECRET[4:12], encoded[6:18]))


def test_a_secret_at_the_end_of_what_is_read_is_not_shown_in_part() -> None:
    """Blanks, so that the limit cuts it in two, and only they would separate it from the shown beginning."""

    def blanks(_head: bytes, _body: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 401 Unauthorized\r\n\r\n" + b" " * (MAX_ANSWER_BYTES - 10) + SECRET.encode() * 5_000

    with serving(blanks) as server:
        section = section_of(server.url, api="v1", token_environment="SECRET_OF_TEST")
        with pytest.MonkeyPatch.context() as patch, closing(Target(section)) as target:
            patch.setenv("SECRET_OF_TEST", SECRET)
            with pytest.raises(InfluxUnavailable, match="answers 401") as caught:
                target.send(["m a=1i 1"])

    assert SECRET[:4] not in str(caught.value)


@pytest.mark.parametrize("api", [InfluxApi.V1, InfluxApi.V2])
def test_a_redirect_is_not_followed(api: InfluxApi) -> None:
    """Rows and secrets go to the server that is configured, and to nobody whom it names."""
    reached = threading.Event()

    def elsewhere(_head: bytes, _body: bytes) -> Iterator[bytes]:
        reached.set()
        yield b"HTTP/1.1 204 No Content\r\n\r\n"

    with serving(elsewhere) as other:

        def redirect(_head: bytes, _body: bytes) -> Iterator[bytes]:
            yield f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode()

        with serving(redirect) as server:
            section = section_of(server.url, api=api)
            with closing(Target(section)) as target, pytest.raises(InfluxUnavailable, match="answers 307"):
                target.send(["m a=1i 1"])
            with pytest.raises((InfluxUnavailable, QueryRefused), match="answers 307"):
                list(InfluxReader(section).ask("SELECT 1"))

    assert not reached.is_set()


def test_an_address_that_nothing_answers_at_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have an IPv6 address whose packets are dropped: its IPv4 address is tried before the deadline."""
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second, serving(echo) as server:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for waiting in (first, second):  # they fill the queue of who may connect
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        answering = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", at) for at in (silent.getsockname(), answering)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        transport = Transport(InfluxSection(url=server.url, org="o", bucket="b", timeout_s=4.0))
        with closing(transport):
            answer = transport.request("GET", "/ping")

    assert answer.status > 0
