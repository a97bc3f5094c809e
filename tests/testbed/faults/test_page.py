"""The figures in docs/reliability.md are those of the kept run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.faults.page import BEGIN, END, rendered, with_figures

ROOT = Path(__file__).parents[3]
PAGE, RESULT = ROOT / "docs" / "reliability.md", ROOT / "results" / "reliability" / "faults.json"


def test_the_page_says_what_the_kept_run_found() -> None:
    """`make soak` writes both; whoever edits one by hand is found out."""
    page = PAGE.read_text(encoding="utf-8")

    assert with_figures(page, rendered(json.loads(RESULT.read_text(encoding="utf-8")))) == page


def test_more_ids_than_requests_issued_have_their_reason() -> None:
    """Ids that a device's outbox took, and that the device was killed before noting; none of them is of nobody."""
    told = json.loads(RESULT.read_text(encoding="utf-8"))
    verdict = told["verdict"]
    more = verdict["effected"] - verdict["issued"]

    assert 0 < more <= verdict["only_drawn"]
    assert f"so there are {more} ids more than requests issued" in rendered(told)
    assert "more than requests" not in rendered({**told, "verdict": {**verdict, "effected": verdict["issued"]}})


def test_only_what_is_between_the_marks_changes() -> None:
    """What stands before and after stays."""
    assert f"a\n{BEGIN}new\n{END}b\n" == with_figures(f"a\n{BEGIN}old\n{END}b\n", "new\n")


def test_a_page_without_marks_is_refused() -> None:
    """Nothing is written at a guess."""
    with pytest.raises(ValueError, match="substring"):
        with_figures("no marks\n", "new\n")
