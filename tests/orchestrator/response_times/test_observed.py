"""What was measured of local runs: newest ones, sums, growth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.response_times.observed import KEPT, MOST_COUNTED, Observed


def _add(observed: Observed, values: list[float], row: int = 0, model: int = 0, kind: int = 0) -> None:
    for value in values:
        observed.add(np.array([row]), np.array([model]), np.array([kind]), np.array([value]))


def _busy_one() -> Observed:
    """Two devices, two models, two classes, more measurements than are kept one by one."""
    observed = Observed(2)
    for place in range(40):
        _add(observed, [5.0 + 0.1 * place], place % 2, place // 2 % 2, place // 4 % 2)
    return observed


def test_older_measurements_are_in_the_sums() -> None:
    """Three times as many as are kept one by one: count and total are of all."""
    observed = Observed(1)
    values = [5.0 + 0.01 * place for place in range(3 * KEPT)]
    _add(observed, values)
    count, total = observed.sums()

    assert (3 * KEPT, KEPT) == (pytest.approx(count[0, 0, 0]), len(observed.places()[0]))
    assert sum(values) == pytest.approx(total[0, 0, 0])


def test_a_measurement_goes_into_the_sums_with_its_weight_and_its_class() -> None:
    """Weighed down and then pushed out by others of another class."""
    observed = Observed(1)
    _add(observed, [9.0], kind=1)
    observed.places()
    observed.weigh(np.array([0.25]))
    _add(observed, [5.0] * KEPT)
    count, total = observed.sums()

    assert [KEPT, 0.25] == pytest.approx(count[0, :, 0].tolist())
    assert [5.0 * KEPT, 9.0 * 0.25] == pytest.approx(total[0, :, 0].tolist())


def test_growth_keeps_what_is_there() -> None:
    """More devices and classes: old sums stay where they were, new ones are empty."""
    observed = _busy_one()
    count, total = observed.sums()

    assert observed.grow(5, 4)
    more_count, more_total = observed.sums()
    assert (5, 4, 2) == more_count.shape
    assert count.tolist() == more_count[:2, :2].tolist()
    assert total.tolist() == more_total[:2, :2].tolist()
    assert count.sum() == pytest.approx(more_count.sum())
    assert not observed.grow(5, 4)


def test_old_measurements_together_are_bounded() -> None:
    """After a thousand, what drifts can still be followed: no more than MOST_COUNTED and the newest, mean unchanged."""
    observed = Observed(1)
    _add(observed, [5.0] * 1000)
    count, total = observed.sums()

    assert count[0, 0, 0] <= MOST_COUNTED + KEPT
    assert 5.0 == pytest.approx(total[0, 0, 0] / count[0, 0, 0])


def test_a_shift_moves_one_row_and_counts_little() -> None:
    """Each mean of the device moves by the shift, and no model counts for more than one; the other row stays."""
    observed = _busy_one()
    count, total = observed.sums()
    observed.shift(0, 0.7)
    after_count, after_total = observed.sums()
    seen = count[0] > 0

    assert (total[0][seen] / count[0][seen] + 0.7).tolist() == pytest.approx(
        (after_total[0][seen] / after_count[0][seen]).tolist()
    )
    assert (after_count[0].sum(axis=0) <= 1.0 + 1e-12).all()
    assert (count[1].tolist(), total[1].tolist()) == (after_count[1].tolist(), after_total[1].tolist())


def test_saved_and_loaded_it_is_the_same() -> None:
    """Sums now, and after more measurements."""
    observed, copy = _busy_one(), Observed(2)
    saved = observed.save()
    copy.load({name: array.copy() for name, array in saved.items()})
    for _ in range(2):
        for got, expected in zip(copy.sums(), observed.sums(), strict=True):
            assert expected.tolist() == got.tolist()
        for either in (observed, copy):
            _add(either, [6.5] * 3, row=1, kind=1)
    assert (2, 2) == (copy.rows, copy.classes)


def test_what_was_saved_does_not_change_any_more() -> None:
    """It may be written to disk later than the next measurement comes."""
    observed = _busy_one()
    saved = observed.save()
    before = {name: array.tolist() for name, array in saved.items()}
    _add(observed, [9.0] * KEPT)

    assert before == {name: array.tolist() for name, array in saved.items()}


def _nan(array: Any) -> Any:
    wrong = array.copy()
    wrong.flat[0] = np.nan
    return wrong


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("log_ms", _nan),
        ("total", _nan),
        ("weights", lambda array: array[:1]),
        ("count", lambda array: array[:, :, :1]),
        ("count", lambda array: -1.0 - array),
        ("weights", lambda array: -1.0 - array),
        ("kinds", lambda array: array + 5),
        ("kinds", lambda array: array - 5),
        ("next", lambda array: array + KEPT),
    ],
)
def test_arrays_that_cannot_be_are_refused(name: str, change: Any) -> None:
    """Not finite, of another shape, weights below 0, or pointing outside."""
    saved = _busy_one().save()
    with pytest.raises(ValueError, match=r"not finite|not there|below 0"):
        Observed(2).load({**saved, name: change(saved[name])})


def test_a_missing_array_is_refused() -> None:
    """Each of them is needed."""
    saved = _busy_one().save()
    for name in saved:
        with pytest.raises(KeyError):
            Observed(2).load({other: array for other, array in saved.items() if other != name})
