"""The joint fallback assignment keeps the floor whoever falls back."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from broker.vocabulary import Action, ModelName, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.fallback import joint_fallback, safe_local

D = [ModelName(f"d{place}") for place in range(8)]
ACTIONS = [*(Action(Tier.END, model) for model in D), Action(Tier.EDGE, D[0]), Action(Tier.CLOUD, D[0])]
FLOORS = st.one_of(st.integers(0, 899), st.sampled_from([0, 800, 850, 890, 899]))


def _every_outcome(decided: list[Action], fallbacks: list[ModelName]) -> list[tuple[ModelName, ...]]:
    """The models that run for each subset of devices that falls back."""
    return list(product(*zip([action.model for action in decided], fallbacks, strict=True)))


@given(decided=st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=6), floor=FLOORS)
def test_any_subset_may_fall_back_when_the_decision_meets_the_floor(
    accuracies: Accuracies, decided: list[Action], floor: int
) -> None:
    """With all models on every device, no subset that falls back brings the average below the floor."""
    fallbacks = joint_fallback(decided, [D] * len(decided), floor, accuracies)

    if accuracies.meets([action.model for action in decided], floor):
        assert all(accuracies.meets(outcome, floor) for outcome in _every_outcome(decided, fallbacks))
        kept = [(a.model, f) for a, f in zip(decided, fallbacks, strict=True) if a.tier is Tier.END]
        assert all(own == fallback for own, fallback in kept)
    assert accuracies.meets(fallbacks, floor)


@st.composite
def heterogeneous(draw: st.DrawFn) -> tuple[list[Action], list[list[ModelName]], int]:
    """Devices that have only some models, each decided to do something that it can."""
    devices = draw(st.lists(st.sets(st.sampled_from(D), min_size=1), min_size=1, max_size=6))
    able = [sorted(models) for models in devices]
    offloads = [Action(Tier.EDGE, D[0]), Action(Tier.CLOUD, D[0])]
    decided = [draw(st.sampled_from([*(Action(Tier.END, m) for m in models), *offloads])) for models in able]
    return decided, able, draw(FLOORS)


@given(case=heterogeneous())
def test_devices_that_lack_models_keep_the_floor_if_it_can_be_kept(
    accuracies: Accuracies, case: tuple[list[Action], list[list[ModelName]], int]
) -> None:
    """Each falls back to a model it has; all falling back meets the floor wherever their best models would."""
    decided, able, floor = case
    fallbacks = joint_fallback(decided, able, floor, accuracies)

    assert all(model in models for model, models in zip(fallbacks, able, strict=True))
    best = [max(models, key=accuracies.tenths.__getitem__) for models in able]
    offloaded_best = [a.model if a.tier is Tier.END else b for a, b in zip(decided, best, strict=True)]
    meets = accuracies.meets([action.model for action in decided], floor)
    if meets and accuracies.meets(offloaded_best, floor):
        assert all(accuracies.meets(outcome, floor) for outcome in _every_outcome(decided, fallbacks))
    if not meets and accuracies.meets(best, floor):
        assert accuracies.meets(fallbacks, floor)


def test_without_a_floor_all_fall_back_to_the_cheapest(accuracies: Accuracies) -> None:
    """At floor 0 nothing is worth more than speed."""
    assert ("d7", "d7") == joint_fallback(ACTIONS[8:], [D, D], 0, accuracies)


def test_at_89_percent_all_on_the_edge_fall_back_to_d0(accuracies: Accuracies) -> None:
    """Five devices share 45 tenths: 9 each, and d4 lacks 10."""
    assert ("d0",) * 5 == joint_fallback([ACTIONS[8]] * 5, [D] * 5, 890, accuracies)


def test_a_decision_that_breaks_the_floor_gets_models_that_each_meet_it(accuracies: Accuracies) -> None:
    """At 85 % with everybody on d7, each falls back to the cheapest model of at least 85 %: d5."""
    assert ("d5",) * 3 == joint_fallback([ACTIONS[7]] * 3, [D] * 3, 850, accuracies)


def test_a_device_without_models_has_no_fallback(accuracies: Accuracies) -> None:
    """None says so, and the others share the budget as if it were not there."""
    assert (None, "d0") == joint_fallback([ACTIONS[8], ACTIONS[8]], [[], D], 899, accuracies)
    assert (None, "d5") == safe_local([[], D], 850, accuracies)
