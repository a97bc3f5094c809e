"""The file of the Intelligent Orchestrator: `orchestrator.yaml`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from broker.vocabulary import IMAGENET, Metric, NodeId, Tier
from configs.influxdb import InfluxSection
from configs.node import BrokerSection
from configs.section import LIVE, Floor, LabelSetName, NodeName, Section, SiteName


class Policy(StrEnum):
    """Who decides."""

    FACTORED = "factored"
    Q_LEARNING = "q_learning"
    DQN = "dqn"
    OFFLOAD_ONLY = "offload_only"
    DEVICE_ONLY = "device_only"
    EDGE_ONLY = "edge_only"
    CLOUD_ONLY = "cloud_only"
    UNIFORM_MODEL = "uniform_model"
    RANDOM = "random"


class GoalSection(Section):
    """The Quality of Service Goal at the start; `goal/set` changes it while it runs."""

    accuracy_floor: Floor = Field(
        89.0, description="min, max, or % of metric, with at most one decimal", json_schema_extra=LIVE
    )
    policy: Policy = Field(Policy.FACTORED, description="who decides", json_schema_extra=LIVE)
    metric: Metric = Field(Metric.TOP5, description="which accuracy the floor is about; less than 20 classes: top1")
    label_set: LabelSetName = Field(IMAGENET, description="the classes of this site; networks of others are not used")

    @model_validator(mode="before")
    @classmethod
    def _max_is_known_for_the_eight_only(cls, values: Any) -> Any:
        other = isinstance(values, dict) and (
            values.get("metric", Metric.TOP5) != Metric.TOP5 or values.get("label_set", IMAGENET) != IMAGENET
        )
        if other and values.get("accuracy_floor") == "max":
            raise ValueError("accuracy_floor: max is 89.9, the best Top-5 of d0 to d7; write this site's floor in %")
        return values


class ActionSpace(StrEnum):
    """What a device may be told."""

    PAPER = "paper"
    FULL = "full"


class RoundsMode(StrEnum):
    """When a request is decided."""

    SYNCHRONOUS = "synchronous"
    IMMEDIATE = "immediate"


class RoundsSection(Section):
    """How requests become rounds."""

    mode: RoundsMode = Field(
        RoundsMode.SYNCHRONOUS,
        description="synchronous: the requests of several devices together; immediate: each alone, on its arrival",
    )
    window_ms: float = Field(
        200.0,
        gt=0,
        le=60_000,
        description="synchronous: from a round's first request to its decision",
        json_schema_extra=LIVE,
    )
    deadline_ms: float = Field(
        5000.0, gt=0, le=600_000, description="from a decision to the end of waiting for it", json_schema_extra=LIVE
    )
    min_devices: int = Field(
        1, ge=1, le=10_000, description="no round is opened before so many are online", json_schema_extra=LIVE
    )
    open_period_s: float = Field(
        1.0, gt=0, le=60, description="how often devices are told that they may ask", json_schema_extra=LIVE
    )


class RewardSection(Section):
    """Equation 4."""

    maximum_response_ms: float = Field(
        10_000.0,
        gt=0,
        le=86_400_000,
        description="the reward of a broken floor; a constant above any feasible response time",
    )


class EpsilonDecay(StrEnum):
    """What Table 7's "epsilon decay per agent invocation" may mean: the paper does not say."""

    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    MULTIPLY_REST = "multiply_rest"


class QLearningSection(Section):
    """Algorithm 1 with Table 7's values for five users."""

    alpha: float = Field(0.9, gt=0, le=1, description="learning rate (Table 7)")
    gamma: float = Field(0.0, ge=0, lt=1, description="discount factor; the paper gives none, 'lower is better'")
    epsilon: float = Field(1.0, ge=0, le=1, description="exploration rate at the start (section 5.4)")
    epsilon_min: float = Field(0.0, ge=0, le=1)
    epsilon_decay: float = Field(1.0e-4, ge=0, le=1, description="Table 7, five users")
    epsilon_decay_kind: EpsilonDecay = Field(
        EpsilonDecay.MULTIPLY_REST, description="subtract d; multiply by d; multiply_rest: times 1 - d"
    )


class Exploration(StrEnum):
    """What Algorithm 2's "choose random action" may mean: the paper names no distribution."""

    SOME_DEVICES = "some_devices"
    ALL_DEVICES = "all_devices"


class DqnSection(Section):
    """Algorithm 2 with Table 7's values for five users."""

    hidden: int | None = Field(
        None, ge=1, le=4096, description="units of the hidden layer; default 48 up to three devices, 64 for four, 128"
    )
    learning_rate: float = Field(1.0e-3, gt=0, le=1, description="of Adam (Table 7)")
    gamma: float = Field(0.0, ge=0, lt=1, description="discount factor; the paper gives none, 'lower is better'")
    epsilon: float = Field(1.0, ge=0, le=1, description="exploration rate at the start (section 5.4)")
    epsilon_min: float = Field(0.1, ge=0, le=1, description="'we perform probabilistic exploration continuously'")
    epsilon_decay: float = Field(0.9, ge=0, le=1, description="Table 7, five users; once an epoch")
    epsilon_decay_kind: EpsilonDecay = Field(EpsilonDecay.MULTIPLY, description="how the decay is applied")
    epoch_rounds: int = Field(300, ge=1, le=10**9, description="rounds of one epoch of Algorithm 2")
    epsilon_transfer: float = Field(0.1, ge=0, le=1, description="exploration rate after `transfer` (section 6.2.1)")
    exploration: Exploration = Field(
        Exploration.SOME_DEVICES,
        description="some_devices: 1 to N devices choose anew, the rest do the greedy; all_devices: any joint action",
    )
    replay_capacity: int = Field(1000, ge=1, le=10**6, description="section 5.4")
    batch: int = Field(64, ge=1, le=10**5, description="section 5.4")
    reward_scale_ms: float = Field(10.0, gt=0, le=1e6, description="rewards enter as -gain ln(1 - reward / scale)")
    reward_gain: float = Field(0.3, gt=0, le=1e6)


class FactoredSection(Section):
    """Our own agent; docs/learning.md says how these were chosen."""

    optimism: float = Field(1.5, gt=0, le=10, description="width of optimism: times sqrt(2 ln(e + round)) deviations")
    diversity: float = Field(0.5, ge=0, lt=1, description="like devices differ by up to this share in their optimism")
    caution: float = Field(0.1, ge=0, le=3, description="deviations by which what is uncertain counts as slower")
    probe_every_rounds: int = Field(8, ge=2, le=100_000, description="what was not used for so long is tried again")
    probe_share: float = Field(0.01, gt=0, le=1, description="but probes of one kind cost no more of the response time")


class StateSection(Section):
    """Table 3: where available ends and busy begins."""

    cpu_busy_percent: float = Field(
        80.0, gt=0, le=100, description="from here on a CPU counts as busy", json_schema_extra=LIVE
    )
    memory_busy_percent: float = Field(
        90.0, gt=0, le=100, description="from here on a memory counts as busy", json_schema_extra=LIVE
    )


class LivenessSection(Section):
    """When a node counts as gone without having said so."""

    heartbeat_timeout_s: float = Field(
        2.5, gt=0, le=600, description="a node that is silent for so long gets no work", json_schema_extra=LIVE
    )


class LimitsSection(Section):
    """How much one node may say. A request takes two messages, telemetry and heartbeat two a second."""

    messages_per_s: float = Field(200.0, ge=10, le=100_000, description="of one node, for ever; more are not read")
    burst: float = Field(400.0, ge=10, le=100_000, description="of one node at once, after a silence")


ServingTier = Literal["edge", "cloud"]


class FilesSection(Section):
    """What the orchestrator keeps on disk."""

    directory: Path = Field(Path("run/orchestrator"), description="response log and checkpoint")
    checkpoint_every_rounds: int = Field(
        1, ge=1, le=1_000_000, description="a round is announced when what was learned is kept", json_schema_extra=LIVE
    )
    manifest: Path | None = Field(
        None, description="models added and accuracies measured; default: local-manifest.yaml among this user's models"
    )
    telemetry_rows: int = Field(
        500_000, ge=1000, description="newest kept in the response log; about 50 MB", json_schema_extra=LIVE
    )
    retention_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="rows of the response log are deleted when they are so old; none: kept up to max_megabytes",
        json_schema_extra=LIVE,
    )
    max_megabytes: int | None = Field(
        10_000,
        ge=10,
        le=10**7,
        description="size of the response log, of 10^6 bytes, beyond which its oldest rows are deleted; none: no limit",
        json_schema_extra=LIVE,
    )


class OrchestratorConfig(Section):
    """One process: `tierwise orchestrator run --config FILE`."""

    version: Literal[1]
    site: SiteName
    node: NodeName = Field("orchestrator", validate_default=True)
    broker: BrokerSection = BrokerSection()
    goal: GoalSection = GoalSection()
    rounds: RoundsSection = RoundsSection()
    action_space: ActionSpace = Field(
        ActionSpace.PAPER,
        description="paper: edge and cloud run their most accurate model (section 4.2); full: any model that they have",
    )
    serving_nodes: dict[ServingTier, tuple[NodeName, ...]] | None = Field(
        None,
        description="nodes that may serve edge and cloud, the first healthy one does; none: any that says it is there",
        json_schema_extra=LIVE,
    )
    reward: RewardSection = RewardSection()
    q_learning: QLearningSection = QLearningSection()
    dqn: DqnSection = DqnSection()
    factored: FactoredSection = FactoredSection()
    state: StateSection = StateSection()
    liveness: LivenessSection = LivenessSection()
    limits: LimitsSection = LimitsSection()
    files: FilesSection = FilesSection()
    influxdb: InfluxSection | None = Field(None, description="where the response log is shipped to; none: nowhere")
    seed: int | None = Field(None, ge=0, description="of exploration; none: another one at each start")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is logged, from this severity on", json_schema_extra=LIVE
    )

    def serving_by_tier(self) -> dict[Tier, tuple[NodeId, ...]] | None:
        """`serving_nodes`; a tier without a key is served by none."""
        if self.serving_nodes is None:
            return None
        return {Tier(tier): names for tier, names in self.serving_nodes.items()}

    @model_validator(mode="after")
    def _a_serving_node_is_named_once(self) -> OrchestratorConfig:
        names = [name for named in (self.serving_nodes or {}).values() for name in named]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"serving_nodes names {', '.join(twice)} more than once: a node serves one tier")
        return self

    @model_validator(mode="after")
    def _a_broken_floor_is_worth_least(self) -> OrchestratorConfig:
        if self.reward.maximum_response_ms <= self.rounds.deadline_ms:
            raise ValueError(
                f"reward.maximum_response_ms ({self.reward.maximum_response_ms:g}) must be above rounds.deadline_ms "
                f"({self.rounds.deadline_ms:g}): no response may count worse than a broken floor"
            )
        return self
