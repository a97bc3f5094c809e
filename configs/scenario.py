"""The file of a scenario: what happens on a simulated site beside the devices' requests."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from broker.vocabulary import Link
from configs.section import NodeName, Section

Probability = Annotated[float, Field(ge=0, le=1)]


class BackgroundSection(Section):
    """Other people's work on one node: a Markov chain between available and busy, one step a round."""

    start: Probability = Field(description="from available to busy")
    stop: Probability = Field(description="from busy to available")


class OwnLoadSection(Section):
    """How much of a node's CPU in one round is still in its telemetry before the next."""

    end: Probability = 0.0
    edge: Probability = 0.0
    cloud: Probability = 0.0


class EventKind(StrEnum):
    """What may change."""

    SLOW = "slow"  # tasks on these nodes take `factor` times as long as before the first event
    DELAY = "delay"  # tasks on these serving nodes take `ms` longer; times the busy factor while they are busy
    LINK = "link"  # the link of these nodes becomes `link`
    DOWN = "down"  # no result comes from these nodes
    RESTORE = "restore"  # these nodes are again as at the start


class EventSection(Section):
    """One scheduled change: drift or failure."""

    round: int = Field(ge=1, description="happens before this round's state is told; the first is 1")
    kind: EventKind
    nodes: tuple[NodeName, ...] = Field(min_length=1, description="names of nodes; `end` stands for all devices")
    factor: float | None = Field(None, gt=0, le=1000, description="for slow")
    ms: float | None = Field(None, ge=0, le=86_400_000, description="for delay")
    link: Link | None = Field(None, description="for link")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> EventSection:
        needs = {EventKind.SLOW: "factor", EventKind.DELAY: "ms", EventKind.LINK: "link"}.get(self.kind)
        given = [name for name in ("factor", "ms", "link") if getattr(self, name) is not None]
        if given != ([needs] if needs else []):
            raise ValueError(
                f"kind {self.kind} takes {needs or 'none of factor, ms and link'}, not {given or 'nothing'}"
            )
        if self.kind is EventKind.DELAY and not set(self.nodes) <= {"edge", "cloud"}:
            raise ValueError("kind delay is for edge and cloud")
        return self


class ScenarioConfig(Section):
    """What happens on a simulated site. Nodes: `edge`, `cloud`, a device's name, or `end` for all devices."""

    version: Literal[1]
    name: str = Field(min_length=1, max_length=100)
    background: dict[NodeName, BackgroundSection] = Field(default_factory=dict)
    own_load: OwnLoadSection = OwnLoadSection()
    events: tuple[EventSection, ...] = Field(default=(), max_length=10_000)
