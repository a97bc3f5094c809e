"""What these tests share: all response times of a site that nothing is known of yet, and views of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from configs.orchestrator import StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.response_times.site import SiteTimes
from orchestrator.response_times.view import View


@pytest.fixture
def times(accuracies: Accuracies) -> SiteTimes:
    """Knows the models, and no device."""
    return SiteTimes(accuracies.tenths, StateSection())


@pytest.fixture
def view(times: SiteTimes, observe: Any) -> Callable[..., View]:
    """Takes what `observe` takes. Columns 0 to 7 are local with d0 to d7, 8 is the edge and 9 the cloud with d0."""
    return lambda *wanted, **settings: times.view(observe(*wanted, **settings))
