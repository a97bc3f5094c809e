"""The fixed strategies: every device does the same thing in every round, whatever the state.

Device only: the most accurate model that each device has (d0). Edge only, cloud only: the model that tier serves
(d0); where the tier is not there, the most accurate local model. Uniform model: every device runs the same model
locally, the cheapest that keeps the floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.vocabulary import Action, ModelName, Tier
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.checkpoint import Checkpoint

FORM = 1


class _Memoryless:
    """Learns nothing, saves nothing but its name."""

    stateful = False
    name: str

    def learn(self, experience: Experience) -> None:
        """Nothing to learn."""

    def save(self) -> Checkpoint:
        """Nothing but whose it is."""
        return Checkpoint(self.name, FORM)

    def load(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointRefused when it is another agent's."""
        checkpoint.expect(self.name, FORM)


class FixedStrategy(_Memoryless):
    """Everything on one tier. Learns nothing."""

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


class UniformModel(_Memoryless):
    """The same local model on every device: the cheapest whose accuracy is at or above the floor. Learns nothing.

    `cost`: the place of each model from cheapest to dearest. A device that lacks the model runs its cheapest local one
    that keeps the floor; where no local model keeps it, its most accurate action.
    """

    def __init__(self, name: str, cost: Mapping[ModelName, int]) -> None:
        self.name = name
        self._cost = cost

    def act(self, observation: Observation) -> Choice:
        """One model for all devices that have it."""
        tenths, floor = observation.accuracy_tenths, observation.floor_tenths
        able = [{one.model: one for one in actions if one.tier is Tier.END} for actions in observation.actions]
        keeping = sorted({name for own in able for name in own if tenths[name] >= floor}, key=self._cost.__getitem__)
        shared = next((name for name in keeping if all(name in own for own in able)), None)
        order = keeping if shared is None else [shared]
        return Choice(
            tuple(
                next((own[name] for name in order if name in own), None)
                or max(actions, key=lambda action: tenths[action.model])
                for own, actions in zip(able, observation.actions, strict=True)
            )
        )
