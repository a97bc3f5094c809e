"""The schedule of faults: replayable, balanced, and never two at the same thing."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from testbed.faults.schedule import LASTS_S, LINK_KINDS, Kind, Targets, fingerprint, schedule

TARGETS = Targets("broker", "orchestrator", ("edge-1", "cloud-1"), ("devices-1", "devices-2", "devices-3"))


def test_a_seed_gives_the_same_schedule_and_another_gives_another() -> None:
    """Equal to the last digit; the fingerprint tells them apart."""
    faults = schedule(7, 200, TARGETS, 2.0)

    assert faults == schedule(7, 200, TARGETS, 2.0)
    assert fingerprint(faults) != fingerprint(schedule(8, 200, TARGETS, 2.0))


def test_the_schedule_of_seed_7_stays_what_it_is() -> None:
    """Committed results name it: whoever changes how it is drawn makes them irreproducible, and shall notice."""
    assert "8eec5f99815082fa" == fingerprint(schedule(7, 13, _four_processes(), 1.0, 3.0))


def test_a_thousand_faults_are_of_all_thirteen_kinds_as_often_as_each_other() -> None:
    """76 or 77 of each."""
    counts = Counter(fault.kind for fault in schedule(1, 1000, TARGETS, 2.0))

    assert 13 == len(Kind) == len(counts)
    assert {76, 77} == set(counts.values())


@given(seed=st.integers(0, 2**32), count=st.integers(1, 150), pace_s=st.floats(0.01, 5.0))
def test_no_two_faults_ever_befall_the_same_thing(seed: int, count: int, pace_s: float) -> None:
    """However dense they are; they are in the order of time, and each lasts within its bounds."""
    faults = schedule(seed, count, TARGETS, pace_s)

    assert list(range(1, count + 1)) == [fault.number for fault in faults]
    assert all(before.at_s <= after.at_s for before, after in pairwise(faults))
    for thing in {thing for fault in faults for thing in fault.befalls(TARGETS)}:
        its = [fault for fault in faults if thing in fault.befalls(TARGETS)]
        assert all(before.at_s + before.lasts_s < after.at_s for before, after in pairwise(its))
    for fault in faults:
        low_s, high_s = LASTS_S[fault.kind]
        assert low_s <= fault.lasts_s <= high_s
        assert fault.target in TARGETS.of(fault.kind)


def test_freezes_of_the_broker_last_from_1_to_30_s_unless_they_are_cut() -> None:
    """Some are short and some are long; with a limit none is longer."""
    lasts_s = [f.lasts_s for f in schedule(3, 1300, TARGETS, 1.0) if f.kind is Kind.BROKER_FREEZE]
    assert min(lasts_s) < 1.5
    assert 25 < max(lasts_s) <= 30

    assert 2.0 == max(fault.lasts_s for fault in schedule(3, 1300, TARGETS, 1.0, longest_s=2.0))


def test_the_link_of_a_process_may_be_befallen_while_the_process_is() -> None:
    """They are two things: a frozen node behind a slow link happens."""
    faults = schedule(5, 400, TARGETS, 0.5)

    link_faults = [fault for fault in faults if fault.kind in LINK_KINDS]
    others = [fault for fault in faults if fault.kind not in LINK_KINDS]
    assert any(
        one.target == other.target and other.at_s < one.at_s < other.at_s + other.lasts_s
        for one in link_faults
        for other in others
    )


def _four_processes() -> Targets:
    return Targets("broker", "orchestrator", ("edge-1", "cloud-1"), tuple(f"devices-{place}" for place in range(1, 5)))
