"""One write to a server: what is on the wire, and what each answer means."""

from __future__ import annotations

import base64
import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.ports import free_port
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable, PointsRefused
from orchestrator.shipping.credentials import Credentials, read_credentials
from orchestrator.shipping.target import Target, shown


@dataclass
class Scripted:
    """A server that answers as it is told and keeps what it got."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    version: str | None = None  # that /ping tells; None: there is no /ping


@pytest.fixture
def server() -> Iterator[Scripted]:
    """See Scripted."""
    scripted = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            scripted.heard.append((self.path, dict(self.headers), body))
            self.send_response(scripted.status)
            for name, value in scripted.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(scripted.body)))
            self.end_headers()
            self.wfile.write(scripted.body)

        def do_GET(self) -> None:
            self.send_response(404 if scripted.version is None else 204)
            if scripted.version:
                self.send_header("X-Influxdb-Version", scripted.version)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        scripted.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), name="scripted-influxdb")
        thread.start()
        yield scripted
        listening.shutdown()
        thread.join()


def section_of(url: str, **more: object) -> InfluxSection:
    return InfluxSection.model_validate({"url": url, "bucket": "b/rp", "org": "o", **more})


def test_a_write_is_one_gzipped_request_with_the_token(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """To `/api/v2/write`, in nanoseconds, with the token of the environment."""
    monkeypatch.setenv("MY_TOKEN", "secret\n")
    with closing(Target(section_of(server.url, token_environment="MY_TOKEN"))) as target:
        target.send(["m a=1i 1", "m a=2i 2"])

    ((path, headers, body),) = server.heard
    assert "/api/v2/write" == urlsplit(path).path
    assert {"org": ["o"], "bucket": ["b/rp"], "precision": ["ns"]} == parse_qs(urlsplit(path).query)
    assert ("Token secret", "gzip") == (headers["Authorization"], headers["Content-Encoding"])
    assert b"m a=1i 1\nm a=2i 2" == gzip.decompress(body)


@pytest.mark.parametrize("version", ["1.6.7~rc0", "1.7.11", "1.8.10"])
def test_influxdb_1_is_written_natively(server: Scripted, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """To `/write`, in nanoseconds, with database and retention policy, and user and password as HTTP's Basic scheme."""
    server.version = version
    monkeypatch.setenv("MY_PASSWORD", "pass:word")
    monkeypatch.setenv("MY_TOKEN", "user:pass:word")
    logins = ({"username": "user", "password_environment": "MY_PASSWORD"}, {"token_environment": "MY_TOKEN"})
    for login in logins:
        with closing(Target(section_of(server.url, **login))) as target:
            target.send(["m a=1i 1", "m a=2i 2"])

    expected = f"Basic {base64.b64encode(b'user:pass:word').decode()}"
    for path, headers, body in server.heard:
        assert "/write" == urlsplit(path).path
        assert {"db": ["b"], "rp": ["rp"], "precision": ["n"]} == parse_qs(urlsplit(path).query)
        assert (expected, "gzip") == (headers["Authorization"], headers["Content-Encoding"])
        assert b"m a=1i 1\nm a=2i 2" == gzip.decompress(body)


@pytest.mark.parametrize(
    ("api", "version", "path"),
    [
        ("auto", "v2.7.1", "/api/v2/write"),
        ("auto", "3.0.1", "/api/v2/write"),
        ("auto", "", "/api/v2/write"),
        ("auto", None, "/api/v2/write"),
        ("auto", "0.13.0", "/write"),
        ("v1", "v2.7.1", "/write"),
        ("v2", "1.8.10", "/api/v2/write"),
    ],
)
def test_the_api_is_what_the_server_says_or_the_section(
    server: Scripted, api: str, version: str | None, path: str
) -> None:
    """On /ping; a server that does not say is taken for a later one."""
    server.version = version
    with closing(Target(section_of(server.url, api=api))) as target:
        target.send(["m a=1i 1"])

    assert [path] == [urlsplit(heard[0]).path for heard in server.heard]


def test_a_connection_is_kept_and_made_anew_when_the_server_closed_it(server: Scripted) -> None:
    """HTTP/1.0 closes after each answer; nothing fails for that."""
    with closing(Target(section_of(server.url, api="v1"))) as target:
        for _ in range(3):
            target.send(["m a=1i 1"])

    assert 3 == len(server.heard)


def test_without_gzip_the_lines_are_plain_and_without_a_token_there_is_none(server: Scripted) -> None:
    """For servers that take neither."""
    with closing(Target(section_of(server.url, gzip=False))) as target:
        target.send(["m a=1i 1"])

    ((_, headers, body),) = server.heard
    assert b"m a=1i 1" == body
    assert "Authorization" not in headers


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_answer_about_the_points_is_a_refusal(server: Scripted, status: int) -> None:
    """With the server's own words."""
    server.status, server.body = status, b'{"code":"invalid","message":"what a point"}'

    with (
        closing(Target(section_of(server.url))) as target,
        pytest.raises(PointsRefused, match="what a point") as caught,
    ):
        target.send(["m a=1i 1"])

    assert (status, "what a point") == (caught.value.status, caught.value.message)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504, 302])
def test_any_other_answer_means_that_the_rows_wait_and_the_request_is_made_once(server: Scripted, status: int) -> None:
    """The library itself tries nothing again and follows nobody elsewhere."""
    server.status, server.headers = status, {"Retry-After": "7", "Location": "/elsewhere"}

    with closing(Target(section_of(server.url))) as target, pytest.raises(InfluxUnavailable) as caught:
        target.send(["m a=1i 1"])

    assert (status, 7.0, 1) == (caught.value.status, caught.value.retry_after_s, len(server.heard))


@pytest.mark.parametrize("status", [200, 202])
def test_a_page_that_comes_with_200_has_stored_nothing(server: Scripted, status: int) -> None:
    """A portal before the network, or another service on that port: an InfluxDB answers 204."""
    server.status, server.body = status, b"<html>please log in</html>"

    with (
        closing(Target(section_of(server.url))) as target,
        pytest.raises(InfluxUnavailable, match=r"please log in.*correct url") as caught,
    ):
        target.send(["m a=1i 1"])

    assert status == caught.value.status


@pytest.mark.parametrize(("status", "error"), [(502, InfluxUnavailable), (413, PointsRefused)])
def test_an_answer_that_is_no_utf8_is_told_all_the_same(server: Scripted, status: int, error: type[Exception]) -> None:
    """As a proxy's page in Latin-1 is."""
    server.status, server.body = status, "<html>défaut".encode("latin-1")

    with closing(Target(section_of(server.url))) as target, pytest.raises(error, match=r"an HTML page .d.faut"):
        target.send(["m a=1i 1"])


def test_no_answer_means_that_the_rows_wait() -> None:
    """A refused connection is told in words."""
    url = f"http://127.0.0.1:{free_port()}"

    with closing(Target(section_of(url))) as target, pytest.raises(InfluxUnavailable, match="Connection refused"):
        target.send(["m a=1i 1"])


def test_a_server_that_is_frozen_is_given_up_after_the_timeout() -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        url = f"http://127.0.0.1:{frozen.getsockname()[1]}"

        with (
            closing(Target(section_of(url, timeout_s=0.05))) as target,
            pytest.raises(InfluxUnavailable, match=r"no answer .*timed out"),
        ):
            target.send(["m a=1i 1"])


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b" \n", "no token in"), (b"a\nb", "more than a token"), (b"\xff\xfe", "other bytes")],
)
def test_a_token_file_that_is_of_no_use_is_told(tmp_path: Path, content: bytes | None, says: str) -> None:
    """By name, so that it can be mended; never by its content."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(InfluxUnavailable, match=says) as caught:
        read_credentials(section_of("http://127.0.0.1", token_file=str(file)))

    assert "influxdb.token_file" in str(caught.value)


def test_a_variable_that_is_not_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name."""
    monkeypatch.delenv("NO_TOKEN", raising=False)

    with pytest.raises(InfluxUnavailable, match="environment variable NO_TOKEN"):
        read_credentials(section_of("http://127.0.0.1", token_environment="NO_TOKEN"))


def test_an_html_page_is_shown_as_its_title() -> None:
    """What a proxy answers in place of the server would fill the log; without a title, as its first words."""
    page = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"

    assert "an HTML page (502 Bad Gateway)" == shown(page, Credentials())
    assert f"an HTML page ({'x' * 80})" == shown(b" <html><body>" + b"x" * 10_000, Credentials())
    assert "an HTML page" == shown(b"<html>", Credentials())
    assert "rows < 3" == shown("rows < 3", Credentials())
