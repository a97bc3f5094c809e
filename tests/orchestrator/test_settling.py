"""What came of a round."""

from __future__ import annotations

from typing import Any

import pytest

from broker.messages import Report, Stages
from broker.vocabulary import Action, ModelName, Outcome, RequestId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice
from orchestrator.deciding import JointDecision
from orchestrator.rounds import Asked, RoundEntry
from orchestrator.settling import Decided, settle

D0_EDGE, D4, D7 = Action(Tier.EDGE, ModelName("d0")), *(Action(Tier.END, ModelName(name)) for name in ("d4", "d7"))


def _settled(
    accuracies: Accuracies, seen: Any, chosen: tuple[Action, ...], ended: list[tuple[Outcome, Action, float] | None]
) -> Any:
    entry = RoundEntry(4, 0.0)
    for device, how in zip(seen.devices, ended, strict=True):
        asked = entry.asked[device] = Asked(device, RequestId(f"r-{device}"))
        if how is not None:
            outcome, did, response_ms = how
            asked.report = Report(
                request_id=asked.request_id, outcome=outcome, decided=True, tier=did.tier, model=did.model,
                serving_node="edge", response_ms=response_ms, stages=Stages(),
            )  # fmt: skip
    fallbacks = tuple(action.model for action in chosen)
    joint = JointDecision(seen, Choice(chosen), fallbacks, "q_learning", None)
    return settle(entry, Decided(joint, 2, 5000.0, 10_000.0), accuracies, seen)


def test_all_done(accuracies: Accuracies, observe: Any) -> None:
    """The average of the measured times, and the accuracy of what ran."""
    done = [(Outcome.DONE, D0_EDGE, 300.0), (Outcome.DONE, D4, 100.0)]
    experience, summary = _settled(accuracies, observe(2, 890), (D0_EDGE, D4), done)

    assert ((300.0, 100.0), (D0_EDGE, D4), -200.0) == (
        experience.response_ms, experience.executed, experience.reward,
    )  # fmt: skip
    assert (200.0, 89.4, True, 0) == (
        summary.mean_response_ms, pytest.approx(summary.accuracy_percent), summary.floor_met, summary.missing,
    )  # fmt: skip


@pytest.mark.parametrize("ended", [None, (Outcome.FAILED, D4, 40.0)])
def test_missing_and_failed_count_with_the_deadline(accuracies: Accuracies, observe: Any, ended: Any) -> None:
    """Nobody gains by losing a result."""
    done = [(Outcome.DONE, D0_EDGE, 300.0), ended]
    experience, summary = _settled(accuracies, observe(2, 890), (D0_EDGE, D4), done)

    assert ((300.0, None), (D0_EDGE, None)) == (experience.response_ms, experience.executed)
    assert (-2650.0, 2650.0, 1) == (experience.reward, summary.mean_response_ms, summary.missing)


def test_a_fallback_counts_with_its_own_accuracy_but_the_choice_is_rewarded(
    accuracies: Accuracies, observe: Any
) -> None:
    """The choice met the floor, so the reward is its time; what ran did not, and the summary says so."""
    fell_back = [(Outcome.FALLEN_BACK, D7, 600.0)]
    experience, summary = _settled(accuracies, observe(1, 890), (D0_EDGE,), fell_back)

    assert (-600.0, (D7,)) == (experience.reward, experience.executed)
    assert (72.8, False) == (pytest.approx(summary.accuracy_percent), summary.floor_met)


def test_a_choice_below_the_floor_earns_the_constant(accuracies: Accuracies, observe: Any) -> None:
    """However fast it was."""
    experience, summary = _settled(accuracies, observe(1, 890), (D7,), [(Outcome.DONE, D7, 72.0)])

    assert (-10_000.0, False) == (experience.reward, summary.floor_met)


def test_a_model_that_nobody_knows_counts_as_the_chosen_one(accuracies: Accuracies, observe: Any) -> None:
    """A report may claim anything; the figures stay figures."""
    strange = Action(Tier.END, ModelName("resnet"))
    _, summary = _settled(accuracies, observe(1, 0), (D4,), [(Outcome.DONE, strange, 72.0)])

    assert 88.9 == pytest.approx(summary.accuracy_percent)
