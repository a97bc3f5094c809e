"""A simulated site: response times of N devices, an edge node and a cloud node, after a calibration.

It makes what a real site would have measured, for training and for reproducing the paper's tables. It may not know any
agent, and no agent may know it: they meet in `orchestrator.training` through observations and experiences. Importing
it tells Gymnasium of `Tierwise/EndEdgeCloud-v0`; `gymnasium.make("orchestrator.simulator:Tierwise/EndEdgeCloud-v0")`
does both.
"""

from gymnasium.envs.registration import register, registry

ENVIRONMENT = "Tierwise/EndEdgeCloud-v0"

if ENVIRONMENT not in registry:
    register(
        id=ENVIRONMENT,
        entry_point="orchestrator.simulator.environment:EndEdgeCloudEnv",
        vector_entry_point="orchestrator.simulator.vector_environment:EndEdgeCloudVectorEnv",
    )
