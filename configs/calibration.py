"""The file of a calibration: every coefficient of the simulator, with its origin."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from configs.node import Positive
from configs.section import Model, NodeName, Section

Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Extensible(Section):
    """Leaves its `_later` fields out of what it writes while they have their defaults.

    So a calibration that does not use them reads, and hashes, as it did before they existed: kept trainings go on.
    """

    _later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        unused = [name for name in self._later if getattr(self, name) == type(self).model_fields[name].default]
        for name in unused:
            written.pop(name, None)
        return written


class LinkCost(Section):
    """What a request pays for its link, once."""

    ask_ms: Milliseconds = Field(description="request up and decision down; every request pays it")
    image_ms: Milliseconds = Field(description="image up and result down; offloaded ones pay it too")


class LinksSection(Section):
    """Links of Table 5: between a device and the edge, and of the edge itself."""

    regular: LinkCost
    weak: LinkCost
    edge_weak: LinkCost = Field(description="added for every device while the edge's own link is weak")


class Queue(StrEnum):
    """How a tier serves the k jobs that start together. On average a job takes shared(k) either way."""

    SHARED = "shared"  # all at once: each takes shared(k)
    FIFO = "fifo"  # in a random order, new each round: the job at place p takes shared(k) x 2 p / (k + 1)


class Shape(StrEnum):
    """shared(k) / compute_ms, with c = contention, v = vcpus and x = (k - 1) / v. None ever falls with k."""

    LINEAR = "linear"  # 1 + c x
    CONVEX = "convex"  # 1 + c x^exponent
    KINKED = "kinked"  # 1 + c steepness max(0, k - v) / v
    SATURATING = "saturating"  # 1 + c steepness half_at x / (half_at + x)


class TierSection(Extensible):
    """One serving tier. k jobs that start together each take shared(k) = compute_ms x the factor of `shape`."""

    _later = frozenset({"queue", "shape", "exponent", "steepness", "half_at"})

    vcpus: int = Field(
        ge=1, le=16_384, description="v; 8 000 serve ten thousand devices as the paper's cloud serves five"
    )
    compute_ms: dict[Model, Positive] = Field(min_length=1, description="a job alone on the idle node, by model")
    contention: float = Field(ge=0, le=1000, description="c: slow-down per further job and per vCPU, where linear")
    queue: Queue = Field(
        Queue.SHARED, description="shared: each of k jobs takes shared(k); fifo: the p-th takes shared(k) 2 p / (k + 1)"
    )
    shape: Shape = Field(Shape.LINEAR, description="linear: shared(k) = compute_ms (1 + c (k - 1) / v), v = vcpus")
    exponent: float = Field(
        1.7,
        ge=1,
        le=10,
        description="of convex: compute_ms (1 + c ((k - 1) / v)^exponent); between linear and quadratic",
    )
    steepness: float = Field(
        3.0,
        ge=0,
        le=1000,
        description="of kinked: compute_ms (1 + c steepness max(0, k - v) / v), flat up to a job per vCPU, then three "
        "times as steep as linear; of saturating: three times as steep at first",
    )
    half_at: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="further jobs per vCPU, of saturating: compute_ms (1 + c steepness half_at x / (half_at + x)), x = "
        "(k - 1) / v; half of the rise is reached at x = half_at. k shared(k) is convex where v half_at >= 1",
    )


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


class NoiseSection(Extensible):
    """Measurement noise, independent per device and round."""

    _later = frozenset({"outlier_percent", "outlier_factor"})

    distribution: NoiseDistribution = NoiseDistribution.LOGNORMAL
    sd_percent: float = Field(3.0, ge=0, le=100, description="standard deviation of the factor")
    outlier_percent: float = Field(
        0.0, ge=0, le=100, description="of all measurements, that are outliers; what is expected does not count them"
    )
    outlier_factor: Positive = Field(5.0, description="multiplies an outlier: a device that was out of reach for long")


class InteractionsSection(Section):
    """Every device has models that suit it: (device, model) times differ from model x speed, by factors of mean 1."""

    sd_percent: float = Field(0.0, ge=0, le=100, description="standard deviation of the lognormal factors")
    seed: Seed = Field(1, description="of the factors; device i has the same ones on a site of any size")


class SpeedSpreadSection(Section):
    """Speeds of the devices that `speeds` does not name, drawn log-uniformly."""

    slowest: Positive = Field(1.0, description="least speed; a device of speed 2 takes half")
    fastest: Positive = Field(1.0, description="greatest speed")
    seed: Seed = Field(1, description="of the speeds; device i has the same one on a site of any size")

    @model_validator(mode="after")
    def _slowest_is_not_faster(self) -> SpeedSpreadSection:
        if self.slowest > self.fastest:
            raise ValueError(f"slowest is {self.slowest:g}, above fastest, {self.fastest:g}")
        return self


class CalibrationConfig(Extensible):
    """Response times of one site, as the simulator makes them."""

    _later = frozenset({"speed_spread", "interactions"})

    version: Literal[1]
    name: str = Field(min_length=1, max_length=100)
    models: dict[Model, Positive] = Field(min_length=1, description="ms of a task on an idle device of speed 1")
    speeds: dict[NodeName, Positive] = Field(default_factory=dict, description="a device of speed 2 takes half")
    speed_spread: SpeedSpreadSection = SpeedSpreadSection()
    interactions: InteractionsSection = InteractionsSection()
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
