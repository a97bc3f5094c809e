"""The reward of one round (equation 4), with two corrections.

1. The floor is met when the average accuracy is *at or above* it: the paper's strict ">" makes Max (89.9) impossible.
2. "Maximum response time" is a constant above any feasible one. The maximum of the round itself would reward the agent
   for breaking the floor with fast models (all d7: 72 ms).
"""

from __future__ import annotations

from collections.abc import Sequence


def reward(response_ms: Sequence[float], floor_met: bool, maximum_response_ms: float) -> float:
    """Minus the average response time in ms where the chosen joint action meets the floor, else minus the maximum.

    An average above the maximum counts as the maximum: no outcome is worth less than a broken floor.
    """
    if not floor_met:
        return -maximum_response_ms
    return -min(sum(response_ms) / len(response_ms), maximum_response_ms)
