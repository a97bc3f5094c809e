"""The file of a calibration: every coefficient of the simulator, with its origin."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.node import Positive
from configs.section import Model, NodeName, Section

Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]


class LinkCost(Section):
    """What a request pays for its link, once."""

    ask_ms: Milliseconds = Field(description="request up and decision down; every request pays it")
    image_ms: Milliseconds = Field(description="image up and result down; offloaded ones pay it too")


class LinksSection(Section):
    """Links of Table 5: between a device and the edge, and of the edge itself."""

    regular: LinkCost
    weak: LinkCost
    edge_weak: LinkCost = Field(description="added for every device while the edge's own link is weak")


class TierSection(Section):
    """One serving tier. k jobs that start together each take compute_ms x (1 + contention (k - 1) / vcpus)."""

    vcpus: int = Field(ge=1, le=4096)
    compute_ms: dict[Model, Positive] = Field(min_length=1, description="a job alone on the idle node, by model")
    contention: float = Field(ge=0, le=1000, description="slow-down per further job and per vCPU")


class BusySection(Section):
    """How much longer a task takes on a node that background load makes busy."""

    end: float = Field(1.0, ge=1, le=100)
    edge: float = Field(1.0, ge=1, le=100)
    cloud: float = Field(1.0, ge=1, le=100)


class NoiseDistribution(StrEnum):
    """Of the factor, of mean 1, by which one measured response time differs from its expectation."""

    NONE = "none"
    NORMAL = "normal"  # cut off at a tenth
    LOGNORMAL = "lognormal"
    STUDENT_T = "student_t"  # three degrees of freedom, scaled to the deviation, cut off at a tenth: heavy tails


class NoiseSection(Section):
    """Measurement noise, independent per device and round."""

    distribution: NoiseDistribution = NoiseDistribution.LOGNORMAL
    sd_percent: float = Field(3.0, ge=0, le=100, description="standard deviation of the factor")


class CalibrationConfig(Section):
    """Response times of one site, as the simulator makes them."""

    version: Literal[1]
    name: str = Field(min_length=1, max_length=100)
    models: dict[Model, Positive] = Field(min_length=1, description="ms of a task on an idle device of speed 1")
    speeds: dict[NodeName, Positive] = Field(default_factory=dict, description="a device of speed 2 takes half")
    edge: TierSection
    cloud: TierSection
    links: LinksSection
    busy: BusySection = BusySection()
    noise: NoiseSection = NoiseSection()
    deadline_ms: Positive = Field(5000.0, description="what counts where no result comes")
    origin: dict[str, str] = Field(description="where each coefficient comes from; a key may stand for all below it")

    @model_validator(mode="after")
    def _every_coefficient_has_an_origin(self) -> CalibrationConfig:
        lacking = [path for path in self.coefficients() if not self.origin_of(path)]
        if lacking:
            raise ValueError(f"origin lacks {', '.join(lacking)}")
        return self

    def coefficients(self) -> list[str]:
        """The dotted paths of all coefficients, `models.d0` and so on."""
        return _paths(self.model_dump(mode="json", exclude={"version", "name", "origin"}))

    def origin_of(self, path: str) -> str | None:
        """Where the coefficient at `path` comes from: its own entry, or that of what it stands below."""
        while path:
            if path in self.origin:
                return self.origin[path]
            path = path.rpartition(".")[0]
        return None


def _paths(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [path for key, inner in value.items() for path in _paths(inner, f"{prefix}.{key}" if prefix else str(key))]
