"""`tierwise broker run`, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.mosquitto
WAIT_S = 120.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tierwise", "broker", "run", *arguments]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command, ready, and the port it announced."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command(*arguments), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            announced = re.search(r"listens on 127\.0\.0\.1:(\d+)", process.stdout.readline())
            yield process, int(announced[1])
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_announces_its_port_and_ends_cleanly(tmp_path, number):
    """Exit code 0, Mosquitto's log on stderr from start to end, and nothing left that listens."""
    with running("--port", "0", "--directory", str(tmp_path)) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S):
            pass
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_S)

    assert 0 == process.returncode
    assert "mosquitto version" in errors
    assert "terminating" in errors
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def test_options_win_over_the_file(tmp_path):
    """The file's directory is not touched when another is given."""
    file = tmp_path / "broker.yaml"
    file.write_text(f"version: 1\nport: 1\ndirectory: {tmp_path}/file\nmax_connections: 77\n", encoding="utf-8")
    with running("--config", str(file), "--port", "0", "--directory", str(tmp_path / "option")):
        rendered = (tmp_path / "option" / "mosquitto.conf").read_text(encoding="utf-8")

    assert "max_connections 77" in rendered
    assert not (tmp_path / "file").exists()


def test_a_mosquitto_that_dies_is_an_error(tmp_path):
    """Exit code 1 and the reason, so that a service manager starts it again."""
    with running("--port", "0", "--directory", str(tmp_path)) as (process, _):
        os.kill(_mosquitto_of(process.pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=WAIT_S)

    assert 1 == process.returncode
    assert "ended by itself with exit code -9" in errors


def _mosquitto_of(parent: int) -> int:
    """The one child of the command."""
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1\nhost: 0.0.0.0\n", "loopback only"),
        ("version: 1\nprot: 1883\n", "did you mean port?"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path, text, says):
    """One line that names what is wrong, and exit code 1."""
    file = tmp_path / "broker.yaml"
    file.write_text(text, encoding="utf-8")
    arguments = command("--config", str(file), "--directory", str(tmp_path / "broker"))
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert 1 == ended.returncode
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
