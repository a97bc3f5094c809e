"""The fixed strategies: every device does the same thing in every round, whatever the state and the floor.

Device only: the most accurate model that each device has (d0). Edge only, cloud only: the model that tier serves
(d0); where the tier is not there, the most accurate local model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.vocabulary import Action, ModelName, Tier
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.checkpoint import Checkpoint

FORM = 1


class FixedStrategy:
    """Everything on one tier. Learns nothing."""

    stateful = False

    def __init__(self, name: str, tier: Tier) -> None:
        self.name = name
        self._tier = tier

    def act(self, observation: Observation) -> Choice:
        """The most accurate action on the strategy's tier, else local, else any, for each device."""
        tenths = observation.accuracy_tenths
        return Choice(tuple(self._action(actions, tenths) for actions in observation.actions))

    def _action(self, actions: Sequence[Action], tenths: Mapping[ModelName, int]) -> Action:
        for tier in (self._tier, Tier.END):
            able = [action for action in actions if action.tier is tier]
            if able:
                return max(able, key=lambda action: tenths[action.model])
        return actions[0]

    def learn(self, experience: Experience) -> None:
        """Nothing to learn."""

    def save(self) -> Checkpoint:
        """Nothing but whose it is."""
        return Checkpoint(self.name, FORM)

    def load(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointRefused when it is another agent's."""
        checkpoint.expect(self.name, FORM)
