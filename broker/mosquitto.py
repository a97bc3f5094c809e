"""The Mosquitto that we start: found, given its configuration, waited for, told to reload, stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from broker.children import start_child, wait_or_kill
from broker.endpoint import Endpoint
from broker.errors import BrokerUnavailable
from broker.mosquitto_settings import STORE_NAME, MosquittoSettings, render
from broker.ports import free_port

__all__ = ["MosquittoProcess", "MosquittoSettings", "find_mosquitto", "render"]

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01
LOG_NAME = "mosquitto.log"
CONFIGURATION_NAME = "mosquitto.conf"
REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# MQTT 5 CONNECT with clean start, keep-alive 5 s, client id `tierwise-probe`; and DISCONNECT.
PROBE_CONNECT = b"\x10\x1b\x00\x04MQTT\x05\x02\x00\x05\x00\x00\x0etierwise-probe"
PROBE_DISCONNECT = b"\xe0\x00"


def find_mosquitto() -> Path:
    """The system's Mosquitto. Raises BrokerUnavailable with the command that installs it."""
    # Debian puts it into a directory that is only on root's PATH.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise BrokerUnavailable("Mosquitto is not installed: sudo apt-get install mosquitto")
    return Path(found)


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

    def reload(self) -> None:
        """Let it read certificate and revocation list anew; nobody is disconnected. Raises BrokerUnavailable."""
        os.kill(self.pid, signal.SIGHUP)

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
            host = REACHED_AT.get(self.settings.host, self.settings.host)
            if _accepts_connect(host, port) if self.settings.identity is None else _speaks_tls(host, port):
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


def _speaks_tls(host: str, port: int) -> bool:
    """Whether it answers a handshake. We have no certificate to show, so its refusal is an answer, too."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout=1.0) as sock, context.wrap_socket(sock):
            return True
    except ssl.SSLError:
        return True
    except OSError:
        return False
