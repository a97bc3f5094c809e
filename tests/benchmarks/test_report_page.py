"""The page that `make bench` writes."""

from __future__ import annotations

import pytest

from benchmarks.kept import learning
from benchmarks.report_form import Goal, Report, Row
from benchmarks.report_page import Kept, Outcome, number, page

MET = Row(
    what="a decision", ours=0.58, unit="ms", tail=1.19, beside="bare paho", beside_value=0.4,
    goal=Goal(limit=2, of="ratio", why_missed="never said"),
)  # fmt: skip
MISSED = Row(what="start", ours=0.5, unit="s", goal=Goal(limit=0.4, why_missed="imports | many"), note="cold 2 s")
RATE = Row(what="simulator", ours=15_000, unit="steps/s", goal=Goal(limit=20_000, at_least=True, why_missed="busy"))


def outcome(*rows: Row) -> Outcome:
    return Outcome("one", "python benchmarks/one.py", 12.4, Report(benchmark="one", title="One", rows=list(rows)))


def lines(*outcomes: Outcome, kept: list[Kept] | None = None) -> list[str]:
    return page({"date": "today"}, {"Python": "3.11"}, outcomes, kept or []).splitlines()


def test_a_goal_that_is_met_stands_without_a_reason() -> None:
    """In the table of goals, and in that of its script beside what it is compared with."""
    written = lines(outcome(MET))

    assert "1 of 1 met." in written
    assert "| a decision | at most 2 times bare paho | 1.45 times | yes |  |" in written
    assert "| a decision | 0.58 ms, p99 1.19 | bare paho: 0.4 ms | 1.45 | at most 2 times | yes |  |" in written


def test_a_goal_that_is_missed_says_by_how_much_and_why() -> None:
    """Above its limit or below it; a bar in a text does not break the table."""
    written = lines(outcome(MISSED, RATE))

    assert "0 of 2 met." in written
    assert "| start | at most 0.4 s | 0.5 s | **no**, by 25 % | imports \\| many |" in written
    assert "| simulator | at least 20,000 steps/s | 15,000 steps/s | **no**, by 25 % | busy |" in written
    assert "| start | 0.5 s |  |  | at most 0.4 s | **no** | cold 2 s |" in written


def test_a_script_that_failed_is_named_beside_the_goals_and_in_its_place() -> None:
    """Nobody should take a page without its figures for a whole one."""
    failed = Outcome("two", "python benchmarks/two.py", 60.0, failure="given up after 60 s")
    written = lines(outcome(MET), failed)

    assert "1 of 1 met. **No figures from two: their goals are not in this table.**" in written
    assert "**No figures: given up after 60 s**" in written


def test_a_kept_figure_carries_its_date_wherever_it_stands() -> None:
    """It was not measured in this run, whose own count it does not change; one that is met stands at the end only."""
    earlier = Kept(Report(benchmark="k", title="Kept", rows=[MET, MISSED]), "results/k.json", "2026-11-25")
    written = lines(outcome(RATE), kept=[earlier])

    assert "0 of 1 met. Of those kept from earlier runs, 1 of 2: the missed are here too." in written
    assert "Kept (results/k.json, 2026-11-25)" in written
    assert not any(line.startswith("| a decision (kept") for line in written)
    assert "| start (kept, 2026-11-25) | at most 0.4 s | 0.5 s | **no**, by 25 % | imports \\| many |" in written


def test_a_goal_without_its_comparison_is_missed_as_not_measured() -> None:
    """A ratio to nothing is no number."""
    lonely = Row(what="offload", ours=1.0, unit="ms", beside="gRPC", goal=Goal(limit=1.3, of="ratio"))

    assert "| offload | at most 1.3 times gRPC | not measured | **no** |  |" in lines(outcome(lonely))


def test_machine_and_versions_stand_on_top() -> None:
    """Before the first figure."""
    written = lines(outcome(MET))

    assert written.index("| date | today |") < written.index("| Python | 3.11 |") < written.index("## Goals")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.1234, "0.123"),
        (2.0, "2"),
        (2.346, "2.35"),
        (12.0, "12"),
        (118.26, "118"),
        (9_199_999.6, "9,200,000"),
    ],
)
def test_numbers_have_three_digits_and_thousands_apart(value: float, text: str) -> None:
    """No power of ten: a person reads it."""
    assert text == number(value)


def test_the_goal_of_learning_is_kept_with_its_family() -> None:
    """A family that misses its goal is missed on the page too; one without a goal has none."""
    families = [
        {"users": 5, "family": "paper", "p95": 4.0, "median": 2.0, "runs": 400, "broken_rounds": 0, "goal_p95": 30},
        {"users": 5, "family": "everything", "p95": 90.3, "median": 9.0, "runs": 9, "broken_rounds": 0, "goal_p95": 60},
        {"users": 5, "family": "other", "p95": 1.0, "median": 1.0, "runs": 9, "broken_rounds": 0, "goal_p95": None},
    ]
    report = learning({"Rounds until converged, by family of worlds": families})

    assert [True, False, None] == [row.met for row in report.rows]
