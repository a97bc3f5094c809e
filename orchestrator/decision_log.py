"""Decisions on their way to the log, after they have left, and then why they were made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.vocabulary import RequestId
from orchestrator.deciding import JointDecision
from orchestrator.explaining import why_of
from orchestrator.log_rows import DecisionRow, ExplanationRow

EXPLAINED_AT_ONCE = 32  # an explanation may take 0.2 ms; messages wait no longer than for so many


class DecisionLog:
    """All calls are made in the loop's thread. `explained` is told the round of which all is said."""

    def __init__(self, put: Callable[[DecisionRow | ExplanationRow], object], explained: Callable[[int], None]) -> None:
        self._put = put
        self._explained = explained
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[JointDecision, list[DecisionRow]]] = []

    def note(self, joint: JointDecision, sent: list[DecisionRow]) -> None:
        """These have been handed to the client; what it writes at the end of this turn goes first."""
        if not self._waiting:
            self._loop.call_soon(self._log)
        self._waiting.append((joint, sent))

    def put(self, row: DecisionRow) -> None:
        """One that nobody explains."""
        self._put(row)

    def _log(self) -> None:
        waiting, self._waiting = self._waiting, []
        for joint, rows in waiting:
            for row in rows:
                self._put(row)
            if joint.choice.why is not None:
                places = {joint.observation.devices[place]: place for place in joint.places}
                self._explain(joint, [(places[row.node], row) for row in rows])

    def _explain(self, joint: JointDecision, rows: list[tuple[int, DecisionRow]]) -> None:
        for place, row in rows[:EXPLAINED_AT_ONCE]:
            why = why_of(joint, place)
            if why is not None:
                self._put(ExplanationRow(row.node, RequestId(row.decision.request_id), why))
        if rest := rows[EXPLAINED_AT_ONCE:]:
            self._loop.call_soon(self._explain, joint, rest)
        elif rows and joint.beside is None:
            self._explained(rows[0][1].decision.round)
