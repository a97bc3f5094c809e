"""The goal in force and what outlives the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import Refused
from broker.messages import GoalSet
from broker.vocabulary import Metric
from configs.orchestrator import GoalSection, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.errors import CheckpointRefused, GoalRefused
from orchestrator.goal import GoalInForce, check_models, goal_at_start, memory_of, read_memory, write_memory

START = GoalInForce(890, Policy.FACTORED, 1)


def test_a_change_keeps_what_it_does_not_name_and_has_a_new_version(accuracies: Accuracies) -> None:
    """Floor alone, policy alone."""
    assert GoalInForce(850, Policy.FACTORED, 2) == START.changed(GoalSet(accuracy_floor_percent=85.0), accuracies)
    assert GoalInForce(890, Policy.EDGE_ONLY, 2) == START.changed(GoalSet(policy="edge_only"), accuracies)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (GoalSet(policy="best"), "no policy 'best'; there are factored"),
        (GoalSet(accuracy_floor_percent=90.0), "no model reaches 90 %, the best has 89.9 %"),
        (GoalSet(accuracy_floor_percent=85.55), "one decimal"),
        (GoalSet(accuracy_floor_percent=0.9), r"least accurate model's 72.8 % \(did you mean 90\?\)"),
        (GoalSet(accuracy_floor_percent=0.85), r"did you mean 85\?"),
        (GoalSet(accuracy_floor_percent=3.0), "below the least accurate model's 72.8 %; give 72.8 to 89.9, or min"),
        (GoalSet(accuracy_floor_percent=72.7), "give 72.8 to 89.9, or min for no floor"),
        (GoalSet(policy="edge_only", accuracy_floor_percent=99.0), "no model reaches"),
    ],
)
def test_a_bad_goal_is_refused_with_the_reason(accuracies: Accuracies, wanted: GoalSet, why: str) -> None:
    """Wholly: the good half of it is not taken either."""
    with pytest.raises(Refused, match=why):
        START.changed(wanted, accuracies)


def test_no_floor_and_the_least_accurate_models_own_are_taken(accuracies: Accuracies) -> None:
    """0, which is `min`, and 72.8."""
    for percent in (0.0, 72.8):
        wanted = GoalSet(accuracy_floor_percent=percent)
        assert round(10 * percent) == START.changed(wanted, accuracies).floor_tenths


def test_a_policy_is_changed_whatever_the_floor_in_force_is(accuracies: Accuracies) -> None:
    """Models may have come or gone since that was set."""
    for tenths in (950, 650):
        assert tenths == GoalInForce(tenths, Policy.RANDOM, 1).changed(GoalSet(policy="dqn"), accuracies).floor_tenths


@pytest.mark.parametrize(("floor", "why"), [(3.0, "give 72.8 to 89.9"), (50.0, "below the least accurate model's")])
def test_a_file_with_a_floor_below_all_models_is_refused_at_the_start(
    accuracies: Accuracies, floor: float, why: str
) -> None:
    """As that of a `goal/set` is; one that was remembered from before is only logged."""
    configured = GoalSection(accuracy_floor=floor)
    with pytest.raises(GoalRefused, match=f"goal.accuracy_floor: .*{why}"):
        check_models(configured, goal_at_start(configured, None), accuracies)
    check_models(GoalSection(), GoalInForce(500, Policy.RANDOM, 3), accuracies)
    check_models(GoalSection(accuracy_floor="min"), goal_at_start(GoalSection(accuracy_floor="min"), None), accuracies)


def test_a_changed_metric_makes_the_files_goal_count_again() -> None:
    """A floor that was set under another metric means something else."""
    memory = memory_of(GoalInForce(850, Policy.FACTORED, 7), GoalSection(), 40)
    changed = GoalSection(metric="top1")

    assert GoalInForce(890, Policy.FACTORED, 8, Metric.TOP1) == goal_at_start(changed, memory)


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
