"""The runs behind Table 11 and Figures 6 and 7: which they are, running them on all cores, and keeping what they gave.

Each run that ends is a line of a file at once, so a reproduction that is interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from broker.errors import TierwiseError
from configs.calibration import CalibrationConfig
from configs.orchestrator import Policy
from configs.scenario import ScenarioConfig
from orchestrator.errors import NothingLogged
from orchestrator.simulator.files import find
from orchestrator.simulator.world import World
from orchestrator.training.hyperparameters import for_users
from orchestrator.training.study import StudyJob, StudyResult, run_study
from orchestrator.training.trainer import Progress
from tierwise.parallel import Reporter, run_jobs
from tierwise.reproduce.published import FLOORS
from tierwise.reproduce.site import CALIBRATION, accuracies, paper_site

EXPERIMENT = "exp-a"  # Table 11 does not say which; Exp-A is where it varies the users
STATE_SETS = ("still", "visited")  # (a) and (b): names of scenarios
USERS = (3, 4, 5)
TRANSFER_FLOORS = ("80", "85", "89", "max")
MOST_SEEDS = 1000
# Hours on two cores. A run of Q-learning takes seconds, with five users on visited states a minute and more; one of the
# deep Q-network five seconds with three users, two minutes and more with five.
Q_SEEDS = {
    "still": {3: MOST_SEEDS, 4: MOST_SEEDS, 5: 8},
    "visited": {3: MOST_SEEDS, 4: MOST_SEEDS, 5: 5},
}
Q_TRANSFER_SEEDS = {5: 5}
DQN_SEEDS = {"still": {3: MOST_SEEDS, 4: MOST_SEEDS, 5: 5}, "visited": {3: 5, 4: 5, 5: 2}}
DQN_TRANSFER_SEEDS = {5: 5}
FORM = 1  # raised when agents or simulator change so that former runs say nothing any more

MOST_Q_ROUNDS = {"still": 5, "visited": 40}  # times 10^users
MOST_OFFLOAD_ROUNDS = 200  # times 3^users
MOST_DQN_ROUNDS = {3: 30_000, 4: 80_000, 5: 140_000}  # twice what the paper needs, or more
AFTER_ROUNDS = {3: 1000, 4: 2000, 5: 2000}
DQN_AFTER_ROUNDS = 4000  # a network settles only after its decision is first right for a hundred rounds


@dataclass(frozen=True, slots=True)
class Run:
    """One run: an agent, a floor (the paper's word), a set of states, a seed."""

    policy: Policy
    users: int
    floor: str
    states: str
    seed: int
    transfer: bool = False

    @property
    def group(self) -> tuple[str, int, str, str, bool]:
        """What it has in common with the runs of other seeds."""
        return str(self.policy), self.users, self.floor, self.states, self.transfer

    @property
    def most_rounds(self) -> int:
        """When it is given up."""
        if self.policy is Policy.DQN:
            return MOST_DQN_ROUNDS[self.users]
        if self.policy is Policy.OFFLOAD_ONLY:
            return int(MOST_OFFLOAD_ROUNDS * 3**self.users)
        return int(MOST_Q_ROUNDS[self.states] * 10**self.users)

    @property
    def after_rounds(self) -> int:
        """How long it goes on once it has converged."""
        return DQN_AFTER_ROUNDS if self.policy is Policy.DQN else AFTER_ROUNDS[self.users]

    @property
    def seeds(self) -> int:
        """How many seeds can be had at most: the longer a run takes, the fewer."""
        if self.policy is Policy.DQN:
            by_users = DQN_TRANSFER_SEEDS if self.transfer else DQN_SEEDS[self.states]
        elif self.policy is Policy.OFFLOAD_ONLY:
            return MOST_SEEDS
        else:
            by_users = Q_TRANSFER_SEEDS if self.transfer else Q_SEEDS[self.states]
        return by_users[self.users]

    def key(self) -> str:
        """Of its line in the file: what it is, and under which settings."""
        return f"{'/'.join(map(str, self.group))}/{self.seed}/{self._settings_hash()}"

    def _settings_hash(self) -> str:
        config = for_users(self.users)
        agent = config.dqn if self.policy is Policy.DQN else config.q_learning
        sections = [agent, config.state, find(CalibrationConfig, CALIBRATION), find(ScenarioConfig, self.states)]
        parts = [FORM, self.most_rounds, self.after_rounds, *(part.model_dump(mode="json") for part in sections)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def planned(users: Sequence[int], seeds: int, policies: Sequence[Policy]) -> list[Run]:
    """Every run of Table 11 and Figures 6 and 7, the quick ones first."""
    runs = []
    for policy in policies:
        for count in users:
            for states in STATE_SETS:
                floors = ["max"] if policy is Policy.OFFLOAD_ONLY else list(FLOORS)
                runs += [_runs(policy, count, floor, states, seeds, False) for floor in floors]
            if count == max(USERS) and policy is not Policy.OFFLOAD_ONLY:
                runs += [_runs(policy, count, floor, "still", seeds, True) for floor in TRANSFER_FLOORS]
    return sorted(
        (run for group in runs for run in group), key=lambda run: (-run.seeds, run.states, run.users, run.seed)
    )


def _runs(policy: Policy, users: int, floor: str, states: str, seeds: int, transfer: bool) -> list[Run]:
    first = Run(policy, users, floor, states, 1, transfer)
    count = min(seeds, first.seeds)
    return [Run(policy, users, floor, states, seed, transfer) for seed in range(1, count + 1)]


def kept_of(runs: Sequence[Run], file: Path) -> dict[Run, StudyResult]:
    """What of `runs` is in `file`. Raises NothingLogged when nothing is."""
    kept = _read(file)
    found = {run: kept[key] for run in runs if (key := run.key()) in kept}
    if not found:
        raise NothingLogged(f"{file} has none of these runs; without --kept they are run now")
    return found


def results_of(runs: Sequence[Run], file: Path, watcher: Callable[[Sequence[Run]], Any]) -> dict[Run, StudyResult]:
    """What each run gave: read from `file`, or run now and written there. `watcher` makes the screen of those to run.

    Raises TierwiseError.
    """
    kept = _read(file)
    known = {run: kept[key] for run in runs if (key := run.key()) in kept}
    missing = [run for run in runs if run not in known]
    if missing:
        _write_ahead(file)
        with watcher(missing) as screen, file.open("a", encoding="utf-8") as lines:

            def done(number: int, result: StudyResult) -> None:
                lines.write(json.dumps({"key": missing[number].key(), **asdict(result)}) + "\n")
                lines.flush()
                screen.done(number)

            results = run_jobs(missing, play, screen.progress, done)
        known.update(zip(missing, results, strict=True))
    return {run: known[run] for run in runs}


def _write_ahead(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a+b") as lines:
            if lines.tell() > 0:
                lines.seek(-1, os.SEEK_END)
                if lines.read(1) != b"\n":  # a torn line ends here, or the next one would be lost with it
                    lines.write(b"\n")
    except OSError as error:
        raise TierwiseError(f"cannot write {file}: {error.strerror}; choose another --runs") from error


def _read(file: Path) -> dict[str, StudyResult]:
    if not file.exists():
        return {}
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TierwiseError(f"cannot read the runs in {file}: {error}; name another file with --runs") from error
    kept = {}
    for line in text.splitlines():
        try:
            row = json.loads(line)
            key = row.pop("key")
            row["curve"] = [(reward, broken) for reward, broken in row["curve"]]
            kept[key] = StudyResult(**row)
        except (ValueError, TypeError, KeyError):
            continue  # a line that a power cut tore; its run is run again
    return kept


def play(run: Run, reporter: Reporter) -> StudyResult:
    """One run, in a worker process. Raises TierwiseError."""
    job = StudyJob(
        run.policy,
        for_users(run.users),
        FLOORS[run.floor],
        run.seed,
        run.most_rounds,
        run.after_rounds,
        run.transfer,
    )

    def tell(progress: Progress) -> None:
        reporter.tell(progress.round / run.most_rounds, f"{progress.round} rounds")

    return run_study(job, partial(_world, run), accuracies(), tell)


def _world(run: Run, floor_tenths: int) -> World:
    calibration, scenario = find(CalibrationConfig, CALIBRATION), find(ScenarioConfig, run.states)
    site = paper_site(EXPERIMENT, run.users)
    return World(site, accuracies(), scenario, calibration.noise, floor_tenths)
