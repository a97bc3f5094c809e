"""The doctor finds in a log that two processes fight for one identity."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tierwise.doctor.examine import examine

MOSQUITTO = "2026-12-01T02:00:{:02}: Client home.s1.agent already connected, closing old connection.\n"
SECONDS = "17960927{:02}: Client s1 already connected, closing old connection.\n"
AGENT = (
    "Dec 01 02:00:{0:02} pi tierwise-agent[7]: 2026-12-01 02:00:{0:02},123 WARNING broker.client "
    "session_taken_over node=s1 broker=edge:8883 backoff_s=0.000 hint='...'\n"
)


@pytest.mark.parametrize("line", [MOSQUITTO, SECONDS, AGENT])
def test_take_overs_that_follow_each_other_are_found(tmp_path, line):
    """In Mosquitto's log and in an agent's, which names node and cause."""
    (tmp_path / "mosquitto.log").write_text(line.format(3) + "something else\n" + line.format(9), encoding="utf-8")

    findings = examine([tmp_path], datetime.now(UTC)).findings

    assert ["session-taken-over"] == [finding.rule for finding in findings]
    assert "s1" in findings[0].what
    assert "taken over 2 times" in findings[0].what


def test_one_take_over_is_a_restart(tmp_path):
    """So are two that are hours apart."""
    later = MOSQUITTO.format(9).replace("T02", "T05")
    (tmp_path / "mosquitto.log").write_text(MOSQUITTO.format(3) + later, encoding="utf-8")
    (tmp_path / "agent.log").write_text(AGENT.format(3) + "\xff", encoding="latin-1")

    assert [] == examine([tmp_path], datetime.now(UTC)).findings
