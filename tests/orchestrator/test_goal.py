"""The goal in force and what outlives the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import Refused
from broker.messages import GoalSet
from configs.orchestrator import GoalSection, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.errors import CheckpointRefused
from orchestrator.goal import GoalInForce, goal_at_start, memory_of, read_memory, write_memory

START = GoalInForce(890, Policy.FACTORED, 1)


def test_a_change_keeps_what_it_does_not_name_and_has_a_new_version(accuracies: Accuracies) -> None:
    """Floor alone, policy alone."""
    assert GoalInForce(850, Policy.FACTORED, 2) == START.changed(GoalSet(accuracy_floor_percent=85.0), accuracies)
    assert GoalInForce(890, Policy.EDGE_ONLY, 2) == START.changed(GoalSet(policy="edge_only"), accuracies)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (GoalSet(policy="best"), "no policy 'best'; there are factored"),
        (GoalSet(accuracy_floor_percent=90.0), "no model reaches 90.0 %, the best has 89.9 %"),
        (GoalSet(accuracy_floor_percent=85.55), "one decimal"),
        (GoalSet(policy="edge_only", accuracy_floor_percent=99.0), "no model reaches"),
    ],
)
def test_a_bad_goal_is_refused_with_the_reason(accuracies: Accuracies, wanted: GoalSet, why: str) -> None:
    """Wholly: the good half of it is not taken either."""
    with pytest.raises(Refused, match=why):
        START.changed(wanted, accuracies)


def test_a_goal_that_was_set_survives_a_restart(tmp_path: Path) -> None:
    """With its version."""
    configured, set_later = GoalSection(), GoalInForce(850, Policy.EDGE_ONLY, 7)
    write_memory(tmp_path / "memory.json", memory_of(set_later, configured, 40))

    assert set_later == goal_at_start(configured, read_memory(tmp_path / "memory.json"))


def test_a_changed_yaml_wins_over_a_goal_that_was_set() -> None:
    """Under a higher version than any that was in force."""
    memory = memory_of(GoalInForce(850, Policy.EDGE_ONLY, 7), GoalSection(), 40)
    changed = GoalSection(accuracy_floor="max", policy=Policy.CLOUD_ONLY)

    assert GoalInForce(899, Policy.CLOUD_ONLY, 8) == goal_at_start(changed, memory)


def test_nothing_remembered_is_no_error(tmp_path: Path) -> None:
    """The first start."""
    assert read_memory(tmp_path / "memory.json") is None
    assert START == goal_at_start(GoalSection(), None)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"form": "1"}'])
def test_a_broken_memory_is_refused_by_name(tmp_path: Path, content: str) -> None:
    """Rather than begun anew behind the user's back."""
    path = tmp_path / "memory.json"
    path.write_text(content)
    with pytest.raises(CheckpointRefused, match=r"memory\.json"):
        read_memory(path)
