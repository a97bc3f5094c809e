"""How many rounds tools that a user would pick need on the simulated site, to the quality that our agents are held to.

    python benchmarks/peers/run.py --seeds 5 --peers ppo,dqn,vw,tpe --json results/learning/peers.json

Stable-Baselines3's PPO and DQN, Vowpal Wabbit's slates and Optuna's TPE; each module says how it is set up and why,
`game.py` what counts. `make prepare-bench` installs them. A finished run is kept in --runs at once: after Ctrl-C the
same command goes on. Seeds come one after another, so a part is a part of everything.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from game import Game, Task
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from summary import show, summarise

from broker.errors import TierwiseError


@dataclass(frozen=True, slots=True)
class Peer:
    """Where it is: its package, its module here, and what it changes of that module's SETTINGS."""

    package: str
    module: str
    changes: dict[str, Any] = field(default_factory=dict)


PEERS = {
    "ppo": Peer("stable-baselines3", "ppo"),
    "dqn": Peer("stable-baselines3", "dqn"),
    "vw": Peer("vowpalwabbit", "vw"),
    "tpe": Peer("optuna", "tpe"),
    "tpe-reward": Peer("optuna", "tpe", {"constraints": False}),  # told no more than the others
}
FLOORS = "min,85,89,max"
LOOKS = "ppo: after each training; dqn: every 10 rounds; vw and tpe: every round"
INTERRUPTED = 130
PROGRESS_S = 0.25

console = Console(stderr=True)


class Told(Game):
    """A game that moves a progress bar. Mutable."""

    def __init__(self, task: Task, module: Any, progress: Progress, line: Any) -> None:
        super().__init__(task, module.DECISIONS)
        self._progress, self._line, self._told_s = progress, line, perf_counter()

    def play(self, actions: Any) -> Any:
        """One round."""
        outcome = super().play(actions)
        if perf_counter() - self._told_s >= PROGRESS_S:
            self._told_s = perf_counter()
            self._progress.update(self._line, completed=self.round)
        return outcome


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="How many rounds other tools need on the simulated site.",
        epilog="example: python benchmarks/peers/run.py --seeds 5 --peers vw,tpe --floors 85,89 --json run/peers.json",
    )
    parser.add_argument("--seeds", type=int, default=5, help="of each peer, experiment and floor (default 5)")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {', '.join(PEERS)} (default all)")
    parser.add_argument("--experiments", default="exp-a", help="of the paper's exp-a to exp-d (default exp-a)")
    parser.add_argument("--floors", default=FLOORS, help=f"Top-5 in %%, min or max (default {FLOORS})")
    parser.add_argument("--users", type=int, help="devices (default 5, for dqn 3: it has an output per joint action)")
    parser.add_argument("--most-rounds", type=int, help="of each run (default: the peer's own MOST_ROUNDS)")
    parser.add_argument("--runs", type=Path, default=Path("run/peers/runs.jsonl"), help="where finished runs are kept")
    parser.add_argument("--kept", action="store_true", help="report the kept runs of other seeds, sites and floors too")
    parser.add_argument("--json", type=Path, help="write runs and summary here")
    options = parser.parse_args(arguments)
    if unknown := set(options.peers.split(",")) - set(PEERS):
        parser.error(f"--peers: {', '.join(sorted(unknown))}; have {', '.join(PEERS)}")
    return options


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one peer, by which `module` and with which `settings`."""

    peer: str
    module: Any
    task: Task
    settings: dict[str, Any]

    @property
    def plan(self) -> dict[str, Any]:
        """What makes a kept run the same as this one."""
        plan = {"peer": self.peer, "package": PEERS[self.peer].package, "version": self.module.VERSION}
        return plan | asdict(self.task) | {"settings": self.settings}


def module_of(peer: Peer) -> Any:
    """The peer's module. Exits where its package is not installed."""
    try:
        return importlib.import_module(peer.module)
    except ImportError as error:
        sys.exit(f"{peer.module} needs {peer.package} ({error}): make prepare-bench, or pip install -e '.[bench]'")


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All of one seed before the next."""
    peers = {name: PEERS[name] for name in options.peers.split(",")}
    modules = {name: module_of(peer) for name, peer in peers.items()}
    for seed in range(options.seeds):
        for name, module in modules.items():
            users, rounds = options.users or module.USERS, options.most_rounds or module.MOST_ROUNDS
            for experiment in options.experiments.split(","):
                for floor in options.floors.split(","):
                    task = Task(experiment, floor, users, seed, rounds)
                    yield Job(name, module, task, settings_of(name))


def settings_of(name: str) -> dict[str, Any]:
    """Of one peer, its changes included."""
    settings: dict[str, Any] = module_of(PEERS[name]).SETTINGS | PEERS[name].changes
    return settings


def identity(run: dict[str, Any]) -> str:
    """The plan in a run, or the plan itself, as a key."""
    names = ("peer", "version", "experiment", "floor", "users", "seed", "most_rounds", "settings")
    return json.dumps([run[name] for name in names], sort_keys=True)


def kept(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Finished runs by identity; a line that a kill cut off is none."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records = json.loads(line)
        except ValueError:
            continue
        found[identity(records[0])] = records
    return found


def played(job: Job, progress: Progress) -> list[dict[str, Any]]:
    """One run: a record for each of the peer's ways to decide."""
    task = job.task
    line = progress.add_task(f"  {job.peer} {task.experiment} {task.floor} seed {task.seed}", total=task.most_rounds)
    started_s = perf_counter()
    game = Told(task, job.module, progress, line)
    try:
        job.module.play(game, job.settings)
    finally:
        progress.remove_task(line)
    wall_s = round(perf_counter() - started_s, 2)
    return [
        job.plan | {"decision": decision} | game.found(decision) | {"wall_s": wall_s}
        for decision in job.module.DECISIONS
    ]


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every wanted run, those included that were kept before."""
    wanted, before, records = list(jobs(options)), kept(options.runs), []
    options.runs.parent.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        line = progress.add_task("runs", total=len(wanted))
        for job in wanted:
            found = before.get(identity(job.plan))
            if found is None:
                found = played(job, progress)
                with options.runs.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found) + "\n")
            records += found
            progress.advance(line)
    return records + (others(options, records) if options.kept else [])


def others(options: argparse.Namespace, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kept runs of the same peers as they are set up now, beside `records`."""
    known = {identity(record) for record in records}
    names = options.peers.split(",")
    now = {name: (module_of(PEERS[name]).VERSION, settings_of(name)) for name in names}
    return [
        record
        for key, found in kept(options.runs).items()
        for record in found
        if key not in known and now.get(record["peer"]) == (record["version"], record["settings"])
    ]


def main() -> None:
    """Print the summary; write JSON if asked to."""
    options = options_of()
    try:
        records = run(options)
    except KeyboardInterrupt:
        console.print(f"stopped; finished runs are kept in {options.runs}, the same command goes on from there")
        sys.exit(INTERRUPTED)
    except TierwiseError as error:
        sys.exit(str(error))
    rows = summarise(records)
    show(rows)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"benchmark": "peers", "looks": LOOKS, "summary": rows, "runs": records}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
