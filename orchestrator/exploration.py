"""How exploration dies out: the one thing besides replay that agents share.

Table 7 gives an "epsilon decay" d "per agent invocation" and does not say how it is applied. Three readings:
`subtract`: epsilon - d; `multiply`: epsilon x d; `multiply_rest`: epsilon x (1 - d).
"""

from __future__ import annotations

from configs.orchestrator import EpsilonDecay


class EpsilonSchedule:
    """The probability of a random joint action, and its decay once per invocation. Mutable."""

    def __init__(self, start: float, minimum: float, decay: float, kind: EpsilonDecay) -> None:
        self.epsilon = start
        self._minimum = minimum
        self._decay = decay
        self._kind = kind

    def step(self) -> None:
        """One invocation of the agent has passed. Never below the minimum, never up to it from below."""
        if self._kind is EpsilonDecay.SUBTRACT:
            decayed = self.epsilon - self._decay
        elif self._kind is EpsilonDecay.MULTIPLY:
            decayed = self.epsilon * self._decay
        else:
            decayed = self.epsilon * (1.0 - self._decay)
        self.epsilon = min(self.epsilon, max(self._minimum, decayed))
