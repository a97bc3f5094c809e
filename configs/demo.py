"""The file of the demo: `demo.yaml` and the paper's experiments (Table 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from broker.vocabulary import Link, Tier
from configs.node import EmulateSection
from configs.orchestrator import Policy
from configs.section import Floor, NodeName, Section, SiteName


class RoundsOfDemo(Section):
    """How long each policy runs."""

    learned: int = Field(40, ge=1, le=100_000)
    fixed: int = Field(8, ge=1, le=100_000, description="rounds of each fixed strategy that it is compared with")


class FleetNode(Section):
    """One emulated node of the fleet."""

    node: NodeName
    tier: Tier


class DemoConfig(Section):
    """`tierwise demo`: a whole site on one machine, its times emulated."""

    version: Literal[1]
    site: SiteName
    accuracy_floor: Floor
    policy: Policy = Policy.FACTORED
    rounds: RoundsOfDemo = RoundsOfDemo()
    weak_delay_ms: float = Field(20.0, ge=0, le=10_000, description="added to each outgoing message on a weak link")
    nodes: tuple[FleetNode, ...] = Field(min_length=3)
    emulate: dict[Tier, EmulateSection]

    @model_validator(mode="after")
    def _fleet_is_whole(self) -> DemoConfig:
        names = [node.node for node in self.nodes]
        if len(set(names)) != len(names):
            raise ValueError("two nodes have the same name")
        for tier in Tier:
            if tier not in self.emulate:
                raise ValueError(f"emulate lacks tier {tier}")
            if not any(node.tier is tier for node in self.nodes):
                raise ValueError(f"nodes lack one on tier {tier}")
        return self


class ExperimentConfig(Section):
    """Which links of the fleet are weak: one row of Table 5. A node that is not named has a regular link."""

    version: Literal[1]
    name: str
    links: dict[NodeName, Link] = Field(default_factory=dict)
