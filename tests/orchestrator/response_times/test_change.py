"""Change detection."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.response_times.change import Changes, Cusum


def _note(cusum: Cusum, *residuals: float, sd: float = 1.0) -> Changes:
    """One measurement of each of the first rows."""
    return cusum.note(np.arange(len(residuals)), np.array(residuals), np.full(len(residuals), sd))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("step", [4.0, 6.0, 40.0])
def test_a_step_is_found_within_four_measurements(sign: float, step: float) -> None:
    """Up and down, among five rows; which row, by how much, and since when."""
    cusum, random = Cusum(), np.random.default_rng(6)
    for _ in range(50):
        assert not len(_note(cusum, *random.normal(0, 0.5, 5)).changed)
    looks = [_note(cusum, 0.0, 0.0, sign * step, 0.0, 0.0) for _ in range(4)]
    first = next(number for number, found in enumerate(looks) if len(found.changed))
    found = looks[first]

    assert first >= 2
    assert [2] == found.changed.tolist()
    assert [first + 1] == pytest.approx(found.since.tolist(), abs=1)
    assert [sign * step] == pytest.approx(found.moved.tolist(), rel=0.3)


@pytest.mark.parametrize("size", [5.0, 50.0, 1e9, -1e9])
def test_one_outlier_alone_raises_no_alarm(size: float) -> None:
    """Of whatever size, on either side; it is a suspect, and what is ordinary is none."""
    cusum = Cusum()
    _note(cusum, 0.0, 0.0)
    found = _note(cusum, size, 0.5)

    assert ([], [0]) == (found.changed.tolist(), found.suspect.tolist())
    for _ in range(20):
        found = _note(cusum, 0.0, 0.0)
        assert ([], []) == (found.changed.tolist(), found.suspect.tolist())


def test_two_outliers_on_end_raise_no_alarm() -> None:
    """Whatever their size; more of them would."""
    cusum = Cusum()

    assert [0, 0] == [len(_note(cusum, 100.0).changed) for _ in range(2)]
    assert 1 == sum(len(_note(cusum, 100.0).changed) for _ in range(2))


def test_ordinary_noise_raises_no_alarm() -> None:
    """20,000 standard normal residuals of five rows."""
    cusum, random = Cusum(), np.random.default_rng(0)
    alarms = sum(len(_note(cusum, *row).changed) for row in random.normal(size=(4000, 5)))

    assert 0 == alarms


def test_residuals_count_in_their_own_deviations() -> None:
    """40 ms off with a deviation of 10 ms is a step; with one of 40 ms it is not."""
    sure, unsure = Cusum(), Cusum()
    found = [len(_note(sure, 40.0, sd=10.0).changed) for _ in range(6)]
    not_found = [len(_note(unsure, 40.0, sd=40.0).changed) for _ in range(6)]

    assert (True, False) == (any(found), any(not_found))


def test_after_an_alarm_a_row_begins_anew() -> None:
    """What comes then is no alarm until it has been strange for as long again."""
    cusum = Cusum()
    alarms = [len(_note(cusum, 10.0).changed) for _ in range(12)]
    first = alarms.index(1)

    assert alarms == ([0] * first + [1]) * (12 // (first + 1))


def test_rows_do_not_disturb_each_other() -> None:
    """One changes while only some of the others are measured; it is named by its place in what was noted."""
    cusum, changed = Cusum(), []
    for _ in range(4):
        changed.append(cusum.note(np.array([1, 3]), np.array([0.0, 9.0]), np.ones(2)).changed.tolist())
        changed.append(cusum.note(np.array([0, 1]), np.zeros(2), np.ones(2)).changed.tolist())

    assert 1 == changed.count([1])
    assert len(changed) - 1 == changed.count([])


def test_saved_and_loaded_it_goes_on_exactly() -> None:
    """In the middle of a change: the alarm comes at the same measurement."""
    cusum, copy = Cusum(), Cusum()
    for _ in range(2):
        _note(cusum, 10.0)
    copy.load({name: array.copy() for name, array in cusum.save().items()})

    alarms = [[len(_note(either, 10.0).changed) for _ in range(4)] for either in (cusum, copy)]
    assert alarms[0] == alarms[1]
    assert 1 in alarms[0][:2]


def test_what_was_saved_does_not_change_any_more() -> None:
    """It may be written to disk later than the next measurement comes."""
    cusum = Cusum()
    _note(cusum, 10.0)
    saved = cusum.save()
    before = {name: array.tolist() for name, array in saved.items()}
    _note(cusum, 10.0)

    assert before == {name: array.tolist() for name, array in saved.items()}


def test_arrays_that_cannot_be_are_refused() -> None:
    """Another shape, not a number, one missing."""
    cusum = Cusum()
    _note(cusum, 1.0, 2.0)
    saved = cusum.save()
    for name in saved:
        for wrong in (saved[name][:1], saved[name] * np.nan):
            with pytest.raises(ValueError, match="another shape, or not finite"):
                Cusum().load({**saved, name: wrong})
        with pytest.raises(KeyError):
            Cusum().load({other: array for other, array in saved.items() if other != name})
