"""The offload-only baseline: the approach of [36] as the paper compares with it (sections 6 and 6.1, Table 10).

"To implement the baseline policy into our framework, we limit the agent to actions that specify offloading decisions,
using the most accurate DL model." So: three actions a device, local, edge and cloud, each with the most accurate model
that is there (d0), and the paper's own Q-learning over 3^N joint actions.

Deviations and readings:
1. [36] minimises energy too and assigns tasks by its own states; as in the paper, only its action space is taken.
2. The learner is handed in, so any agent can be limited so; the policy `offload_only` hands in Q-learning.
3. Where the most accurate models cannot meet the floor nothing can; the floor is no concern of this baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from broker.vocabulary import Action, ModelName, Tier
from configs.orchestrator import StateSection
from orchestrator.agent import Choice, Experience, Learner, Observation, Thresholded
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointRefused

FORM = 1
MOST_KEPT = 4096  # observations whose limited form is remembered


class OffloadOnly:
    """Limits what `learner` may choose. It learns, explores and is saved; this adds nothing to it."""

    name = "offload_only"
    stateful = True

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._limited: dict[int, tuple[Observation, Observation]] = {}

    def reconfigure(self, thresholds: StateSection) -> None:
        """Hand them on, if the learner has any."""
        if isinstance(self._learner, Thresholded):
            self._learner.reconfigure(thresholds)

    def act(self, observation: Observation) -> Choice:
        """The learner's choice among three actions a device."""
        return self._learner.act(self._limit(observation))

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        """The learner's, without exploring."""
        return self._learner.greedy(self._limit(observation))

    def learn(self, experience: Experience) -> None:
        """Hand it on."""
        seen, following = self._limit(experience.observation), self._limit(experience.next_observation)
        self._learner.learn(replace(experience, observation=seen, next_observation=following))

    def _limit(self, observation: Observation) -> Observation:
        known = self._limited.get(id(observation))
        if known is None or known[0] is not observation:
            if len(self._limited) >= MOST_KEPT:
                self._limited.clear()
            tenths = observation.accuracy_tenths
            actions = tuple(_most_accurate(able, tenths) for able in observation.actions)
            known = observation, replace(observation, actions=actions)
            self._limited[id(observation)] = known
        return known[1]

    def save(self) -> Checkpoint:
        """The learner's, under this name."""
        inner = self._learner.save()
        about = {"learner": inner.agent, "version": inner.version, "about": inner.about}
        return Checkpoint(self.name, FORM, about, inner.arrays)

    def load(self, checkpoint: Checkpoint) -> None:
        """Raises CheckpointRefused."""
        checkpoint.expect(self.name, FORM)
        about = checkpoint.about
        try:
            inner = Checkpoint(str(about["learner"]), int(about["version"]), dict(about["about"]), checkpoint.arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointRefused("the checkpoint lacks its learner; move it away to start without it") from error
        self._learner.load(inner)


def _most_accurate(actions: tuple[Action, ...], tenths: Mapping[ModelName, int]) -> tuple[Action, ...]:
    """One action per tier where the device has one there."""
    of_tiers = ([action for action in actions if action.tier is tier] for tier in Tier)
    return tuple(max(able, key=lambda action: tenths[action.model]) for able in of_tiers if able)
