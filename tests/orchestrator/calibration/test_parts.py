"""The parts of the fit, by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.vocabulary import ModelName, NodeId
from model_zoo.manifest import load_manifest
from orchestrator.calibration.coefficient import Coefficient
from orchestrator.calibration.interpolation import unseen
from orchestrator.calibration.local import simulated_names
from orchestrator.calibration.robust import centre, fit_non_negative, fit_two_way, spread

MODELS = list(load_manifest().models)
ASSUMED_MS = {model: 10.0 + place for place, model in enumerate(MODELS)}


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        (("s1", "s2", "s3"), ["s1", "s2", "s3"]),
        (("s01", "s2", "s12"), ["s01", "s02", "s12"]),
        (("cam-10", "cam-9", "door"), ["s2", "s1", "s3"]),
        (("s1", "porch"), ["s2", "s1"]),
        (("s1", "s01"), ["s2", "s1"]),
    ],
)
def test_devices_have_the_simulators_names(nodes: tuple[str, ...], names: list[str]) -> None:
    """The numbers of the log if all have one of their own, else in the order of their names; padded to equal length."""
    assert names == list(simulated_names(tuple(map(NodeId, nodes))).values())


@given(
    seen_ms=st.dictionaries(st.sampled_from(MODELS), st.floats(1e-3, 1e5), min_size=1),
    model=st.sampled_from(MODELS),
)
def test_an_unseen_time_is_above_0_and_says_so(seen_ms: dict[ModelName, float], model: ModelName) -> None:
    """Whatever was seen, even times that fall with MACs."""
    seen = {name: Coefficient(ms, 3, "") for name, ms in seen_ms.items()}
    found = unseen(model, seen, 0, load_manifest(), ASSUMED_MS)

    assert found.number > 0
    assert 0 == found.rows
    assert "never measured" in found.origin


@pytest.mark.parametrize(
    ("d0_ms", "d2_ms", "d3_ms"), [(569.0, 10.0, 10.0 * 41 / 150), (10.0, 10.0, 10.0), (10.0, 20.0, 20.0)]
)
def test_what_is_extrapolated_is_between_proportion_and_the_nearest(d0_ms: float, d2_ms: float, d3_ms: float) -> None:
    """A line below the proportion to MACs, one that is level, and one that falls."""
    seen = {ModelName("d0"): Coefficient(d0_ms, 3, ""), ModelName("d2"): Coefficient(d2_ms, 3, "")}

    assert d3_ms == pytest.approx(unseen(ModelName("d3"), seen, 0, load_manifest(), ASSUMED_MS).number, rel=1e-4)


def test_a_model_that_ran_too_seldom_counts_as_unseen() -> None:
    """Its first run loads it."""
    seen = {ModelName("d0"): Coefficient(80.0, 9, "")}

    assert unseen(ModelName("d7"), seen, 1, load_manifest(), ASSUMED_MS).origin.startswith("measured 1 time only: ")


def test_a_tenth_of_wild_values_hardly_moves_a_centre() -> None:
    """The mean moves by 90 %, the centre by less than a third of a deviation."""
    values = np.random.default_rng(1).normal(100.0, 3.0, 500)
    values[::10] *= 10

    assert 100.0 == pytest.approx(centre(values), abs=1.0)
    assert 3.0 == pytest.approx(spread(values), rel=0.25)


def test_values_that_are_all_the_same_have_that_centre() -> None:
    """Emulated times do not vary; neither do single ones, or zeros."""
    assert [7.0, 7.0, 0.0] == pytest.approx([centre(np.full(9, 7.0)), centre(np.array([7.0])), centre(np.zeros(4))])


def test_no_coefficient_is_below_0() -> None:
    """A line that falls becomes level."""
    columns = np.column_stack([np.ones(4), np.arange(4.0)])
    level, slope = fit_non_negative(columns, np.array([4.0, 3.0, 2.0, 1.0]))

    assert 0.0 == slope
    assert 1.0 < level < 4.0


def test_a_two_way_table_is_taken_apart_whatever_its_counts() -> None:
    """9 of 10 values of a row are in a column of its own: medians by turns would see no difference between rows."""
    row = np.array([0] * 10 + [1] * 10)
    column = np.array([0] * 9 + [1] + [1] * 9 + [0])
    values = np.array([0.0, 1.5])[row] + np.array([4.0, 7.0])[column]
    found = fit_two_way(values, row, column, (3, 2))

    assert 1.5 == pytest.approx(found[1] - found[0])
    assert 0.0 == pytest.approx(found[2])
