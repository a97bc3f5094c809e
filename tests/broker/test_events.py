"""How values stand in log lines and in sentences: no Python there, and plurals that are right."""

from __future__ import annotations

import logging

import pytest

from broker.events import count, event


def test_lists_and_mappings_are_written_without_pythons_brackets(caplog: pytest.LogCaptureFixture) -> None:
    """`('d0', 'd3')` is for programmers; empty ones are a hyphen."""
    caplog.set_level(logging.INFO, "tests")
    event(logging.getLogger("tests"), logging.INFO, "x", models=("d0", "d3"), refused={"late": 3}, none=[], empty={})

    assert ["x models=d0,d3 refused=late:3 none=- empty=-"] == caplog.messages


@pytest.mark.parametrize(("number", "text"), [(0, "0 messages"), (1, "1 message"), (2, "2 messages")])
def test_one_thing_has_no_plural(number: int, text: str) -> None:
    """1 message, but 0 and 2 messages."""
    assert text == count(number, "message")
