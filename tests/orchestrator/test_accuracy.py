"""Accuracies in integer tenths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import TierwiseError
from broker.vocabulary import ModelName
from orchestrator.accuracy import Accuracies, floor_tenths

MODELS = st.sampled_from([ModelName(f"d{place}") for place in range(8)])


def test_deficits_of_table_4(accuracies: Accuracies) -> None:
    """The deficits of d0 to d7 against d0 are those of the design."""
    assert [0, 17, 50, 157, 10, 29, 67, 171] == [accuracies.deficit(model) for model in accuracies.tenths]


def test_cheapest_first_by_macs_then_int8(accuracies: Accuracies) -> None:
    """d7 is the cheapest and d0 the dearest; of two with equal MACs the int8 one is cheaper."""
    order = sorted(accuracies.cost, key=accuracies.cost.__getitem__)

    assert ["d7", "d3", "d6", "d2", "d5", "d1", "d4", "d0"] == order


def test_meets_six_times_the_best_at_its_own_floor(accuracies: Accuracies) -> None:
    """Six times 89.9 averages 89.9, although the same sum in floating point does not."""
    assert accuracies.meets([ModelName("d0")] * 6, 899)
    assert sum([89.9] * 6) / 6 < 89.9


@given(models=st.lists(MODELS, min_size=1, max_size=50), floor=st.integers(0, 899))
def test_meets_exactly_when_the_deficits_are_within_the_budget(
    accuracies: Accuracies, models: list[ModelName], floor: int
) -> None:
    """The average is at or above the floor if and only if the summed deficits are at most N (best - floor)."""
    within = sum(accuracies.deficit(model) for model in models) <= accuracies.budget(len(models), floor)

    assert within == accuracies.meets(models, floor)


@pytest.mark.parametrize("percent", [-0.1, 100.1, 89.95, 0.01])
def test_floor_that_is_not_in_tenths_is_refused(percent: float) -> None:
    """A floor outside 0 to 100, or finer than a tenth, is an error."""
    with pytest.raises(TierwiseError, match="floor"):
        floor_tenths(percent)
