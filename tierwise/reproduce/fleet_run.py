"""Runs the demo's fleet without a screen, and reads what it wrote: the response log, and the orchestrator's own log."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp

from broker.errors import TierwiseError
from broker.vocabulary import Link, NodeId, Outcome, Tier
from configs.demo import DemoConfig, ExperimentConfig
from configs.loader import load
from configs.orchestrator import Policy
from orchestrator.agent import Agent
from orchestrator.checkpoint import write_checkpoint
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.simulator.files import find
from tierwise.demo import run_demo
from tierwise.fleet import Fleet
from tierwise.observer import ObservedRound
from tierwise.reproduce.site import accuracies

Tell = Callable[[float, str], None]  # the share that is done, and what is being done
Phase = tuple[Policy, int]  # so many rounds of this policy
TIER_OF: dict[str, Tier] = {
    Policy.DEVICE_ONLY: Tier.END,
    Policy.EDGE_ONLY: Tier.EDGE,
    Policy.CLOUD_ONLY: Tier.CLOUD,
}

STOPPED = re.compile(r"orchestrator_stopped decide_median_ms=(\S+) decide_p99_ms=(\S+) without_agent=(\d+)")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a fleet that has run left its files, and which links were weak."""

    directory: Path
    links: dict[NodeId, Link]

    def rows(self, query: str) -> list[sqlite3.Row]:
        """What the response log answers. Raises LogRefused."""
        with closing(open_for_reading(self.directory / "orchestrator" / LOG_NAME)) as database:
            database.row_factory = sqlite3.Row
            return database.execute(query).fetchall()

    def decide_times(self) -> DecideTimes:
        """What the orchestrator said at its end. Raises TierwiseError."""
        log = self.directory / "orchestrator.log"
        found = STOPPED.search(log.read_text(encoding="utf-8", errors="replace"))
        if found is None:
            raise TierwiseError(f"the orchestrator did not say how long its decisions took; see {log}")
        rounds: int = self.rows("SELECT count(DISTINCT round) FROM decision")[0][0]
        return DecideTimes(float(found[1]), float(found[2]), rounds, int(found[3]))


@dataclass(frozen=True, slots=True)
class DecideTimes:
    """From a round's last request to all its decisions handed to the client; `without_agent` of the `rounds`."""

    median_ms: float
    p99_ms: float
    rounds: int
    without_agent: int


def run_fleet(
    directory: Path, experiment: str, phases: Sequence[Phase], tell: Tell, agent: Agent | None = None
) -> Site:
    """Run `phases` on the paper's site with the weak links of `experiment`, and stop it.

    Only rounds count in which every device did as its policy says: what a busy machine makes late is not to be
    measured. The orchestrator begins with what `agent` has learned. Raises TierwiseError when a process dies, or no
    round ends.
    """
    shipped = load(Path(str(resources.files("configs") / "demo.yaml")), DemoConfig)
    config = shipped.model_copy(update={"policy": phases[0][0]})
    links = dict(find(ExperimentConfig, experiment).links)
    with Fleet(config, links, directory, seed=1) as fleet:
        if agent is not None:
            fleet.log_directory.mkdir(parents=True, exist_ok=True)
            write_checkpoint(fleet.log_directory / f"{agent.name}.npz", agent.save())
        tell(0.0, f"{experiment}: starting broker, orchestrator and nodes")
        fleet.start()
        as_decided = partial(_is_as_decided, len(fleet.devices))
        counter = _Counter(phases, experiment, tell)
        asyncio.run(run_demo(fleet, counter, [*phases], dict(accuracies().tenths), as_decided))
    return Site(directory, links)


def _is_as_decided(devices: int, round_: ObservedRound) -> bool:
    """Every device has done as decided, on the tier of the policy if that is a fixed one."""
    reports = [outcome.report for outcome in round_.outcomes.values() if outcome.report is not None]
    tier = None if round_.summary is None else TIER_OF.get(round_.summary.policy)
    fits = [report.outcome == Outcome.DONE and tier in (None, report.tier) for report in reports]
    return [True] * devices == fits


@contextmanager
def folder(given: Path | None) -> Iterator[Path]:
    """`given`, or a temporary folder, which stays after an error: the message names logs in it."""
    if given is not None:
        yield given
        return
    made = Path(mkdtemp(prefix="tierwise-reproduce-"))
    yield made
    shutil.rmtree(made)


class _Counter:
    """The demo's View: tells how many of the rounds are done. Mutable."""

    def __init__(self, phases: Sequence[Phase], experiment: str, tell: Tell) -> None:
        self._all = sum(rounds for _, rounds in phases)
        self._earlier = 0
        self._phase: Phase | None = None
        self._experiment = experiment
        self._tell = tell

    def phase(self, policy: Policy, rounds: int) -> None:
        """A policy starts."""
        self._earlier += self._phase[1] if self._phase is not None else 0
        self._phase = policy, rounds

    def change(self, round_: ObservedRound) -> None:
        """Nothing is shown of an unfinished round."""

    def complete(self, round_: ObservedRound, done: int) -> None:
        """One more round."""
        policy = self._phase[0] if self._phase is not None else ""
        self._tell((self._earlier + done) / self._all, f"{self._experiment}: round {round_.number}, {policy}")
