"""What tests of commands that connect as a person share: a stranger who publishes, and commands as processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint
from broker.vocabulary import SiteId

WAIT_S = 120.0


class Stranger:
    """A bare paho client that publishes what it likes below one site, and returns when the broker has it."""

    def __init__(self, endpoint: Endpoint, site: SiteId) -> None:
        self.site = site
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.connect(endpoint.host, endpoint.port)
        self._client.loop_start()

    def says(self, below: str, payload: str, retain: bool = True) -> None:
        info = self._client.publish(f"tierwise/v1/{self.site}/{below}", payload, 1, retain)
        info.wait_for_publish(WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def stranger(mosquitto_endpoint: Endpoint, site: SiteId) -> Iterator[Stranger]:
    """On the shared Mosquitto."""
    here = Stranger(mosquitto_endpoint, site)
    yield here
    here.close()


@pytest.fixture
def stranger_at() -> Iterator[Callable[[Endpoint, SiteId], Stranger]]:
    """On a Mosquitto of the test's own; closed at the end."""
    made: list[Stranger] = []

    def make(endpoint: Endpoint, site: SiteId) -> Stranger:
        made.append(Stranger(endpoint, site))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def person() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`person(endpoint, site, "watch", ...)`: the command as a process, killed at the end if it is still there."""
    started: list[subprocess.Popen[str]] = []

    def start(endpoint: Endpoint, site: SiteId, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
        place = ["--site", site, "--host", endpoint.host, "--port", str(endpoint.port)]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "tierwise", *arguments, *place]
        started.append(subprocess.Popen(command, text=True, **{**pipes, **settings}))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
