"""The agents by policy name: each is made once, with its checkpoint, and kept while others are in force."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

from broker.events import event
from broker.vocabulary import Tier
from configs.orchestrator import OrchestratorConfig, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Thresholded
from orchestrator.agents.factored import Factored
from orchestrator.agents.fixed import FixedStrategy, UniformModel
from orchestrator.agents.offload_only import OffloadOnly
from orchestrator.agents.q_learning import QLearning
from orchestrator.agents.random_policy import RandomPolicy
from orchestrator.checkpoint import read_checkpoint
from orchestrator.errors import CheckpointImplausible, CheckpointRefused, ModelsChanged, PolicyUnavailable

log = logging.getLogger(__name__)

HINT = "the agent learns anew, which takes some tens of rounds; delete the file, or put an older copy in its place"
TIER_OF = {Policy.DEVICE_ONLY: Tier.END, Policy.EDGE_ONLY: Tier.EDGE, Policy.CLOUD_ONLY: Tier.CLOUD}


class Policies:
    """All policies of one orchestrator. Switching to another and back loses nothing."""

    def __init__(self, config: OrchestratorConfig, accuracies: Accuracies) -> None:
        self._config = config
        self._accuracies = accuracies
        self._agents: dict[Policy, Agent] = {}

    def agent(self, policy: Policy) -> Agent:
        """The one agent of `policy`. Raises CheckpointRefused when its checkpoint is another's or broken.

        One with numbers that cannot be, or of other models, is set aside, and the agent learns anew.
        """
        if policy not in self._agents:
            agent = new_agent(policy, self._config, self._accuracies)
            path = self.checkpoint_path(agent)
            if agent.stateful and path.exists():
                try:
                    agent.load(read_checkpoint(path))
                except (CheckpointImplausible, ModelsChanged) as error:
                    set_aside(path, error)
                    agent = new_agent(policy, self._config, self._accuracies)
                except CheckpointRefused as error:
                    raise CheckpointRefused(f"{path}: {error}") from error
            self._agents[policy] = agent
        return self._agents[policy]

    def reconfigure(self, config: OrchestratorConfig) -> None:
        """Take the live values of `config`: the thresholds of the state, for agents in use and later ones."""
        self._config = config
        for agent in self._agents.values():
            if isinstance(agent, Thresholded):
                agent.reconfigure(config.state)

    def checkpoint_path(self, agent: Agent) -> Path:
        """Where the checkpoint of `agent` lies."""
        return self._config.files.directory / f"{agent.name}.npz"

    def stateful(self) -> list[Agent]:
        """The agents in use that have something to save."""
        return [agent for agent in self._agents.values() if agent.stateful]


def set_aside(path: Path, reason: CheckpointRefused) -> None:
    """Keep a checkpoint that no agent can use under a free name. Raises CheckpointRefused where that is impossible."""
    kept = next(
        name for number in itertools.count(1) if not (name := path.with_name(f"{path.name}.refused-{number}")).exists()
    )
    try:
        path.rename(kept)
    except OSError as error:
        raise CheckpointRefused(f"{path}: {reason}, and it cannot be renamed: {error.strerror}") from error
    event(log, logging.WARNING, "checkpoint_set_aside", path=path, kept_as=kept, reason=reason, hint=HINT)


def new_agent(policy: Policy, config: OrchestratorConfig, accuracies: Accuracies) -> Agent:
    """An agent that has learned nothing yet, with the settings and the seed of `config`."""
    if policy in TIER_OF:
        return FixedStrategy(policy, TIER_OF[policy])
    if policy is Policy.UNIFORM_MODEL:
        return UniformModel(policy, accuracies.cost)
    if policy is Policy.FACTORED:
        return Factored(config.factored, config.state, dict(accuracies.tenths), config.seed)
    if policy is Policy.RANDOM:
        return RandomPolicy(config.seed)
    if policy is Policy.DQN:
        return _deep_q_learning(config, accuracies)
    learner = QLearning(config.q_learning, config.state, dict(accuracies.tenths), config.seed)
    return OffloadOnly(learner) if policy is Policy.OFFLOAD_ONLY else learner


def _deep_q_learning(config: OrchestratorConfig, accuracies: Accuracies) -> Agent:
    try:
        from orchestrator.agents.dqn import DeepQLearning  # the only agent that needs PyTorch
    except (ImportError, OSError) as error:  # OSError: a library of PyTorch's own does not load
        what = getattr(error, "name", None) or f"PyTorch ({error})"
        raise PolicyUnavailable(
            f"the policy dqn needs {what}: pip install '.[orchestrator,dqn]' in Tierwise's checkout"
        ) from error
    return DeepQLearning(config.dqn, dict(accuracies.tenths), config.seed)
