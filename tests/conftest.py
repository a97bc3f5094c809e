"""What tests of every package may need: a real Mosquitto on loopback, and a site of one's own on it."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from broker.client import Endpoint
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.vocabulary import SiteId, site_id

# Other processes may be busy on the machine: how long an example takes says nothing.
settings.register_profile("tierwise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tierwise")


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses a real Mosquitto carries its mark; files with slow tests come first, so that of several workers none
    is left alone with one of them in the end."""
    for item in items:
        if {"mosquitto", "own_mosquitto"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.mosquitto)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Agents that name no folder for their outbox, in processes of their own too, leave nothing in a person's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoProcess]:
    """The Mosquitto that all tests share: do not stop it, and keep to your own `site`."""
    directory: Path = tmp_path_factory.mktemp("mosquitto")
    with MosquittoProcess(MosquittoSettings(directory=directory)) as process:
        yield process


@pytest.fixture
def mosquitto_endpoint(mosquitto: MosquittoProcess) -> Endpoint:
    """Where the shared Mosquitto listens."""
    return mosquitto.endpoint


@pytest.fixture
def own_mosquitto(tmp_path: Path) -> Iterator[MosquittoProcess]:
    """A Mosquitto for one test alone, which may stop, kill, freeze and start it again."""
    with MosquittoProcess(MosquittoSettings(directory=tmp_path / "own-mosquitto")) as process:
        yield process


@pytest.fixture
def site() -> SiteId:
    """A site that no other test uses, so that tests can share a broker."""
    return site_id(f"test-{secrets.token_hex(6)}")
