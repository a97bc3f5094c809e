"""What is read from a log, row by row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.vocabulary import Action, ModelName, Tier
from orchestrator.calibration.reading import NO_ROUND, read
from orchestrator.errors import LogRefused
from orchestrator.report import Filter
from orchestrator.response_log import open_for_reading, open_for_writing

D0 = ModelName("d0")
ON_EDGE, HERE = Action(Tier.EDGE, D0), Action(Tier.END, D0)


def test_a_link_is_what_was_last_told_before(log: Any) -> None:
    """Regular before the first word, which is noted; then as told, the edge's too."""
    log.play({"s1": HERE})
    log.links("s1")
    log.play({"s1": HERE, "s2": HERE})
    log.links("edge")
    log.play({"s1": HERE})
    measured = read(log.connection, Filter(), [D0])

    assert [False, True, False, False] == measured.weak.tolist()
    assert [False, False, False, True] == measured.edge_weak.tolist()
    assert ("1 requests are older than all telemetry kept; their links count as regular.",) == measured.notes


def test_sharers_are_known_if_all_that_were_sent_were_delivered(log: Any) -> None:
    """Two on the edge; one of two that failed; one whose device was never told a round."""
    log.play({"s1": ON_EDGE, "s2": ON_EDGE, "s3": HERE})
    log.play({"s1": ON_EDGE, "s2": ON_EDGE}, outcomes={"s2": "failed"})
    log.play({"s1": ON_EDGE}, numbered=False)
    measured = read(log.connection, Filter(), [D0])

    assert [2, 2, 0, 0, 0] == measured.sharers.tolist()
    assert [True, True, True, False, False] == measured.whole.tolist()
    assert [1, 1, 1, 2, NO_ROUND] == measured.round.tolist()


def test_stages_add_up_to_the_response(log: Any) -> None:
    """Asking, the image, and all the rest as computing: what no stage names is not lost."""
    log.play({"s1": ON_EDGE, "s2": HERE})
    log.connection.execute("UPDATE response SET response_ms = response_ms + 5")
    measured = read(log.connection, Filter(), [D0])
    logged = log.connection.execute("SELECT compute_ms + queue_ms + 5 FROM response ORDER BY id").fetchall()

    assert [ms for (ms,) in logged] == pytest.approx(measured.compute_ms.tolist())
    assert 0.0 == measured.image_ms[1]


def test_models_that_are_not_in_the_manifest_are_left_out_and_noted(log: Any) -> None:
    """No accuracy is known of them, so the simulator cannot take them."""
    log.play({"s1": HERE, "s2": Action(Tier.END, ModelName("d7"))})
    measured = read(log.connection, Filter(), [D0])

    assert (D0,) == measured.models
    assert ("1 requests with models that are not in the manifest were left out.",) == measured.notes


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    """An error of ours, not SQLite's."""
    path = tmp_path / "log.sqlite3"
    with closing(open_for_writing(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with closing(open_for_reading(path)) as connection, pytest.raises(LogRefused, match="cannot read") as refused:
        read(connection, Filter(), [D0])

    assert isinstance(refused.value.__cause__, sqlite3.Error)
