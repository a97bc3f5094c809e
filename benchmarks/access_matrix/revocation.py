"""How long a revocation takes: from the start of `tierwise broker revoke`, Python's own included, and from the call."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.access_matrix.handshakes import ACCEPTED, attempt
from benchmarks.access_matrix.party import PATIENCE_S, Party
from benchmarks.access_matrix.site import HOST, provisioned
from broker.access import Role
from broker.endpoint import Endpoint
from broker.identity.accounts import Account
from broker.identity.control import administrator
from broker.identity.folder import Folder
from broker.identity.revoking import revoke
from broker.tls import Tls
from broker.vocabulary import NodeId, SiteId

LOOK_S = 0.005


@dataclass(frozen=True, slots=True)
class Revocations:
    """Seconds until the live session had ended, and until the certificate was refused at the handshake; `called_s` is
    the former without the start of Python: from the connection of the administrator to the victim's end."""

    session_ended_s: list[float]
    refused_s: list[float]
    called_s: list[float]

    def as_json(self) -> dict[str, object]:
        """Every one, and the largest."""
        return {
            "session_ended_s": [round(value, 3) for value in self.session_ended_s],
            "certificate_refused_s": [round(value, 3) for value in self.refused_s],
            "largest_session_ended_s": round(max(self.session_ended_s), 3),
            "largest_certificate_refused_s": round(max(self.refused_s), 3),
            "median_session_ended_s": round(median(self.session_ended_s), 3),
            "largest_session_ended_after_the_call_s": round(max(self.called_s), 3),
            "median_session_ended_after_the_call_s": round(median(self.called_s), 3),
        }


def revoke_one_after_the_other(directory: Path, count: int) -> Revocations:
    """`count` connected devices, each revoked by the command a person would type; as many by what it calls."""
    names = [NodeId(f"s{number}") for number in range(2 * count)]
    folder, _ = provisioned(directory, SiteId("home"), [Account(name, Role.END_DEVICE) for name in names])
    ended: list[float] = []
    refused: list[float] = []
    with _broker_running(folder.broker, directory / "run") as port:
        called = [_call(folder, name, port) for name in names[count:]]
        for name in names[:count]:
            endpoint = Endpoint(HOST, port, tls=Tls.in_directory(folder.of(name, Role.END_DEVICE)))
            command = ["broker", "revoke", name, "--directory", str(folder.root), "--host", HOST, "--port", str(port)]
            with Party(endpoint) as victim:
                started_s = time.monotonic()
                running = subprocess.Popen([sys.executable, "-m", "tierwise", *command], stdout=subprocess.DEVNULL)
                if not victim.ended.wait(PATIENCE_S):
                    raise TimeoutError(f"{name} is still connected")
                ended.append(time.monotonic() - started_s)
                while attempt(endpoint) == ACCEPTED:
                    time.sleep(LOOK_S)
                refused.append(time.monotonic() - started_s)
                running.wait(PATIENCE_S)
    return Revocations(ended, refused, called)


def _call(folder: Folder, name: NodeId, port: int) -> float:
    with Party(Endpoint(HOST, port, tls=Tls.in_directory(folder.of(name, Role.END_DEVICE)))) as victim:
        started_s = time.monotonic()
        revoke(folder, name, datetime.now(UTC), administrator(folder, HOST, port))
        if not victim.ended.wait(PATIENCE_S):
            raise TimeoutError(f"{name} is still connected")
        return time.monotonic() - started_s


@contextmanager
def _broker_running(identity: Path, directory: Path) -> Iterator[int]:
    arguments = ["broker", "run", "--identity", str(identity), "--port", "0", "--directory", str(directory)]
    with subprocess.Popen(
        [sys.executable, "-m", "tierwise", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            announced = re.search(r"listens on [^:]*:(\d+)", process.stdout.readline())
            if announced is None:
                raise RuntimeError("the broker did not start")
            yield int(announced[1])
        finally:
            process.terminate()
