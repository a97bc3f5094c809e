"""The record of one request while it runs, and the report that it ends in.

Stages add up to the response time but for what this process needs between them, and never to more: what a serving
node says of its own times is cut to what is left. Offloaded: `downlink` is the rest that no other stage explains.
Local: `uplink` and `downlink` are 0. Fallen back: `encode` and `uplink` are those of the attempt that failed, and
`queue` is the rest, the time waited in vain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from broker.messages import Report, Result, Stages, cut
from broker.vocabulary import ModelName, NodeId, Outcome, RequestId, Tier
from device_agent.service.job import Served


@dataclass(slots=True)
class Trace:
    """One request. Times are seconds on the requester's monotonic clock."""

    request_id: RequestId
    node: NodeId
    model: ModelName  # the last one that was tried
    issued_s: float
    decided_s: float | None = None
    decision_lost_s: float | None = None
    encode_s: float = 0.0
    uplink_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    ended_s: float | None = None
    served: Served | None = None
    result: Result | None = None
    serving_node: NodeId | None = None
    serving_tier: Tier = Tier.END

    def fail(self, reason: str) -> None:
        """One attempt came to nothing."""
        self.failures.append(reason)

    def done_here(self, served: Served, ended_s: float) -> None:
        """The device's own Intelligent Service gave a label."""
        self.served, self.ended_s = served, ended_s

    def done_there(self, result: Result, node: NodeId, tier: Tier, ended_s: float) -> None:
        """A serving node gave a label."""
        self.result, self.serving_node, self.serving_tier, self.ended_s = result, node, tier, ended_s

    def report(self, now_s: float) -> Report:
        """How the request ended; one that nothing has answered by now has failed."""
        answer = self.result or self.served
        if answer is None:
            outcome = Outcome.FAILED
        elif self.failures or self.decided_s is None:
            outcome = Outcome.FALLEN_BACK
        else:
            outcome = Outcome.DONE
        response_s = (now_s if self.ended_s is None else self.ended_s) - self.issued_s
        return Report(
            request_id=self.request_id,
            outcome=outcome,
            decided=self.decided_s is not None,
            tier=self.serving_tier if self.result is not None else Tier.END,
            model=self.result.model if self.result is not None else self.model,
            serving_node=self.serving_node or self.node,
            response_ms=response_s * 1000,
            stages=self._stages(response_s * 1000),
            label=cut(answer.label) if answer is not None and answer.label is not None else None,
            trained=answer.trained if answer is not None else False,
            emulated=answer.emulated if answer is not None else False,
            reason=cut("; ".join(self.failures)) if self.failures else None,
        )

    def _stages(self, response_ms: float) -> Stages:
        decided_s = self.decided_s if self.decided_s is not None else self.decision_lost_s
        remaining = _Remaining(response_ms)
        decide_ms = remaining.take((decided_s - self.issued_s) * 1000 if decided_s is not None else response_ms)
        encode_ms = remaining.take(self.encode_s * 1000)
        uplink_ms = compute_ms = queue_ms = downlink_ms = 0.0
        if self.result is not None:
            queue_ms = remaining.take(self.result.queue_ms)
            compute_ms = remaining.take(self.result.compute_ms)
            uplink_ms = remaining.take(self.uplink_s * 1000)  # a serving node may begin before the PUBACK is here
            downlink_ms = remaining.left_ms
        else:
            uplink_ms = remaining.take(self.uplink_s * 1000)
            if self.served is not None:
                compute_ms = remaining.take(self.served.compute_ms)
            queue_ms = remaining.take(self.served.queue_ms if self.served and not self.failures else math.inf)
        return Stages(
            decide_ms=decide_ms,
            encode_ms=encode_ms,
            uplink_ms=uplink_ms,
            queue_ms=queue_ms,
            compute_ms=compute_ms,
            downlink_ms=downlink_ms,
        )


@dataclass(slots=True)
class _Remaining:
    """What is left of a response time while its stages are taken from it."""

    left_ms: float

    def take(self, stage_ms: float) -> float:
        """As much of `stage_ms` as there is."""
        taken_ms = min(max(0.0, stage_ms), self.left_ms)
        self.left_ms -= taken_ms
        return taken_ms
