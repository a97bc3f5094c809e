"""The round book: every request in exactly one round, every round decided once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.errors import Refused
from broker.messages import Report, Stages
from broker.vocabulary import ModelName, NodeId, Outcome, RequestId, Tier
from orchestrator.rounds import GRACE_S, MOST_COLLECTING, MOST_UNDER_WAY, RoundBook
from testbed.attackers.silent import ClosedLoop

WINDOW_S, DEADLINE_S = 0.2, 5.0
S1, S2, S3 = (NodeId(f"s{place}") for place in (1, 2, 3))


def _report(request_id: str) -> Report:
    return Report(
        request_id=request_id, outcome=Outcome.DONE, decided=True, tier=Tier.END, model=ModelName("d0"),
        serving_node="s1", response_ms=1.0, stages=Stages(),
    )  # fmt: skip


def _book(next_number: int = 1) -> RoundBook:
    return RoundBook(next_number, WINDOW_S, DEADLINE_S)


def test_a_round_is_due_when_all_expected_devices_have_asked() -> None:
    """Not before the last of the online devices, and at once with it."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    assert [] == book.due({S1, S2}, 0.01)
    book.ask(S2, RequestId("r2"), 0.02)
    (round_,) = book.due({S1, S2}, 0.02)

    assert {S1: "r1", S2: "r2"} == {device: asked.request_id for device, asked in round_.asked.items()}
    assert [] == book.due({S1, S2}, 1.0)


def test_where_requests_are_decided_at_once_each_is_a_round_of_its_own() -> None:
    """Due as soon as it is there, whoever else is online, and complete with its own report."""
    book = RoundBook(5, WINDOW_S, DEADLINE_S, at_once=True)
    book.ask(S1, RequestId("r1"), 0.0)
    book.ask(S2, RequestId("r2"), 0.0)
    due = book.due({S1, S2, S3}, 0.0)
    book.ask(S1, RequestId("r3"), 0.1)
    due += book.due({S1, S2, S3}, 0.1)
    book.report(S1, _report("r3"))

    assert [(5, [S1]), (6, [S2]), (7, [S1])] == [(round_.number, list(round_.asked)) for round_ in due]
    assert [7] == [round_.number for round_ in book.complete(0.2)]
    assert [5, 6] == [round_.number for round_ in book.complete(DEADLINE_S + GRACE_S)]


def test_a_device_that_asks_at_once_and_never_reports_is_refused_until_a_deadline() -> None:
    """Eight requests may be under way; other devices are served meanwhile."""
    book = RoundBook(1, WINDOW_S, DEADLINE_S, at_once=True)
    for number in range(MOST_UNDER_WAY):
        book.ask(S1, RequestId(f"r{number}"), 0.0)
        book.due({S1}, 0.0)
    with pytest.raises(Refused) as refused:
        book.ask(S1, RequestId("one too many"), 0.0)
    book.ask(S2, RequestId("another's"), 0.0)
    book.due({S1, S2}, 0.0)
    book.complete(DEADLINE_S + GRACE_S)

    assert "too_many_requests" == refused.value.reason
    assert MOST_UNDER_WAY + 2 == book.ask(S1, RequestId("later"), DEADLINE_S + GRACE_S)


def test_a_round_is_due_when_its_window_ends() -> None:
    """Who has not asked by then is not in it."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    assert [] == book.due({S1, S2}, 0.199)
    assert [[S1]] == [list(round_.asked) for round_ in book.due({S1, S2}, 0.2)]


def test_a_device_that_missed_three_rounds_is_not_waited_for_until_it_asks() -> None:
    """The fourth round closes without it; once it asks it is expected again."""
    book = _book()
    for number in range(3):
        book.ask(S1, RequestId(f"r{number}"), float(number))
        assert [] == book.due({S1, S2}, float(number))
        assert 1 == len(book.due({S1, S2}, number + WINDOW_S))
        book.report(S1, _report(f"r{number}"))
    book.ask(S1, RequestId("r3"), 10.0)
    assert 1 == len(book.due({S1, S2}, 10.0))
    book.report(S1, _report("r3"))
    book.ask(S2, RequestId("r4"), 11.0)
    assert [] == book.due({S1, S2}, 11.0)


def test_a_request_while_another_round_runs_starts_the_next_one() -> None:
    """Rounds overlap: s1's next request is decided while s2's report of round 1 is still missing."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    book.ask(S2, RequestId("r2"), 0.0)
    book.due({S1, S2}, 0.0)
    book.report(S1, _report("r1"))
    assert 2 == book.ask(S1, RequestId("r3"), 0.5)

    assert [2] == [round_.number for round_ in book.due({S1, S2}, 0.5)]
    assert [] == book.complete(0.5)


def test_a_round_is_complete_with_its_last_report() -> None:
    """And with nothing less before the deadline."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    book.ask(S2, RequestId("r2"), 0.0)
    book.due({S1, S2}, 0.0)
    assert book.report(S1, _report("r1"))
    assert [] == book.complete(1.0)
    assert book.report(S2, _report("r2"))

    assert [1] == [round_.number for round_ in book.complete(1.0)]
    assert not book.in_flight


def test_a_round_is_complete_at_its_deadline_with_reports_missing() -> None:
    """A silent device holds a round for deadline and grace, then no longer."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    book.due({S1}, 1.0)
    ends_s = 1.0 + DEADLINE_S + GRACE_S
    assert ends_s == book.next_event_s()
    assert [] == book.complete(ends_s - 0.01)

    assert [None] == [round_.asked[S1].report for round_ in book.complete(ends_s)]
    assert not book.report(S1, _report("r1"))


def test_a_report_of_another_devices_request_is_not_taken() -> None:
    """s2 cannot end s1's part of a round."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    book.due({S1}, 0.0)

    assert not book.report(S2, _report("r1"))
    assert not book.report(S1, _report("r-never"))
    assert [] == book.complete(1.0)


def test_a_request_id_is_taken_once() -> None:
    """Also after its round is complete."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    with pytest.raises(Refused, match="duplicate"):
        book.ask(S1, RequestId("r1"), 0.0)
    book.due({S1}, 0.0)
    book.report(S1, _report("r1"))
    book.complete(0.0)
    with pytest.raises(Refused, match="duplicate"):
        book.ask(S2, RequestId("r1"), 1.0)


def test_a_device_that_floods_fills_a_bounded_number_of_rounds() -> None:
    """Its requests go into successive collections, and then are refused."""
    book = _book()
    numbers = [book.ask(S1, RequestId(f"r{place}"), 0.0) for place in range(MOST_COLLECTING)]
    with pytest.raises(Refused, match="too_many_requests"):
        book.ask(S1, RequestId("r-more"), 0.0)

    assert list(range(1, MOST_COLLECTING + 1)) == numbers
    assert 1 == book.ask(S2, RequestId("r-other"), 0.0)


def test_a_device_that_reports_before_the_decision_does_not_hold_the_round() -> None:
    """It gave up waiting and ran by itself; it is in the round and not expected again."""
    book = _book()
    book.ask(S1, RequestId("r1"), 0.0)
    assert [] == book.due({S1, S2}, 0.0)
    assert book.report(S1, _report("r1"))
    book.ask(S2, RequestId("r2"), 0.1)
    assert [1] == [round_.number for round_ in book.due({S1, S2}, 0.1)]
    book.report(S2, _report("r2"))

    assert [1] == [round_.number for round_ in book.complete(0.1)]


HONEST_PER_S = 3 / 0.025


@pytest.mark.parametrize(
    ("reports", "from_s"),
    [
        (lambda _device, _number: False, 2),
        (lambda _device, number: number % 3 == 0, 4),
        (lambda _device, number: number % 2 == 0, 4),
        (lambda _device, number: number % 17 > 0, 4),
    ],
    ids=["never", "every third time", "every second time", "but each 17th time"],
)
def test_a_device_that_does_not_report_holds_the_others_up_for_two_deadlines_at_most(reports: Any, from_s: int) -> None:
    """However it mixes reports and silence: in the following ten minutes the others keep 95 % of their rate."""
    loop = ClosedLoop(4)
    loop.reports = lambda device, number: device != "s3" or reports(device, number)
    since_s = from_s * (DEADLINE_S + GRACE_S)
    loop.run(since_s + 600)

    assert loop.rate(since_s, since_s + 600) >= 0.95 * HONEST_PER_S


@pytest.mark.parametrize("delay_s", [0.19, 0.21])
def test_a_device_that_asks_late_is_soon_not_waited_for(delay_s: float) -> None:
    """In the window's last quarter, or just after it: the others keep 80 % of their rate."""
    loop = ClosedLoop(4)
    loop.delay_s[loop.devices[-1]] = delay_s
    loop.run(60.0)

    assert loop.rate(5.0, 60.0) >= 0.8 * HONEST_PER_S


def test_a_device_that_is_no_longer_late_is_waited_for_again() -> None:
    """After a while in which it was prompt all four are decided together."""
    loop = ClosedLoop(4)
    loop.delay_s[loop.devices[-1]] = 0.19
    loop.run(10.0)
    apart = loop.sizes[-1]
    loop.delay_s[loop.devices[-1]] = 0.005
    loop.run(20.0)

    assert apart < 4
    assert 4 == loop.sizes[-1]


def test_a_silent_device_is_decided_by_itself_until_it_reports() -> None:
    """Two missing reports in a row put it outside the joint rounds; its next report in time brings it back."""
    changes: list[tuple[NodeId, bool]] = []
    loop = ClosedLoop(4, lambda device, alone: changes.append((device, alone)))
    loop.reports = lambda device, number: device != "s3" or number >= 10
    loop.run(30.0)

    assert [("s3", True), ("s3", False)] == changes
    assert [4, 4] == loop.sizes[:2]
    assert {1, 3} == set(loop.sizes[2:14])
    assert 4 == loop.sizes[-1]


@pytest.mark.parametrize("reported", [[], [S1, S2]])
def test_a_round_of_which_nothing_came_blames_nobody(reported: list[NodeId]) -> None:
    """Nor does one during which the link was lost; else two missing reports put a device outside."""
    changes: list[tuple[NodeId, bool]] = []
    book = RoundBook(1, WINDOW_S, DEADLINE_S, changed=lambda device, alone: changes.append((device, alone)))
    for turn in range(4):
        now_s = turn * 2 * DEADLINE_S
        for device in (S1, S2, S3):
            book.ask(device, RequestId(f"r{turn}{device}"), now_s)
        book.due({S1, S2, S3}, now_s)
        for device in reported:
            book.report(device, _report(f"r{turn}{device}"))
        book.reconnected(now_s + 1.0)
        book.complete(now_s + DEADLINE_S + GRACE_S)

    assert [] == changes


def test_a_report_of_another_request_is_no_report() -> None:
    """A device that reports ids of its own is silent."""
    changes: list[tuple[NodeId, bool]] = []
    book = RoundBook(1, WINDOW_S, DEADLINE_S, at_once=True, changed=lambda *change: changes.append(change))
    for turn in range(2):
        now_s = turn * 2 * DEADLINE_S
        book.ask(S1, RequestId(f"r{turn}"), now_s)
        book.due({S1}, now_s)
        assert not book.report(S1, _report(f"other{turn}"))
        book.complete(now_s + DEADLINE_S + GRACE_S)
    book.ask(S1, RequestId("last"), 30.0)
    (alone,) = book.due({S1}, 30.0)

    assert [(S1, True)] == changes
    assert alone.alone


class Book(RuleBasedStateMachine):
    """Devices ask, report, come and go in any order while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.book = _book()
        self.now_s = 0.0
        self.online: set[NodeId] = {S1, S2, S3}
        self.taken: dict[RequestId, NodeId] = {}
        self.decided: dict[RequestId, int] = {}
        self.completed: dict[RequestId, int] = {}
        self.last_number = 0
        self.numbers: set[int] = set()
        self.unawaited: set[NodeId] = set()
        self.reported: set[RequestId] = set()
        self.book = RoundBook(1, WINDOW_S, DEADLINE_S, changed=lambda device, _alone: self.unawaited.add(device))

    @rule(device=st.sampled_from([S1, S2, S3]))
    def ask(self, device: NodeId) -> None:
        request_id = RequestId(f"r{len(self.taken)}")
        try:
            self.book.ask(device, request_id, self.now_s)
        except Refused as refusal:
            assert "too_many_requests" == refusal.reason
        else:
            self.taken[request_id] = device
            if not self.book._devices.waits_for(device):  # it always asks late: nothing is called for that
                self.unawaited.add(device)
        self.decide()

    @rule(place=st.integers(0, 100))
    def report(self, place: int) -> None:
        if self.taken:
            request_id = list(self.taken)[place % len(self.taken)]
            waits = request_id not in self.completed
            took = self.book.report(self.taken[request_id], _report(request_id))
            assert waits or not took
            if took:
                self.reported.add(request_id)
        self.complete()

    @rule(seconds=st.sampled_from([0.0, 0.05, WINDOW_S, 1.0, DEADLINE_S + GRACE_S]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.decide()
        self.complete()

    @rule(device=st.sampled_from([S1, S2, S3]))
    def comes_or_goes(self, device: NodeId) -> None:
        self.online ^= {device}
        self.decide()

    def decide(self) -> None:
        for round_ in self.book.due(frozenset(self.online), self.now_s):
            assert round_.number not in self.numbers
            assert round_.alone or round_.number > self.last_number
            self.numbers.add(round_.number)
            self.last_number = self.last_number if round_.alone else round_.number
            for device, asked in round_.asked.items():
                assert asked.request_id not in self.decided
                assert device == self.taken[asked.request_id]
                self.decided[asked.request_id] = round_.number

    def complete(self) -> None:
        for round_ in self.book.complete(self.now_s):
            for asked in round_.asked.values():
                assert asked.request_id not in self.completed
                assert round_.number == self.decided[asked.request_id]
                self.completed[asked.request_id] = round_.number

    @invariant()
    def in_flight_while_anything_is_open(self) -> None:
        open_ = self.taken.keys() - self.completed.keys()
        assert self.book.in_flight <= bool(open_)
        assert self.book.in_flight or {self.taken[one] for one in open_ - self.reported} <= self.unawaited

    def teardown(self) -> None:
        """After enough time every request is decided once and its round complete."""
        for _ in range(MOST_COLLECTING + 1):
            self.now_s += WINDOW_S
            self.decide()
        self.now_s += DEADLINE_S + GRACE_S
        self.complete()
        assert set(self.taken) == set(self.decided) == set(self.completed)
        assert self.book.next_event_s() is None


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
