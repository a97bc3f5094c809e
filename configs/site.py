"""The file of a site's accounts: `site.yaml`, for `tierwise broker provision`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from broker.vocabulary import NodeId, Tier
from configs.section import NodeName, Section, SiteName

RESERVED = ("admin", "broker")  # names of the administrator's and the broker's own certificate
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:-]+$")]
Names = tuple[NodeName, ...]


class NodesSection(Section):
    """Node ids, by tier."""

    end: Names = ()
    edge: Names = ()
    cloud: Names = ()


class PeopleSection(Section):
    """Names of people, or of programs that act for them; one connection at a time each."""

    operators: Names = Field((), description="may watch, ask why, ping, and change the goal")
    observers: Names = Field((), description="may watch")


class ValiditySection(Section):
    """How long certificates are good."""

    authority_days: int = Field(3650, ge=1, le=36_500)
    certificate_days: int = Field(365, ge=1, le=3650)
    renew_days: int = Field(30, ge=0, le=3650, description="what expires within so many is replaced")

    @model_validator(mode="after")
    def _a_new_one_is_not_old_at_once(self) -> ValiditySection:
        if self.renew_days >= self.certificate_days:
            raise ValueError("renew_days must be less than certificate_days, or a new one is renewed at once")
        return self


class SiteConfig(Section):
    """Who belongs to a site, and where its broker is found."""

    version: Literal[1]
    site: SiteName
    hosts: tuple[Host, ...] = Field(
        min_length=1,
        description="names or addresses of the broker; the first one stands in its clients' files",
    )
    listen: Host = Field("0.0.0.0", description="address that the broker listens on")
    port: int = Field(8883, ge=1, le=65535)
    orchestrator: NodeName = Field("orchestrator", validate_default=True)
    nodes: NodesSection
    people: PeopleSection = PeopleSection()
    validity: ValiditySection = ValiditySection()
    node_directory: Path = Field(
        Path("/etc/tierwise"),
        description="where a node keeps its certificate and key; `.`: beside its YAML file, wherever that is",
    )

    @model_validator(mode="after")
    def _names_are_one_persons_or_nodes(self) -> SiteConfig:
        names = self.names()
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise ValueError(f"{', '.join(twice)} stands here twice: every node and person needs a name of its own")
        if reserved := sorted(set(names) & set(RESERVED)):
            raise ValueError(f"{', '.join(reserved)} is a name of the broker's own: choose another one")
        return self

    def names(self) -> list[NodeId]:
        """All that get an account."""
        nodes, people = self.nodes, self.people
        return [self.orchestrator, *nodes.end, *nodes.edge, *nodes.cloud, *people.operators, *people.observers]

    def tiers(self) -> dict[Tier, Names]:
        """The nodes of each tier."""
        return {Tier.END: self.nodes.end, Tier.EDGE: self.nodes.edge, Tier.CLOUD: self.nodes.cloud}
