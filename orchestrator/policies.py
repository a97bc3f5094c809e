"""The agents by policy name: each is made once, with its checkpoint, and kept while others are in force."""

from __future__ import annotations

from pathlib import Path

from broker.vocabulary import Tier
from configs.orchestrator import OrchestratorConfig, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent
from orchestrator.agents.fixed import FixedStrategy
from orchestrator.agents.q_learning import QLearning
from orchestrator.agents.random_policy import RandomPolicy
from orchestrator.checkpoint import read_checkpoint
from orchestrator.errors import CheckpointRefused

TIER_OF = {Policy.DEVICE_ONLY: Tier.END, Policy.EDGE_ONLY: Tier.EDGE, Policy.CLOUD_ONLY: Tier.CLOUD}


class Policies:
    """All policies of one orchestrator. Switching to another and back loses nothing."""

    def __init__(self, config: OrchestratorConfig, accuracies: Accuracies) -> None:
        self._config = config
        self._accuracies = accuracies
        self._agents: dict[Policy, Agent] = {}

    def agent(self, policy: Policy) -> Agent:
        """The one agent of `policy`. Raises CheckpointRefused when its checkpoint is another's or broken."""
        if policy not in self._agents:
            agent = self._new(policy)
            path = self.checkpoint_path(agent)
            if agent.stateful and path.exists():
                try:
                    agent.load(read_checkpoint(path))
                except CheckpointRefused as error:
                    raise CheckpointRefused(f"{path}: {error}") from error
            self._agents[policy] = agent
        return self._agents[policy]

    def checkpoint_path(self, agent: Agent) -> Path:
        """Where the checkpoint of `agent` lies."""
        return self._config.files.directory / f"{agent.name}.npz"

    def stateful(self) -> list[Agent]:
        """The agents in use that have something to save."""
        return [agent for agent in self._agents.values() if agent.stateful]

    def _new(self, policy: Policy) -> Agent:
        config = self._config
        if policy in TIER_OF:
            return FixedStrategy(policy, TIER_OF[policy])
        if policy is Policy.RANDOM:
            return RandomPolicy(config.seed)
        return QLearning(config.q_learning, config.state, dict(self._accuracies.tenths), config.seed)
