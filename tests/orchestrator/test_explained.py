"""Why a decision was made: said by the agent, kept in the response log, read back."""

from __future__ import annotations

import math
import queue
import sqlite3
import statistics
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.clock import ManualClock
from broker.messages import Decision, Explain, Report, Stages
from broker.vocabulary import Action, ModelName, NodeId, Outcome, RequestId, SiteId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Bound, Choice, Explanation, Reason
from orchestrator.answering import answer
from orchestrator.deciding import JointDecision
from orchestrator.errors import LogRefused, NothingLogged
from orchestrator.explained import LoggedDecision, Measured, Wanted, decision_of, decisions
from orchestrator.explaining import Why, why_of
from orchestrator.log_rows import DecisionRow, ExplanationRow, Listener, QuestionRow, ReportRow
from orchestrator.log_writer import LogWriter
from orchestrator.response_log import VERSION, has_explanations, open_for_reading, open_for_writing
from tierwise.plain_words import sentence

OLD_LOG = Path(__file__).parent / "response-log-1.sql"
S1, S2 = NodeId("s1"), NodeId("s2")
EDGE, D4 = Action(Tier.EDGE, ModelName("d0")), Action(Tier.END, ModelName("d4"))
WHY = Why(312.4, 9.1, "d4@end", 340.0, 12.5, "floor,load", "best")
SAID = Explanation(EDGE, 312.4, 9.1, D4, 340.0, 12.5, (Bound.FLOOR, Bound.LOAD), Reason.BEST)
PATIENCE_S = 120.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


@pytest.fixture
def old(path: Path) -> Path:
    """A log as version 1 wrote it: round 41 of s1 (d7 itself) and s2 (d0 on the edge)."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(OLD_LOG.read_text())
    return path


@pytest.fixture
def answers() -> queue.Queue[tuple[QuestionRow, LoggedDecision | None]]:
    return queue.Queue()


@pytest.fixture
def writer(path: Path, accuracies: Accuracies, answers: queue.Queue[Any]) -> Iterator[LogWriter]:
    def answered(told: list[Any]) -> None:
        for one in told:
            answers.put(one)

    listener = Listener(lambda _ids: None, lambda _ids: None, answered)
    writer = LogWriter(path, SiteId("home"), accuracies.tenths, listener, ManualClock())
    writer.start()
    yield writer
    if writer._thread.is_alive():
        writer.close()


def _decision(request_id: str, round_: int = 3) -> Decision:
    return Decision(
        request_id=request_id, round=round_, tier=Tier.EDGE, model="d0", serving_node="edge", fallback_model="d4",
        deadline_ms=5000.0, policy="averages", policy_version=2, explored=True,
    )  # fmt: skip


def _put_explained(writer: LogWriter, node: NodeId, request_id: str, round_: int = 3) -> None:
    writer.put(DecisionRow(node, 890, _decision(request_id, round_)))
    writer.put(ExplanationRow(node, RequestId(request_id), WHY))


def _report(request_id: str) -> Report:
    return Report(
        request_id=request_id, outcome=Outcome.FALLEN_BACK, decided=True, tier=Tier.END, model="d4", serving_node="s1",
        response_ms=731.0, stages=Stages(),
    )  # fmt: skip


def _joint(observe: Any, why: Any) -> JointDecision:
    return JointDecision(observe(1), Choice((EDGE,), why=why), (ModelName("d4"),), "averages", None)


def test_what_the_agent_says_is_kept_in_plain_values(observe: Any) -> None:
    """Words with commas between, the runner-up as it is written everywhere."""
    assert WHY == why_of(_joint(observe, lambda _place: SAID), 0)


def test_what_cannot_be_said_is_none(observe: Any) -> None:
    """No other action; numbers that are no response times; NumPy's numbers are numbers."""
    said = Explanation(EDGE, np.float32(0.5), math.inf, None, math.nan, -1.0, (), Reason.UNCERTAIN)  # type: ignore[arg-type]

    assert Why(0.5, None, None, None, None, "", "uncertain") == why_of(_joint(observe, lambda _place: said), 0)


@pytest.mark.parametrize(
    "why",
    [
        None,
        lambda _place: {}[0],
        lambda _place: None,
        lambda _place: Explanation(D4, 1.0, 1.0, None, None, None, (), Reason.BEST),
        lambda _place: Explanation(EDGE, "soon", 1.0, None, None, None, (), Reason.BEST),  # type: ignore[arg-type]
    ],
)
def test_a_defect_in_what_explains_is_no_explanation(observe: Any, why: Any) -> None:
    """Nothing at all, an error, nothing said, another action than the decided one, a text for a number."""
    assert why_of(_joint(observe, why), 0) is None


def test_a_question_is_answered_after_all_rows_before_it(
    writer: LogWriter, answers: queue.Queue[tuple[QuestionRow, LoggedDecision | None]]
) -> None:
    """By request and for the last decision; with the report once that is there; None of another's or no request."""
    _put_explained(writer, S1, "request-1")
    writer.put(QuestionRow(S1, RequestId("request-1")))
    writer.put(ReportRow(S1, _report("request-1")))
    writer.put(DecisionRow(S1, 890, _decision("request-2", round_=4)))
    for question in (RequestId("request-1"), None, RequestId("request-9")):
        writer.put(QuestionRow(S1, question))
    writer.put(QuestionRow(S2, RequestId("request-1")))
    writer.put(QuestionRow(S2, None))
    first, again, last, *nothing = [answers.get(timeout=PATIENCE_S)[1] for _ in range(6)]

    expected = LoggedDecision(S1, RequestId("request-1"), 3, "averages", True, 890, EDGE, WHY, None)
    assert expected == first
    assert again is not None
    assert (WHY, Measured(Outcome.FALLEN_BACK, D4, 731.0)) == (again.why, again.measured)
    assert last is not None
    assert ("request-2", 4, None) == (last.request_id, last.round, last.why)
    assert [None, None, None] == nothing


def test_decisions_are_found_by_round_device_and_request(writer: LogWriter, path: Path) -> None:
    """Without any of them the last round; of a device alone its last decision."""
    for round_, nodes in ((3, (S2, S1)), (4, (S1,))):
        for node in nodes:
            _put_explained(writer, node, f"{node}-request-{round_}", round_)
    writer.close()
    with closing(open_for_reading(path)) as log:
        last, third, of_s2, third_of_s1, one = [
            [decision.request_id for decision in decisions(log, wanted)]
            for wanted in (
                Wanted(),
                Wanted(round=3),
                Wanted(node="s2"),
                Wanted(node="s1", round=3),
                Wanted(request_id="s2-request-3"),
            )
        ]
        with pytest.raises(NothingLogged):
            decisions(log, Wanted(round=5))

    assert ["s1-request-4"] == last
    assert ["s1-request-3", "s2-request-3"] == third
    assert [["s2-request-3"], ["s1-request-3"], ["s2-request-3"]] == [of_s2, third_of_s1, one]


def test_an_explanation_is_added_to_its_own_decision_alone(writer: LogWriter, path: Path) -> None:
    """Not to another device's of the same request id, and to nothing where there is no such decision."""
    writer.put(DecisionRow(S1, 890, _decision("request-1")))
    writer.put(DecisionRow(S2, 890, _decision("request-1")))
    writer.put(ExplanationRow(S2, RequestId("request-1"), WHY))
    writer.put(ExplanationRow(S2, RequestId("request-9"), WHY))
    writer.close()
    with closing(open_for_reading(path)) as log:
        found = decisions(log, Wanted(request_id="request-1"))

    assert [("s1", None), ("s2", WHY)] == [(decision.node, decision.why) for decision in found]


def _dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        return {table: database.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in TABLES}


TABLES = ("response", "decision", "telemetry")


def test_an_old_log_is_brought_up_to_date_without_loss(old: Path, path: Path) -> None:
    """Every row and value is there as before, with nothing in the new columns; a second opening changes nothing."""
    before = _dump(old)
    open_for_writing(old).close()
    after = _dump(old)
    open_for_writing(old).close()

    assert [2, 2, 2] == [len(before[table]) for table in TABLES]
    assert before["response"] == after["response"]
    assert before["telemetry"] == after["telemetry"]
    assert [(*row, *(None,) * 7) for row in before["decision"]] == after["decision"]
    assert after == _dump(old)


def test_a_log_that_was_brought_up_to_date_has_the_columns_of_a_new_one(old: Path, tmp_path: Path) -> None:
    """In the same order and of the same types; and its indices."""
    open_for_writing(old).close()
    new = tmp_path / "new.sqlite3"
    open_for_writing(new).close()

    def columns(path: Path) -> list[list[tuple[Any, ...]]]:
        with closing(open_for_reading(path)) as log:
            assert VERSION == log.execute("PRAGMA user_version").fetchone()[0]
            kinds = ("table_info", "index_list")
            return [log.execute(f"PRAGMA {kind}({table})").fetchall() for table in TABLES for kind in kinds]

    assert columns(new) == columns(old)


def test_an_old_log_goes_on_with_explanations(
    old: Path, writer: LogWriter, answers: queue.Queue[tuple[QuestionRow, LoggedDecision | None]]
) -> None:
    """Its own decisions are known, without a why; new ones have theirs."""
    _put_explained(writer, S1, "request-new", 42)
    writer.put(QuestionRow(S1, RequestId("request-s1")))
    writer.put(QuestionRow(S1, None))
    before, after = [answers.get(timeout=PATIENCE_S)[1] for _ in range(2)]

    assert before is not None
    assert (41, None, 100.5) == (before.round, before.why, before.measured and before.measured.response_ms)
    assert after is not None
    assert (42, WHY) == (after.round, after.why)


def test_an_old_log_that_is_only_read_stays_as_it_is(old: Path) -> None:
    """It has decisions and no explanations; its bytes are what they were."""
    before = old.read_bytes()
    with closing(open_for_reading(old)) as log:
        assert not has_explanations(log)
        found = decisions(log, Wanted())
        assert found[1] == decision_of(log, S2, None)

    assert [("s1", None), ("s2", None)] == [(decision.node, decision.why) for decision in found]
    assert before == old.read_bytes()


def test_an_interrupted_change_of_version_leaves_the_old_log(old: Path) -> None:
    """All of it or nothing: a column that is there already stops it, and what was added before is taken back."""
    with closing(sqlite3.connect(old)) as database:
        database.execute("ALTER TABLE decision ADD COLUMN reason TEXT")
    before = _dump(old)
    with pytest.raises(LogRefused, match="duplicate column"):
        open_for_writing(old)

    assert before == _dump(old)


def test_the_answer_on_the_wire_is_what_the_log_has() -> None:
    """Known and explained, known but not explained, not known."""
    request = RequestId("request-1")
    known = LoggedDecision(S1, request, 3, "averages", True, 890, EDGE, WHY, None)
    bare = {"request_id": request, "round": 3, "tier": Tier.EDGE, "model": "d0", "policy": "averages", "explored": True}

    assert answer(request, known) == Explain(
        **bare, predicted_ms=312.4, sd_ms=9.1, runner_up_tier=Tier.END, runner_up_model="d4", runner_up_ms=340.0,
        runner_up_sd_ms=12.5, bounds=["floor", "load"], reason="best",
    )  # fmt: skip
    unexplained = LoggedDecision(S1, request, 3, "averages", True, 890, EDGE, None, None)
    assert answer(None, unexplained) == Explain(**bare, refused="not_explained")
    assert answer(request, None) == Explain(request_id=request, refused="unknown_request")


def test_the_spread_of_single_times_stands_beside_the_uncertainty_of_the_mean(
    tmp_path: Path, accuracies: Accuracies
) -> None:
    """From what the device measured with that action: not of other actions, later rounds, or failed requests."""
    path = tmp_path / "log.sqlite3"
    listener = Listener(lambda _ids: None, lambda _ids: None, lambda _answers: None)
    writer = LogWriter(path, SiteId("home"), accuracies.tenths, listener, ManualClock())
    writer.start()
    times_ms = [40.0, 50.0, 60.0, 70.0, 80.0, 110.0]
    for round_, ms in enumerate([*times_ms, 5000.0], start=1):
        request = f"request-{round_}"
        _put_explained(writer, S1, request, round_)
        report = Report(
            request_id=request, outcome=Outcome.DONE, decided=True, tier=Tier.EDGE, model="d0", serving_node="edge",
            response_ms=ms, stages=Stages(),
        )  # fmt: skip
        writer.put(ReportRow(S1, report))
    writer.close()

    with closing(open_for_reading(path)) as connection:
        few = decisions(connection, Wanted(node="s1", round=4))
        enough = decisions(connection, Wanted(node="s1", round=6))

    assert [None] == [one.spread_ms for one in few]
    assert statistics.stdev(times_ms) == enough[0].spread_ms
    assert f"single times vary by {statistics.stdev(times_ms):.0f} ms (standard deviation)" in sentence(enough[0])
    assert "a mean of" in sentence(enough[0])
    assert sentence(enough[0]).isascii()
