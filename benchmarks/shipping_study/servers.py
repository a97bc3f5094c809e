"""InfluxDB 1.6.7 and VictoriaMetrics: real ones, as Debian installs them, on loopback.

Debian has no newer InfluxDB. It can ask for a user and a password, and speak TLS. Each server has its data in a folder
of its own, keeps its port when it is killed and started again, and is stopped by who started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from broker.children import start_child, wait_or_kill
from broker.errors import TierwiseError
from broker.ports import free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
USER, PASSWORD = "tierwise", "testpassword"
DATABASE = "edge"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class ServerMissing(TierwiseError):
    """A server is not installed, or did not start."""


def find(name: str) -> str:
    """The server's program. Raises ServerMissing."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise ServerMissing(f"{name} is missing: apt-get install influxdb influxdb-client victoria-metrics")
    return found


@dataclass
class Server:
    """One process. Mutable: it is started, killed and started again."""

    command: Sequence[str]
    directory: Path
    answers: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self.process is None:
            raise ServerMissing(f"{self.command[0]} does not run")
        return self.process.pid

    def start(self) -> None:
        """Return when it answers. Raises ServerMissing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "log"
        with log.open("ab") as output:
            self.process = start_child(self.command, output)
        ends_s = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > ends_s:
                self.stop()
                raise ServerMissing(f"{self.command[0]} did not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            wait_or_kill(self.process, STOP_TIMEOUT_S)
            self.process = None

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def get(url: str, fields: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
    """One request of these fixtures' own; never what is under test."""
    return urllib3.request("GET", url, fields=fields, retries=False, timeout=30.0)


def _pings(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return get(url).status < 300
        except (urllib3.exceptions.HTTPError, OSError):
            return False

    return answers


INFLUXD = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{directory}/meta"
  logging-enabled = false
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  wal-fsync-delay = "0s"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  auth-enabled = {auth}
  https-enabled = {tls}
  https-certificate = "{certificate}"
  https-private-key = "{key}"
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
"""


class Influxd:
    """An InfluxDB 1.6.7 with the database `edge`. A context manager.

    With `auth`, `USER` may do everything with `PASSWORD`, and nobody else anything; with `tls`, the certificate and
    key of those files, it speaks HTTPS.
    """

    def __init__(self, directory: Path, *, auth: bool = False, tls: tuple[Path, Path] | None = None) -> None:
        self.port = free_port()
        self.url = f"http{'' if tls is None else 's'}://127.0.0.1:{self.port}"
        settings = directory / "influx.conf"
        answers = _pings(f"{self.url}/ping") if tls is None else lambda: _listens(self.port)
        self.server = Server([find("influxd"), "-config", str(settings)], directory, answers)
        self._secret = tls is not None
        self._headers = urllib3.make_headers(basic_auth=f"{USER}:{PASSWORD}") if auth else {}
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = tls or ("", "")
        text = INFLUXD.format(
            directory=directory, port=self.port, rpc_port=free_port(), auth=str(auth).lower(),
            tls=str(tls is not None).lower(), certificate=certificate, key=key,
        )  # fmt: skip
        settings.write_text(text, encoding="utf-8")

    def __enter__(self) -> Influxd:
        self.server.start()
        if self._headers:  # the first user may be made by anybody
            self.query(f"CREATE USER {USER} WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES")
        self.query(f"CREATE DATABASE {DATABASE}")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.server.stop()

    def query(self, text: str) -> bytes:
        """The answer to a statement of InfluxQL, as JSON."""
        fields = {"q": text, "db": DATABASE, "epoch": "ns"}
        with urllib3.PoolManager(cert_reqs="CERT_NONE", retries=False) as pool, _warnings_off(self._secret):
            answer = pool.request("POST", f"{self.url}/query", fields=fields, headers=self._headers, timeout=30.0)
        if answer.status != 200:
            raise ServerMissing(f"{text}: {answer.data!r}")
        return answer.data


@contextmanager
def _warnings_off(secure: bool) -> Iterator[None]:
    """urllib3 warns of each certificate that it is told not to look at."""
    with warnings.catch_warnings():
        if secure:
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        yield


class VictoriaMetrics:
    """A single VictoriaMetrics that asks for no token. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            find("victoria-metrics"),
            f"-storageDataPath={directory / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=500000000",
        ]
        self.server = Server(command, directory, _pings(f"{self.url}/health"))

    def __enter__(self) -> VictoriaMetrics:
        self.server.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.server.stop()

    def export(self, selector: str) -> bytes:
        """Every sample of a selector, as lines of JSON."""
        get(f"{self.url}/internal/force_flush")
        return get(f"{self.url}/api/v1/export", {"match[]": selector}).data


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
