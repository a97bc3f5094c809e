"""A provisioned site with its secured Mosquitto, which the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.access_matrix.matrix import accounts_for
from benchmarks.access_matrix.site import Site, running_site
from broker.access import Role
from broker.identity.accounts import Account
from broker.vocabulary import NodeId, SiteId

SITE = SiteId("matrix")


@pytest.fixture(scope="session")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Has an account for every actor of the access matrix; its broker is not to be stopped, its rights not changed."""
    with running_site(tmp_path_factory.mktemp("secured"), SITE, accounts_for()) as site:
        yield site


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """For one test alone: two devices, an orchestrator and an operator."""
    accounts = [
        Account(NodeId("s1"), Role.END_DEVICE),
        Account(NodeId("s2"), Role.END_DEVICE),
        Account(NodeId("orchestrator"), Role.ORCHESTRATOR),
        Account(NodeId("alice"), Role.OPERATOR),
    ]
    with running_site(tmp_path, SiteId("home"), accounts) as site:
        yield site


@pytest.fixture
def now() -> datetime:
    """Any moment will do."""
    return datetime(2026, 11, 27, 12, tzinfo=UTC)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses a secured site uses a real Mosquitto."""
    for item in items:
        if {"shared_site", "own_site"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.mosquitto)
