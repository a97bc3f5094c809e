"""The form in which benchmarks hand over their figures."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.report_form import Goal, Report, Row, read_report, write_report


def row(ours: float = 3.0, beside_value: float | None = None, goal: Goal | None = None) -> Row:
    return Row(what="a decision", ours=ours, unit="ms", beside="paho", beside_value=beside_value, goal=goal)


def test_a_report_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """Rows with goals, and details of any shape."""
    written = Report(
        benchmark="b", title="B", rows=[row(3.0, 2.0, Goal(limit=2, of="ratio"))], details={"turns": [1, 2]}
    )
    write_report(tmp_path / "b.json", written)

    assert written == read_report(tmp_path / "b.json")


def test_figures_of_another_form_are_refused(tmp_path: Path) -> None:
    """A script that writes what it likes is a failure, not an empty table."""
    (tmp_path / "b.json").write_text('{"benchmark": "b", "rounds": 3}', encoding="utf-8")

    with pytest.raises(msgspec.ValidationError):
        read_report(tmp_path / "b.json")


def test_nothing_is_written_without_a_file(tmp_path: Path) -> None:
    """`--json` was not given."""
    write_report(None, Report(benchmark="b", title="B", rows=[]))

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ours", "goal", "met"),
    [
        (2.0, Goal(limit=2.0), True),
        (2.1, Goal(limit=2.0), False),
        (2.0, Goal(limit=2.0, at_least=True), True),
        (1.9, Goal(limit=2.0, at_least=True), False),
        (3.0, Goal(limit=1.5, of="ratio"), True),
        (3.1, Goal(limit=1.5, of="ratio"), False),
    ],
)
def test_a_limit_itself_is_met_from_either_side(ours: float, goal: Goal, met: bool) -> None:
    """At most and at least include the limit; a ratio is to what it is compared with, here 2 ms."""
    assert met is row(ours, 2.0, goal).met


def test_a_ratio_that_could_not_be_measured_is_a_goal_that_is_not_met() -> None:
    """Without what it is compared with there is no ratio, and no excuse."""
    lonely = row(3.0, None, Goal(limit=1.5, of="ratio"))

    assert (None, None, False) == (lonely.ratio, lonely.judged, lonely.met)
    assert row(3.0).met is None
