"""The random policy: each device does any of its actions with equal probability, whatever the state and the floor."""

from __future__ import annotations

import numpy as np

from orchestrator.agent import Choice, Experience, Observation
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointRefused

FORM = 1


class RandomPolicy:
    """Explores for ever and learns nothing."""

    name = "random"
    stateful = True

    def __init__(self, seed: int | None = None) -> None:
        self._random = np.random.Generator(np.random.PCG64(seed))

    def act(self, observation: Observation) -> Choice:
        """One draw per device."""
        sizes = [len(actions) for actions in observation.actions]
        places = self._random.integers(sizes)
        chosen = tuple(actions[place] for actions, place in zip(observation.actions, places, strict=True))
        return Choice(chosen, explored=True)

    def learn(self, experience: Experience) -> None:
        """Nothing to learn."""

    def save(self) -> Checkpoint:
        """The state of its randomness."""
        return Checkpoint(self.name, FORM, {"random": self._random.bit_generator.state})

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on with the saved randomness. Raises CheckpointRefused."""
        checkpoint.expect(self.name, FORM)
        restored = np.random.PCG64()
        try:
            restored.state = checkpoint.about["random"]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointRefused("the checkpoint of the random policy lacks its randomness") from error
        self._random = np.random.Generator(restored)
