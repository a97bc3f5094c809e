"""Frozen and dead peers are known, and devices answer without the cloud; how soon is for `make soak` to say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from testbed.recovery.__main__ import faults_of, trial


@pytest.mark.system
@pytest.mark.models
@pytest.mark.slow
def test_every_frozen_and_dead_peer_is_known_and_devices_answer_without_the_cloud(tmp_path: Path) -> None:
    """One freeze of each kind, one kill of each, and a cloud that is gone twice: all is noticed, nothing fails."""
    result = asyncio.run(trial(tmp_path, 5, seed=2, away_s=3.0))

    assert 5 == len(result["known_after_s"])
    assert {"edge", "s1", "orchestrator"} == set(result["killed_known_after_s"])
    for away in result["without_the_cloud"].values():
        assert (0, True) == (away["failed"], away["answered_locally"] > 0)


def test_what_is_late_is_told() -> None:
    """The trial itself can fail: a worst case above the goal is named with its time."""
    away = {"answered_locally": 5, "failed": 0, "longest_ms": 1200.0, "under_way_longest_ms": 0.0}
    result = {
        "known_after_s": {"edge, by a device": {"median": 2.0, "worst": 3.5}},
        "killed_known_after_s": {"edge": 0.01},
        "without_the_cloud": {"killed": away},
    }

    assert ["edge, by a device: known after 3.50 s", f"without the cloud (killed): {away}"] == faults_of(result)
