"""One training: an agent, a simulated site, a seed; saved so that it goes on exactly where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from configs.calibration import CalibrationConfig
from configs.demo import ExperimentConfig
from configs.orchestrator import OrchestratorConfig, Policy
from configs.scenario import ScenarioConfig
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import Accuracies, accuracies_of
from orchestrator.agent import Agent, Transferable
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused, TransferRefused
from orchestrator.policies import new_agent
from orchestrator.simulator.files import find
from orchestrator.simulator.site import site_of
from orchestrator.simulator.world import World
from orchestrator.training.trainer import Block, Progress, train

RESUME_NAME = "training.npz"
FORM = 1
WITHOUT_FLOOR = 0
TRANSFER_SEEDS = 10_000  # so far are the seeds of worlds apart before and after a transfer
SAVE_EVERY_ROUNDS = 20_000
BLOCKS = 200


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What is trained, on what, and where it is kept. Names of files are names of shipped ones or paths.

    `config` holds the settings of the agents (an orchestrator's file, without its seed and directory). `transfer`: a
    checkpoint of the same agent, trained without a floor, to begin with (section 6.2.1).
    """

    policy: Policy
    experiment: str
    users: int
    floor_tenths: int
    scenario: str
    calibration: str
    rounds: int
    seed: int
    directory: Path
    config: OrchestratorConfig
    transfer: Path | None = None

    def identity(self) -> dict[str, Any]:
        """What must be the same for a training to go on."""
        sections = {Policy.DQN: self.config.dqn, Policy.FACTORED: self.config.factored}
        section = sections.get(self.policy, self.config.q_learning)
        return {
            "policy": str(self.policy),
            "experiment": find(ExperimentConfig, self.experiment).model_dump(mode="json"),
            "users": self.users,
            "floor_tenths": self.floor_tenths,
            "scenario": find(ScenarioConfig, self.scenario).model_dump(mode="json"),
            "calibration": find(CalibrationConfig, self.calibration).model_dump(mode="json"),
            "seed": self.seed,
            "transfer": None if self.transfer is None else str(self.transfer),
            "settings": section.model_dump(mode="json"),
            "state": self.config.state.model_dump(mode="json"),
            "reward": self.config.reward.model_dump(mode="json"),
        }

    def world(self, accuracies: Accuracies) -> World:
        """The site that it is trained on, at the start. Raises SimulationRefused, ConfigError."""
        calibration = find(CalibrationConfig, self.calibration)
        site = site_of(calibration, find(ExperimentConfig, self.experiment), self.users, accuracies)
        world = World(site, accuracies, find(ScenarioConfig, self.scenario), calibration.noise, self.floor_tenths)
        # As on the live site, or its table would mix values of two constants; but never below a feasible time.
        world.maximum_ms = max(world.maximum_ms, self.config.reward.maximum_response_ms)
        # Another seed than that of the training without a floor, or the same noise would come again.
        world.reset(self.seed + TRANSFER_SEEDS * (self.transfer is not None))
        return world


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to. `checkpoint` is what the orchestrator loads from its `files.directory`.

    `mean_ms`, `optimum_ms`: of the last block's rounds that kept the floor, without noise. `curve_ms`: the mean of each
    block of `block_rounds` rounds, None where no round kept the floor.
    """

    rounds: int
    regret_percent: float | None
    broken_percent: float
    checkpoint: Path | None
    mean_ms: float | None
    optimum_ms: float | None
    block_rounds: int
    curve_ms: tuple[float | None, ...]


class Training:
    """A job under way."""

    def __init__(self, job: TrainingJob, fresh: bool = False) -> None:
        """Begin, or go on where the directory says. Raises CheckpointRefused, SimulationRefused, TransferRefused."""
        accuracies = accuracies_of(load_manifest())
        self._job = job
        self._identity = job.identity()
        self.world = job.world(accuracies)
        self.agent: Agent = new_agent(job.policy, job.config.model_copy(update={"seed": job.seed}), accuracies)
        self.progress = Progress(max(1, job.rounds // BLOCKS))
        if not fresh and self._resume_path.exists():
            self._resume(read_checkpoint(self._resume_path))
        elif job.transfer is not None:
            self._take_over(job.transfer)

    @property
    def _resume_path(self) -> Path:
        return self._job.directory / RESUME_NAME

    def run(self, tell: Callable[[Progress], None]) -> Trained:
        """Train to the end of the job, saving on the way. What `tell` raises stops it after it is saved."""
        self._job.directory.mkdir(parents=True, exist_ok=True)

        def watch(progress: Progress) -> None:
            try:
                tell(progress)
            except BaseException:  # between two rounds: what is saved is whole
                self.save()
                raise

        while self.progress.round < self._job.rounds:
            goal = min(self._job.rounds, self.progress.round + SAVE_EVERY_ROUNDS)
            train(self.world, self.agent, goal, self.progress, watcher=watch)
            self.save()
        if self.agent.stateful and not self._agent_path.exists():
            self.save()
        last = self.progress.last
        return Trained(
            rounds=self.progress.round,
            regret_percent=last.regret_percent,
            broken_percent=100 * last.broken / max(1, last.rounds),
            checkpoint=self._agent_path if self.agent.stateful else None,
            mean_ms=last.mean_ms,
            optimum_ms=last.optimum_ms / last.kept if last.kept else None,
            block_rounds=self.progress.block_rounds,
            curve_ms=tuple(block.mean_ms for block in self.progress.blocks),
        )

    @property
    def _agent_path(self) -> Path:
        return self._job.directory / f"{self.agent.name}.npz"

    def save(self) -> None:
        """What the orchestrator loads, and what a later training goes on from. Raises OSError."""
        saved = self.agent.save()
        about = {
            "job": self._identity,
            "simulation": self.world.simulation.save(),
            "progress": asdict(self.progress),
            "agent": {"agent": saved.agent, "version": saved.version, "about": saved.about},
        }
        # In this order: a training that can go on has left what the orchestrator loads.
        if self.agent.stateful:
            write_checkpoint(self._agent_path, saved)
        write_checkpoint(self._resume_path, Checkpoint("training", FORM, about, saved.arrays))

    def _resume(self, saved: Checkpoint) -> None:
        path = self._resume_path
        if (saved.agent, saved.version) != ("training", FORM):
            raise CheckpointRefused(f"{path} is of {saved.agent!r} version {saved.version}; name another --directory")
        was, now = saved.about.get("job", {}), self._identity
        if differing := sorted(key for key in now if was.get(key) != now[key]):
            told = ", ".join(f"{key} {was.get(key)!r}" if key in SHORT else key for key in differing)
            raise CheckpointRefused(
                f"the training in {path.parent} differs in {told}; name another --directory, or begin anew with --fresh"
            )
        try:
            inner, progress = saved.about["agent"], dict(saved.about["progress"])
            blocks = [Block(**block) for block in progress.pop("blocks")]
            self.agent.load(Checkpoint(inner["agent"], inner["version"], inner["about"], saved.arrays))
            self.world.simulation.load(saved.about["simulation"])
            self.progress = Progress(**progress, blocks=blocks)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointRefused(f"{path} contradicts itself ({error!r}); begin anew with --fresh") from error

    def _take_over(self, path: Path) -> None:
        if not isinstance(self.agent, Transferable):
            raise TransferRefused(f"the policy {self.agent.name} has nothing that another floor could begin with")
        self.agent.load(read_checkpoint(path))
        seen = replace(self.world.observe(), floor_tenths=WITHOUT_FLOOR)
        if not self.agent.knows(seen):
            raise TransferRefused(
                f"{path} has learned nothing without a floor for {len(seen.devices)} devices with these actions; train "
                "one with --floor min and otherwise the same options"
            )
        self.agent.transfer(WITHOUT_FLOOR, self._job.floor_tenths)
        self.agent.reseed(self._job.seed)


SHORT = {"policy", "users", "floor_tenths", "seed", "transfer"}
