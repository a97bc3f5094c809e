"""A decision and why it was made, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from broker.vocabulary import Action, Outcome, Tier
from orchestrator.agent import Bound, Reason
from orchestrator.explained import LoggedDecision, Measured
from orchestrator.explaining import action_of

WHERE = {Tier.END: "itself", Tier.EDGE: "on the edge", Tier.CLOUD: "in the cloud"}
BOUNDS: Mapping[str, str] = {
    Bound.FLOOR: "the accuracy floor",
    Bound.LOAD: "the load that it would be to others on that tier",
    Bound.ENTRY: "the limit to how many may enter a tier at once",
}
REASONS: Mapping[str, str] = {
    Reason.BEST: "best known",
    Reason.UNCERTAIN: "it may be better than what is known to be good",
    Reason.PROBE: "something unused may have changed",
    Reason.HELD: "it was decided earlier, and others around it",
}


def sentence(decision: LoggedDecision) -> str:
    """What the device runs, what was expected of that and of the next best, what held, and the reason.

    An expected time is a mean, and how well the agent knew that mean; single times vary by more.
    """
    why = decision.why
    runs = f"{decision.node} runs {what(decision.action)}"
    if why is None:
        return f"{runs}; {decision.policy} does not say why"
    if why.runner_up is None:
        runner_up = "no other action could be taken"
    else:
        figures = _milliseconds(why.runner_up_ms, why.runner_up_sd_ms)
        runner_up = f"next best {what(action_of(why.runner_up))}, {figures}"
    parts = [f"{runs}: {_milliseconds(why.predicted_ms, why.predicted_sd_ms)} expected"]
    if decision.spread_ms is not None:
        parts.append(f"single times vary by {decision.spread_ms:.0f} ms (standard deviation)")
    parts.append(runner_up)
    if why.bounds:
        parts.append(f"may be held back by {' and '.join(_said(BOUNDS, word) for word in why.bounds.split(','))}")
    return "; ".join([*parts, f"chosen because {_said(REASONS, why.reason)}"])


def what(action: Action) -> str:
    """`d0 on the edge`."""
    return f"{action.model} {WHERE[action.tier]}"


def came_of_it(decided: Action, measured: Measured | None) -> str:
    """What the device reported: how long it took, and what else ran where it did not do as it was told."""
    if measured is None:
        return "no report"
    if measured.outcome is Outcome.FAILED:
        return "failed"
    took = f"{measured.response_ms:.0f} ms"
    return took if measured.action == decided else f"{took}, but {what(measured.action)}"


def _milliseconds(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "nothing certain"
    return f"a mean of {mean:.0f} ms" + ("" if sd is None else f" (known to {sd:.0f} ms)")


def _said(words: Mapping[str, str], word: str) -> str:
    return words.get(word, word)  # a later version may have others
