"""The file of one node on any tier: `device.yaml`, `edge.yaml`, `cloud.yaml`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from broker.endpoint import Endpoint
from broker.tls import Tls
from broker.vocabulary import Link, Tier
from configs.section import LIVE, Host, Model, NodeName, PathBesideFile, Section, SiteName

Positive = Annotated[float, Field(gt=0, le=86_400_000)]


class TlsSection(Section):
    """This process's certificate, as `tierwise broker provision` made it, and the authority that it trusts."""

    ca_file: PathBesideFile = Field(description="relative paths: from the folder of this file")
    certificate_file: PathBesideFile
    key_file: PathBesideFile = Field(description="readable by this process's user alone")


class BrokerSection(Section):
    """Where the node finds Mosquitto."""

    host: Host = Field("127.0.0.1", description="name or address of the broker's machine")
    port: int = Field(1883, ge=1, le=65535, description="that the broker listens on")
    keepalive_s: int = Field(5, ge=2, le=60, description="a silent peer is noticed after 1.5 to 2 of these")
    tls: TlsSection | None = Field(None, description="none: in plain text, which our broker takes on loopback only")

    def endpoint(self) -> Endpoint:
        """What a client connects to. Raises TlsUnusable when a file of `tls` cannot be used."""
        if self.tls is None:
            return Endpoint(self.host, self.port, self.keepalive_s)
        tls = Tls(self.tls.ca_file, self.tls.certificate_file, self.tls.key_file)
        tls.context()
        return Endpoint(self.host, self.port, self.keepalive_s, tls=tls)


class ModelsSection(Section):
    """Which networks this node may run, and what they may cost."""

    directory: Path | None = Field(None, description="default: the cache, ~/.cache/tierwise/models")
    manifest: Path | None = Field(
        None, description="what was added and measured; default: local-manifest.yaml in the directory, if it is there"
    )
    pool: tuple[Model, ...] = Field(
        ("d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7"), min_length=1, validate_default=True
    )
    memory_limit_mb: int = Field(300, ge=16, description="loaded models beyond it are evicted, least recent first")
    threads: int = Field(1, ge=1, le=64, description="threads of one inference")
    preload: bool = Field(
        False,
        description="load and run every network once at the start, so that no request waits for that; costs memory",
    )


class Discipline(StrEnum):
    """How a node serves several jobs. First in, first out beats time sharing on average."""

    FIFO = "fifo"
    TIME_SHARED = "time_shared"


class ServiceSection(Section):
    """The Intelligent Service."""

    discipline: Discipline = Discipline.FIFO
    workers: int | None = Field(None, ge=1, le=256, description="default: one per vCPU")
    queue_length: int = Field(8, ge=0, le=10_000, description="jobs that may wait; one more is refused at once")


class MonitoringSection(Section):
    """Resource Monitoring."""

    period_s: float = Field(
        1.0, ge=0.1, le=3600, description="between two messages of telemetry", json_schema_extra=LIVE
    )
    heartbeat_s: float = Field(
        1.0,
        ge=0.1,
        le=60,
        description="between two heartbeats; a node with more than 2 is taken for frozen by its devices",
        json_schema_extra=LIVE,
    )
    weak_rtt_ms: Positive = Field(
        15.0, description="round trip to the broker from which the link counts as weak", json_schema_extra=LIVE
    )
    weak_uplink_mbit_s: float = Field(
        1.0,
        ge=0,
        description="throughput of recent uploads below which the link counts as weak",
        json_schema_extra=LIVE,
    )


class RequesterMode(StrEnum):
    """When a device asks. `none` for nodes that only serve."""

    NONE = "none"
    PERIODIC = "periodic"
    CLOSED_LOOP = "closed_loop"


class ImagesSection(Section):
    """Where photographs come from and how they travel."""

    source: Literal["folder", "camera"] = "folder"
    directory: Path | None = Field(None, description="default: the photographs that come with Tierwise")
    camera: int = Field(0, ge=0, description="index of the camera, for source: camera")
    width_px: int = Field(
        224, ge=32, le=1920, description="edge length of the image that is sent up", json_schema_extra=LIVE
    )
    jpeg_quality: int = Field(
        90, ge=1, le=100, description="of the image that is sent up: a larger one is larger", json_schema_extra=LIVE
    )


class RequesterSection(Section):
    """The part of a device that asks for inferences."""

    mode: RequesterMode = RequesterMode.NONE
    period_s: float = Field(
        1.0, gt=0, le=86_400, description="periodic: on whole multiples of it by the wall clock", json_schema_extra=LIVE
    )
    decision_timeout_ms: Positive = Field(
        800.0,
        description="no decision by then: run the most accurate model here; with a frozen orchestrator too, an answer "
        "is there within a second",
        json_schema_extra=LIVE,
    )
    open_timeout_s: float = Field(
        5.0, gt=0, le=3600, description="closed loop: ask anyway after this silence", json_schema_extra=LIVE
    )
    images: ImagesSection = ImagesSection()


class OutboxSection(Section):
    """Where a device keeps the reports that the orchestrator has not stored yet, so that none is lost with it."""

    directory: Path | None = Field(None, description="default: ~/.local/state/tierwise, or under $XDG_STATE_HOME")
    reports: int = Field(
        2000, ge=10, le=1_000_000, description="most that are kept, half a kB each; beyond it the oldest is dropped"
    )
    synchronous: Literal["full", "normal"] = Field(
        "full", description="full: survives a power cut, two writes to the disk a request; normal: only a crash"
    )


class EmulateSection(Section):
    """Turns the Intelligent Service into one virtual server with given times. For many nodes on one machine."""

    reference_ms: dict[Model, Positive] = Field(min_length=1, description="time of a job of this model alone")
    contention: float = Field(0.0, ge=0, le=100, description="c: n jobs each proceed at speed 1/(1 + c(n-1))")
    vcpus: int = Field(1, ge=1, le=4096, description="as many as the emulated node has")
    link: Link = Field(Link.REGULAR, description="what the link proxy in front of the broker makes of it")


class NodeConfig(Section):
    """One process: `tierwise-agent run --config FILE`."""

    version: Literal[1]
    site: SiteName
    node: NodeName
    tier: Tier
    broker: BrokerSection = BrokerSection()
    models: ModelsSection = ModelsSection()
    service: ServiceSection = ServiceSection()
    monitoring: MonitoringSection = MonitoringSection()
    requester: RequesterSection = RequesterSection()
    outbox: OutboxSection = OutboxSection()
    emulate: EmulateSection | None = None
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is logged, from this severity on", json_schema_extra=LIVE
    )

    @model_validator(mode="after")
    def _emulated_models_have_times(self) -> NodeConfig:
        if self.emulate is not None:
            missing = [model for model in self.models.pool if model not in self.emulate.reference_ms]
            if missing:
                raise ValueError(f"emulate.reference_ms lacks {', '.join(missing)} of models.pool")
        if self.tier is not Tier.END and self.requester.mode is not RequesterMode.NONE:
            raise ValueError(f"requester.mode must be none on tier {self.tier}: only end devices ask")
        return self
