"""`explain`: a decision as it is told to whoever asked why, and back. Pure."""

from __future__ import annotations

from broker.messages import Explain
from broker.vocabulary import Action, ModelName, NodeId, RequestId
from orchestrator.explained import Expired, LoggedDecision
from orchestrator.explaining import Why, action_of

UNKNOWN = "unknown_request"
EXPIRED = "expired"
NOT_EXPLAINED = "not_explained"


def answer(request_id: RequestId | None, decision: LoggedDecision | Expired | None) -> Explain:
    """What is known of `decision`; of None, that nothing is."""
    if isinstance(decision, Expired):
        return Explain(request_id=decision.request_id, refused=EXPIRED)
    if decision is None:
        return Explain(request_id=request_id, refused=UNKNOWN)
    why = decision.why
    runner_up = None if why is None or why.runner_up is None else action_of(why.runner_up)
    return Explain(
        request_id=decision.request_id,
        round=decision.round,
        tier=decision.action.tier,
        model=decision.action.model,
        policy=decision.policy,
        explored=decision.explored,
        predicted_ms=None if why is None else why.predicted_ms,
        sd_ms=None if why is None else why.predicted_sd_ms,
        runner_up_tier=None if runner_up is None else runner_up.tier,
        runner_up_model=None if runner_up is None else runner_up.model,
        runner_up_ms=None if why is None else why.runner_up_ms,
        runner_up_sd_ms=None if why is None else why.runner_up_sd_ms,
        bounds=None if why is None else [bound for bound in why.bounds.split(",") if bound],
        reason=None if why is None else why.reason,
        refused=NOT_EXPLAINED if why is None else None,
    )


def decision_from(node: NodeId, told: Explain) -> LoggedDecision | None:
    """What an answer says of a decision, without floor and measurements; None where it says nothing."""
    if told.request_id is None or told.round is None or told.tier is None or told.model is None:
        return None
    why = None
    if told.reason is not None:
        both = (told.runner_up_tier, told.runner_up_model)
        runner_up = None if None in both else f"{told.runner_up_model}@{told.runner_up_tier}"
        figures = (told.predicted_ms, told.sd_ms, runner_up, told.runner_up_ms, told.runner_up_sd_ms)
        why = Why(*figures, ",".join(told.bounds or ()), told.reason)
    return LoggedDecision(
        node,
        RequestId(told.request_id),
        told.round,
        told.policy or "",
        told.explored or False,
        0,
        Action(told.tier, ModelName(told.model)),
        why,
        None,
    )
