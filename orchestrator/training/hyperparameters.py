"""The agents' settings by the number of users: Table 7, and for more users what it gives for five."""

from __future__ import annotations

from configs.orchestrator import DqnSection, OrchestratorConfig, QLearningSection

Q_EPSILON_DECAY = {1: 1e-1, 2: 1e-2, 3: 1e-2, 4: 1e-3, 5: 1e-4}
DQN_EPSILON_DECAY = {3: 0.4, 4: 0.7, 5: 0.9}  # Table 7 has none for one and two users


def for_users(users: int) -> OrchestratorConfig:
    """Table 7's settings. What the paper leaves open is as in the sections' defaults."""
    q_decay = Q_EPSILON_DECAY[min(users, max(Q_EPSILON_DECAY))]
    dqn_decay = DQN_EPSILON_DECAY[min(max(users, min(DQN_EPSILON_DECAY)), max(DQN_EPSILON_DECAY))]
    return OrchestratorConfig(
        version=1,
        site="simulated",
        q_learning=QLearningSection(epsilon_decay=q_decay),
        dqn=DqnSection(epsilon_decay=dqn_decay),
    )
