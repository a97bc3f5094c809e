"""The trial with malicious devices, short, on a real secured site."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.malicious.__main__ import trial
from testbed.malicious.figures import REST
from testbed.malicious.schedule import Attack


@pytest.mark.mosquitto
@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
def test_every_attack_in_turn_costs_honest_devices_no_request(tmp_path: Path) -> None:
    """A second of each: every id that an honest device issued is one row, and every outbox gets empty."""
    figures, faults = trial(tmp_path, seed=1, seconds=len(Attack), quiet_s=8.0, segment_s=1.0)

    assert figures["honest_ids"] > 0
    assert (0, 0, 0) == (figures["lost"], figures["doubled"], figures["acknowledged_without_row"])
    assert "devices could not hand in all of their reports" not in faults
    assert {*map(str, Attack), REST} == figures["by_attack"].keys()
