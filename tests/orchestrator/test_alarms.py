"""What is alarmed at a site: raised, cleared, bounded, and logged at a bounded rate."""

from __future__ import annotations

import logging

import pytest

from broker.clock import ManualClock
from broker.vocabulary import NodeId
from orchestrator.alarms import MAX_ALARMS, MAX_LINES_PER_S, MIN_LOG_INTERVAL_S, Alarm, Alarms

S1 = NodeId("s1")


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever level another test has left."""
    caplog.set_level(logging.INFO, "orchestrator.alarms")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def alarms(clock: ManualClock) -> Alarms:
    return Alarms(clock)


def names(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in caplog.records]


def test_an_alarm_is_listed_from_its_beginning_to_its_end(
    alarms: Alarms, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With the time of its beginning, whatever is found again meanwhile; both ends are logged."""
    begun_s = clock.wall()
    assert alarms.raise_("silent", S1, "it asks and does not report", "restart it")
    clock.advance(5.0)
    assert not alarms.raise_("silent", S1, "it has not reported 9 times", "restart it")

    assert [Alarm("silent", S1, begun_s, "it has not reported 9 times", "restart it")] == alarms.current()
    assert alarms.is_raised("silent", S1)
    assert not alarms.is_raised("silent")

    assert alarms.clear("silent", S1)
    assert not alarms.clear("silent", S1)
    assert alarms.current() == []
    assert names(caplog) == ["alarm_raised", "alarm_cleared"]
    assert "node=s1" in caplog.records[0].getMessage()
    assert "lasted_s=5.000" in caplog.records[1].getMessage()


def test_every_change_of_the_list_changes_the_version(alarms: Alarms) -> None:
    """So that whoever publishes the list knows when to."""
    alarms.raise_("disk_full", None, "the disk is full")
    raised = alarms.version
    alarms.raise_("disk_full", None, "the disk is full")
    same = alarms.version
    alarms.raise_("disk_full", None, "the disk is very full")
    updated = alarms.version
    alarms.clear("disk_full")

    assert raised == same < updated < alarms.version


def test_an_alarm_that_comes_and_goes_is_logged_once_a_minute(
    alarms: Alarms, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that flaps does not fill the log; the list is right all the same."""
    for _ in range(100):
        alarms.raise_("lost", S1, "gone")
        alarms.clear("lost", S1)
        clock.advance(0.1)
    assert names(caplog) == ["alarm_raised", "alarm_cleared"]

    clock.advance(MIN_LOG_INTERVAL_S)
    alarms.raise_("lost", S1, "gone")

    assert names(caplog)[2:] == ["alarm_raised"]


def test_many_alarms_at_once_are_few_lines_and_the_rest_is_counted(
    alarms: Alarms, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand nodes that go together are all listed, but not all logged."""
    for number in range(500):
        alarms.raise_("lost", NodeId(f"n{number}"), "gone")
    clock.advance(1.0)
    alarms.raise_("lost", S1, "gone")

    assert len(alarms) == 501
    assert len(caplog.records) == MAX_LINES_PER_S + 1
    assert f"more_before={500 - MAX_LINES_PER_S}" in caplog.records[-1].getMessage()


def test_the_list_is_bounded_and_what_is_left_out_is_counted(alarms: Alarms) -> None:
    """Node ids come from outside: ten times as many do not fill the memory. What ends makes room."""
    for number in range(10 * MAX_ALARMS):
        alarms.raise_("lost", NodeId(f"n{number}"), "gone")

    assert len(alarms) == MAX_ALARMS
    assert alarms.discarded == 9 * MAX_ALARMS

    alarms.clear("lost", NodeId("n0"))
    assert alarms.raise_("lost", S1, "gone")


def test_texts_are_cut_to_what_a_message_carries(alarms: Alarms) -> None:
    """300 characters, and UTF-8."""
    alarms.raise_("odd", None, "x" * 1000 + "\udc80", "y" * 1000)

    (alarm,) = alarms.current()
    assert len(alarm.detail) == len(alarm.hint) == 300
