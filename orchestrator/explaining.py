"""Why a device was told its action, as it is kept: plain values, checked, from what the agent says."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from broker.events import event
from broker.messages import LONGEST_MS
from broker.vocabulary import Action, ModelName, Tier
from orchestrator.agent import Explanation
from orchestrator.deciding import JointDecision

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Why:
    """An Explanation in the columns of the response log. Times in ms, `sd` one standard deviation.

    `runner_up` as in `d0@edge`, None: no other action; `bounds` with commas between, '' for none.
    A number is None where the agent gave none that can be.
    """

    predicted_ms: float | None
    predicted_sd_ms: float | None
    runner_up: str | None
    runner_up_ms: float | None
    runner_up_sd_ms: float | None
    bounds: str
    reason: str


def why_of(joint: JointDecision, place: int) -> Why | None:
    """What the agent says of the `place`-th device; None where it does not say, or cannot. Never raises."""
    if joint.choice.why is None:
        return None
    try:
        said = joint.choice.why(place)
        if said.action != joint.choice.actions[place]:
            event(log, logging.ERROR, "explained_another", policy=joint.policy, of=said.action)
            return None
        return _plain(said)
    except Exception:  # a defect in what explains a decision must cost nobody anything
        log.exception("not_explained policy=%s", joint.policy)
        return None


def _plain(said: Explanation) -> Why:
    return Why(
        _milliseconds(said.predicted_ms),
        _milliseconds(said.sd_ms),
        None if said.runner_up is None else str(said.runner_up),
        _milliseconds(said.runner_up_ms),
        _milliseconds(said.runner_up_sd_ms),
        ",".join(said.bounds),
        str(said.reason),
    )


def _milliseconds(value: float | None) -> float | None:
    """As the wire has them: finite, 0 to a day. Also of NumPy's numbers, which SQLite would not take."""
    number = math.nan if value is None else float(value)
    return number if 0 <= number <= LONGEST_MS else None


def action_of(text: str) -> Action:
    """The action that `d0@edge` stands for. Raises ValueError."""
    model, _, tier = text.partition("@")
    return Action(Tier(tier), ModelName(model))
