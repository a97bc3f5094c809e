"""The Mosquitto that we start: found, configured, started, waited for, stopped.

So far there is one mode: no accounts, no certificates, and therefore loopback only. The rendered file says so.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from broker.children import start_child, wait_or_kill
from broker.client import Endpoint
from broker.errors import BrokerUnavailable
from broker.ports import free_port

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01
LOG_NAME = "mosquitto.log"
CONFIGURATION_NAME = "mosquitto.conf"
STORE_NAME = "store"
LOG_TYPES = {
    "error": ("error",),
    "warning": ("error", "warning"),
    "info": ("error", "warning", "notice", "information"),
    "debug": ("all",),
}
# MQTT 5 CONNECT with clean start, keep-alive 5 s, client id `tierwise-probe`; and DISCONNECT.
PROBE_CONNECT = b"\x10\x1b\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x0etierwise-probe"
PROBE_DISCONNECT = b"\xe0\x00"


@dataclass(frozen=True, slots=True)
class MosquittoSettings:
    """What a site may set of its broker. Raises BrokerUnavailable for what cannot be served."""

    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    max_packet_bytes: int = 300_000
    max_queued_messages: int = 1000
    max_queued_bytes: int = 50_000_000
    max_connections: int = 2000
    log_level: str = "info"

    def __post_init__(self) -> None:
        if not _is_loopback(self.host):
            raise BrokerUnavailable(
                f"without accounts Mosquitto listens on loopback only, not on {self.host}: use host 127.0.0.1"
            )
        if not str(self.directory).isprintable():
            raise BrokerUnavailable(f"{str(self.directory)!r} cannot stand in mosquitto.conf: choose another directory")
        if self.log_level not in LOG_TYPES:
            raise BrokerUnavailable(f"log_level {self.log_level!r} is not one of {', '.join(LOG_TYPES)}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_mosquitto() -> Path:
    """The system's Mosquitto. Raises BrokerUnavailable with the command that installs it."""
    # Debian puts it into a directory that is only on root's PATH.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise BrokerUnavailable("Mosquitto is not installed: sudo apt-get install mosquitto")
    return Path(found)


def render(settings: MosquittoSettings) -> str:
    """The text of mosquitto.conf for `settings`, whose port must be known by now."""
    store = settings.directory.absolute() / STORE_NAME
    # Started by root, Mosquitto would become the user `mosquitto`, who may not write into our directory.
    owner = ["user root"] if os.geteuid() == 0 else []
    lines = [
        "# Written by Tierwise at each start; edit broker.yaml instead.",
        "# There are no accounts here: whoever reaches this port may read and write everything. So: loopback only.",
        f"listener {settings.port} {settings.host}",
        "allow_anonymous true",
        *owner,
        "set_tcp_nodelay true",
        "max_qos 1",
        f"max_packet_size {settings.max_packet_bytes}",
        f"max_queued_messages {settings.max_queued_messages}",
        f"max_queued_bytes {settings.max_queued_bytes}",
        "max_inflight_messages 20",
        f"max_connections {settings.max_connections}",
        "max_keepalive 60",
        "persistence true",
        f"persistence_location {store}/",
        "autosave_interval 60",
        "sys_interval 1",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        *(f"log_type {log_type}" for log_type in LOG_TYPES[settings.log_level]),
    ]
    return "\n".join(lines) + "\n"


class MosquittoProcess:
    """One running Mosquitto, in `settings.directory`: configuration, log and persistent store. A context manager.

    A free port is drawn at the first start and kept, so that a broker can be stopped and started where its clients
    look for it. Start it from a thread that lives as long as it: the kernel ends it with that thread.
    """

    def __init__(self, settings: MosquittoSettings) -> None:
        self.settings = settings
        self._port = settings.port
        self._process: subprocess.Popen[bytes] | None = None
        self.log_start = 0  # where in its log the present run begins

    def __enter__(self) -> MosquittoProcess:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens. Raises BrokerUnavailable before the first start."""
        if not self._port:
            raise BrokerUnavailable("Mosquitto has not been started: it has no port yet")
        return Endpoint(host=self.settings.host, port=self._port)

    @property
    def pid(self) -> int:
        """The process id. Raises BrokerUnavailable when it does not run."""
        if self._process is None:
            raise BrokerUnavailable("Mosquitto does not run")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Where its log goes; each start appends."""
        return self.settings.directory / LOG_NAME

    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Return when it accepts MQTT connections; one that runs is stopped first.

        Raises BrokerUnavailable with Mosquitto's own last words.
        """
        binary = find_mosquitto()
        self.stop()
        self._make_directories()
        attempts = 1 if self._port else 3
        for attempt in range(1, attempts + 1):
            port = self._port or free_port()
            if self._port:
                self._check_port_is_free()
            try:
                self._launch(binary, port)
            except BrokerUnavailable:
                if attempt == attempts:
                    raise
            else:
                self._port = port
                return

    def stop(self) -> None:
        """End it with its store saved; kill it if it does not end within 5 s."""
        if self._process is None:
            return
        self._process.terminate()
        wait_or_kill(self._process, STOP_TIMEOUT_S)
        self._process = None

    def last_words(self, lines: int = 5) -> str:
        """The end of its log since the last start, on one line."""
        with self.log_path.open("rb") as log:
            log.seek(self.log_start)
            text = log.read().decode(errors="replace")
        return " | ".join(text.splitlines()[-lines:]) or "it said nothing"

    def _make_directories(self) -> None:
        try:
            (self.settings.directory / STORE_NAME).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerUnavailable(f"cannot make {self.settings.directory}: {error.strerror}") from error

    def _check_port_is_free(self) -> None:
        family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.settings.host, self._port))
            except OSError as error:
                raise BrokerUnavailable(
                    f"cannot listen on {self.settings.host}:{self._port}: {error.strerror}; choose another port"
                ) from error

    def _launch(self, binary: Path, port: int) -> None:
        configuration = self.settings.directory / CONFIGURATION_NAME
        try:
            configuration.write_text(render(replace(self.settings, port=port)), encoding="utf-8")
            log = self.log_path.open("ab")
        except OSError as error:
            raise BrokerUnavailable(f"cannot write into {self.settings.directory}: {error.strerror}") from error
        with log:
            self.log_start = log.tell()
            self._process = start_child([str(binary), "-c", str(configuration)], log)
        try:
            self._wait_until_it_answers(port)
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_answers(self, port: int) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if (code := self.exit_code()) is not None:
                raise BrokerUnavailable(f"Mosquitto ended with exit code {code}: {self.last_words()}")
            if _accepts_connect(self.settings.host, port):
                return
            time.sleep(POLL_S)
        raise BrokerUnavailable(f"Mosquitto did not answer within {START_TIMEOUT_S:g} s: {self.last_words()}")


def _accepts_connect(host: str, port: int) -> bool:
    """Whether an MQTT CONNECT is answered with success: listening alone is not enough."""
    try:
        with socket.create_connection((host, port), timeout=1.0) as sock:
            sock.sendall(PROBE_CONNECT)
            answer = sock.recv(64)
            sock.sendall(PROBE_DISCONNECT)
    except OSError:
        return False
    return len(answer) >= 4 and answer[0] == 0x20 and answer[3] == 0
