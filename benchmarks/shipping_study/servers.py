"""InfluxDB 1.6.7 behind an nginx that rewrites `/api/v2/write`, and VictoriaMetrics: real ones, on loopback.

Debian has no newer InfluxDB. nginx checks the token, as InfluxDB 2 and 3 would; it can also speak TLS. Each server has
its data in a folder of its own, keeps its port when it is killed and started again, and is stopped by who started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from broker.children import start_child, wait_or_kill
from broker.errors import TierwiseError
from broker.ports import free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
TOKEN = "testtoken"
DATABASE = "edge"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class ServerMissing(TierwiseError):
    """A server is not installed, or did not start."""


def find(name: str) -> str:
    """The server's program. Raises ServerMissing."""
    found = shutil.which(name, path=PATH)
    if found is None:
        raise ServerMissing(f"{name} is missing: apt-get install influxdb victoria-metrics nginx-light")
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


def get(url: str, fields: dict[str, str] | None = None, method: str = "GET") -> urllib3.BaseHTTPResponse:
    """One request of these fixtures' own; never what is under test."""
    return urllib3.request(method, url, fields=fields, retries=False, timeout=30.0)


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
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
"""


class Influxd:
    """A bare InfluxDB 1.6.7 with the database `edge`. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = directory / "influx.conf"
        self.server = Server([find("influxd"), "-config", str(settings)], directory, _pings(f"{self.url}/ping"))
        directory.mkdir(parents=True, exist_ok=True)
        settings.write_text(INFLUXD.format(directory=directory, port=self.port, rpc_port=free_port()), encoding="utf-8")

    def __enter__(self) -> Influxd:
        self.server.start()
        self.query(f"CREATE DATABASE {DATABASE}")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.server.stop()

    def query(self, text: str) -> bytes:
        """The answer to a statement of InfluxQL, as JSON."""
        answer = get(f"{self.url}/query", {"q": text, "db": DATABASE, "epoch": "ns"}, "POST")
        if answer.status != 200:
            raise ServerMissing(f"{text}: {answer.data!r}")
        return answer.data


NGINX = """
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 25m; client_body_buffer_size 8m;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  map $arg_precision $v1_precision {{ default n; ns n; us u; ms ms; s s; }}
  server {{
    listen 127.0.0.1:{port}{tls};
    location = /api/v2/write {{
      if ($http_authorization != "Token {token}") {{
        return 401 '{{"code":"unauthorized","message":"unauthorized access"}}'; }}
      rewrite ^ /write?db=$arg_bucket&precision=$v1_precision? break;
      proxy_set_header Authorization ""; proxy_pass {upstream}; }}
    location = /ping {{ proxy_pass {upstream}; }}
    location = /query {{
      if ($http_authorization != "Token {token}") {{
        return 401 '{{"code":"unauthorized","message":"unauthorized access"}}'; }}
      proxy_set_header Authorization ""; proxy_pass {upstream}; }}
  }}
}}
"""


class Front:
    """The nginx in front of an InfluxDB, with TLS where it has a certificate and a key. A context manager."""

    def __init__(
        self, directory: Path, upstream: str, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        self.port = free_port()
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        tls = "" if certificate is None else f" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"
        directory.mkdir(parents=True, exist_ok=True)
        settings = directory / "nginx.conf"
        settings.write_text(
            NGINX.format(directory=directory, port=self.port, token=TOKEN, upstream=upstream, tls=tls), encoding="utf-8"
        )
        command = [find("nginx"), "-c", str(settings), "-p", str(directory)]
        self.server = Server(command, directory, lambda: _listens(self.port))

    def __enter__(self) -> Front:
        self.server.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.server.stop()


class VictoriaMetrics:
    """A single VictoriaMetrics, which takes the same writes without a token. A context manager."""

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
