"""What the demo computes from the rounds that it saw, and how it shows them."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from broker.errors import TierwiseError
from broker.messages import Decision, Report, RoundSummary, Stages
from broker.vocabulary import ModelName, NodeId, Tier
from broker.vocabulary import Outcome as Ended
from configs.orchestrator import Policy
from tierwise.demo import DemoResult, figures_of, final_decision
from tierwise.observer import ObservedRound, Outcome
from tierwise.reproduce.fleet_run import _is_as_decided
from tierwise.screen import Screen, comparison, remark, round_line

TOP5_TENTHS = {ModelName("d0"): 899, ModelName("d7"): 728}


def decision(model: str, tier: Tier, number: int) -> Decision:
    return Decision(
        request_id="r" * 8,
        round=number,
        tier=tier,
        model=model,
        serving_node="edge",
        fallback_model="d0",
        deadline_ms=5000,
        policy="q_learning",
        policy_version=1,
        explored=True,
    )


def outcome(node: str, model: str, tier: Tier, response_ms: float, ended: Ended = Ended.DONE) -> Outcome:
    report = Report(
        request_id="r" * 8,
        outcome=ended,
        decided=True,
        tier=tier,
        model=model,
        serving_node=node,
        response_ms=response_ms,
        stages=Stages(compute_ms=response_ms),
        label="untrained",
    )
    return Outcome(NodeId(node), decision(model, tier, 1), report)


def a_round(*outcomes: Outcome, met: bool = True) -> ObservedRound:
    summary = RoundSummary(
        policy="q_learning",
        policy_version=1,
        explored=True,
        devices=len(outcomes),
        missing=0,
        mean_response_ms=200.0,
        accuracy_percent=81.3,
        accuracy_floor_percent=80.0,
        floor_met=met,
        reward=-200.0,
    )
    return ObservedRound(1, {item.node: item for item in outcomes}, summary)


def test_figures_are_those_of_all_responses() -> None:
    """Two rounds with two devices: mean over four times, accuracy of what ran, floors met, fallbacks counted."""
    slow, fast = outcome("s1", "d0", Tier.EDGE, 400.0), outcome("s2", "d7", Tier.END, 100.0, Ended.FALLEN_BACK)

    figures = figures_of([a_round(slow, fast), a_round(slow, fast, met=False)], TOP5_TENTHS)

    assert (figures.rounds, figures.mean_ms, figures.floor_met, figures.fallen_back) == (2, 250.0, 1, 2)
    assert figures.accuracy == pytest.approx(81.35)
    assert figures.p95_ms == pytest.approx(400.0)


def test_figures_of_nothing_are_refused() -> None:
    """Rounds without a single response time have no mean."""
    with pytest.raises(TierwiseError, match="no device reported"):
        figures_of([a_round()], TOP5_TENTHS)


def test_the_json_has_the_documented_keys() -> None:
    """What other programs read: rounds with decisions and stages, and the policies' figures."""
    round_ = a_round(outcome("s1", "d0", Tier.EDGE, 400.0))
    figures = {Policy.Q_LEARNING: figures_of([round_], TOP5_TENTHS)}

    written = DemoResult([round_], figures, requests=1).as_json()

    [row] = written["rounds"]
    assert set(row) == {"round", "decisions", "average_ms", "accuracy", "floor", "floor_met", "explored"}
    assert {"node", "tier", "model", "response_ms", "stages"} <= set(row["decisions"][0])
    assert {"rounds", "mean_ms", "p95_ms", "accuracy"} <= set(written["policies"]["q_learning"])


def test_a_missing_report_is_null_and_not_invented() -> None:
    """A device whose report never came has no response time in the JSON."""
    silent = Outcome(NodeId("s1"), decision("d0", Tier.EDGE, 1))
    heard = outcome("s2", "d0", Tier.EDGE, 400.0)
    round_ = a_round(silent, heard)
    figures = {Policy.Q_LEARNING: figures_of([round_], TOP5_TENTHS)}

    rows = DemoResult([round_], figures, requests=2).as_json()["rounds"][0]["decisions"]

    assert [(row["outcome"], row["response_ms"]) for row in rows] == [("missing", None), ("done", 400.0)]


def test_the_comparison_says_that_it_is_emulated_and_still_exploring() -> None:
    """Nobody shall take the learned row for a learned policy, or the times for this machine's."""
    round_ = a_round(outcome("s1", "d0", Tier.EDGE, 400.0))
    result = DemoResult([round_], {Policy.Q_LEARNING: figures_of([round_], TOP5_TENTHS)}, requests=1)
    console = Console(file=io.StringIO(), width=120)

    console.print(comparison(result, 80.0))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]

    assert "times are emulated" in shown
    assert "still exploration (1 of them drew their action at random)" in shown
    assert remark(DemoResult([round_], {Policy.RANDOM: figures_of([round_], TOP5_TENTHS)}, 1)) == ""


def test_the_final_decision_is_the_one_that_the_last_rounds_come_back_to() -> None:
    """A probe at the very end is not it, and whichever device does what, the decision is the same."""
    first = a_round(outcome("s1", "d0", Tier.EDGE, 400.0), outcome("s2", "d0", Tier.END, 450.0))
    settled = [
        a_round(outcome("s1", "d4", Tier.END, 240.0), outcome("s2", "d0", Tier.CLOUD, 370.0)),
        a_round(outcome("s1", "d0", Tier.CLOUD, 370.0), outcome("s2", "d4", Tier.END, 240.0)),
    ]
    rounds = [first, *settled, a_round(outcome("s1", "d4", Tier.END, 240.0), outcome("s2", "d0", Tier.EDGE, 380.0))]
    figures = {policy: figures_of([first], TOP5_TENTHS) for policy in (Policy.FACTORED, Policy.DEVICE_ONLY)}

    final = final_decision(rounds)
    told = remark(DemoResult(rounds, figures, requests=8))

    assert ({"d0@cloud": 1, "d4@end": 1}, 2, 2) == (final.actions, final.first, final.rounds)
    assert "came first in its round 2" in told
    assert "below device_only, the best fixed strategy" in told


def test_off_a_terminal_each_round_is_a_line() -> None:
    """In a log file or a pipe there is no live table, but nothing is hidden."""
    console = Console(file=io.StringIO(), width=200)
    round_ = a_round(outcome("s1", "d0", Tier.EDGE, 400.0), met=False)

    with Screen(console, 80.0, {}, [NodeId("s1")], TOP5_TENTHS) as screen:
        screen.phase(Policy.Q_LEARNING, 40)
        screen.change(round_)
        screen.complete(round_, 1)
    written = console.file.getvalue()  # type: ignore[attr-defined]

    assert written.splitlines()[-1] == round_line(round_, 1, 40)
    assert "accuracy 81.3 %, floor broken, explored  s1:d0@edge" in written


def test_the_live_table_shows_decision_response_and_label_of_each_device() -> None:
    """A device that fell back shows to what; one that has not answered yet shows dots."""
    waiting = Outcome(NodeId("s3"), decision("d0", Tier.CLOUD, 1))
    fallen = outcome("s2", "d7", Tier.END, 100.0, Ended.FALLEN_BACK)
    round_ = a_round(outcome("s1", "d0", Tier.EDGE, 400.0), fallen, waiting)
    devices = [NodeId(name) for name in ("s1", "s2", "s3", "s4")]
    console = Console(file=io.StringIO(), width=140)
    screen = Screen(console, 80.0, {}, devices, TOP5_TENTHS)
    screen.change(round_)

    console.print(screen.picture())
    lines = {line.split()[1]: line for line in console.file.getvalue().splitlines() if "│ s" in line}  # type: ignore[attr-defined]

    assert "d0 on edge" in lines["s1"]
    assert "untrained" in lines["s1"]
    assert "fallen back d7" in lines["s2"]
    assert "..." in lines["s3"]
    assert set(lines) == {"s1", "s2", "s3", "s4"}


@pytest.mark.parametrize(
    ("policy", "second", "counts"),
    [
        ("edge_only", outcome("s2", "d0", Tier.EDGE, 400.0), True),
        ("edge_only", outcome("s2", "d0", Tier.END, 400.0), False),
        ("edge_only", Outcome(NodeId("s2"), decision("d0", Tier.EDGE, 1)), False),
        ("q_learning", outcome("s2", "d0", Tier.END, 400.0), True),
        ("q_learning", outcome("s2", "d0", Tier.EDGE, 400.0, Ended.FALLEN_BACK), False),
    ],
)
def test_a_round_in_which_a_node_was_late_is_not_measured(policy: str, second: Outcome, counts: bool) -> None:
    """`tierwise reproduce` takes one in which every device has done as decided, on the tier of a fixed policy."""
    round_ = a_round(outcome("s1", "d0", Tier.EDGE, 400.0), second)
    round_.summary = msgspec.structs.replace(round_.summary, policy=policy)

    assert counts is _is_as_decided(2, round_)
    assert not _is_as_decided(3, round_)
