"""What the fleet and the demo make of processes that end, and of rounds that somebody else decides."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from broker.errors import TierwiseError
from broker.messages import RoundSummary
from configs.demo import DemoConfig
from configs.loader import load
from configs.orchestrator import Policy
from tierwise.demo import MOST_ROUNDS_OF_OTHERS, _run_phase
from tierwise.fleet import Fleet, Process
from tierwise.observer import ObservedRound

CONFIGS = Path(__file__).parents[2] / "configs"
STUBBORN = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: None); print('ready', flush=True); sys.stdin.read()"
)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Nothing is started in it."""
    return Fleet(load(CONFIGS / "demo.yaml", DemoConfig), {}, tmp_path)


def _spawn(fleet: Fleet, name: str, code: str) -> Any:
    popen = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    fleet._processes.append(Process(name, popen, fleet.directory / f"{name}.log"))
    (fleet.directory / f"{name}.log").write_text("its last line\n")
    return popen


def test_a_process_that_ends_by_itself_is_an_error_with_its_last_lines(fleet: Fleet) -> None:
    """Name, exit code, and what it said at the end."""
    _spawn(fleet, "s1", "raise SystemExit(3)").communicate()

    with pytest.raises(TierwiseError, match=r"s1 ended with exit code 3[^!]*its last line"):
        fleet.check()


def test_a_process_that_was_told_to_stop_may_end_while_another_still_does(fleet: Fleet) -> None:
    """s1 takes its time, s2 has ended already: nobody died."""
    slow = _spawn(fleet, "s1", STUBBORN)
    quick = _spawn(fleet, "s2", "input()")
    slow.stdout.readline()
    stopper = threading.Thread(target=fleet.stop_devices, name="stopper")
    stopper.start()
    quick.wait(10)

    fleet.check()

    slow.communicate()
    stopper.join(10)
    quick.communicate()
    assert [] == fleet._processes


class _Silent:
    def phase(self, policy: Policy, rounds: int) -> None: ...
    def change(self, round_: ObservedRound) -> None: ...
    def complete(self, round_: ObservedRound, done: int) -> None: ...


class _Rounds:
    """An observer of a site whose rounds are decided by `policies`, one after the other."""

    def __init__(self, policies: list[str]) -> None:
        self.complete: asyncio.Queue[ObservedRound] = asyncio.Queue()
        for number, policy in enumerate(policies):
            self.complete.put_nowait(ObservedRound(number, {}, _summary(policy)))


def _summary(policy: str) -> RoundSummary:
    return RoundSummary(
        policy=policy, policy_version=1, explored=False, devices=1, missing=0, mean_response_ms=1.0,
        accuracy_percent=89.9, accuracy_floor_percent=0.0, floor_met=True, reward=-1.0,
    )  # fmt: skip


def _phase(fleet: Fleet, policies: list[str]) -> list[ObservedRound]:
    async def run() -> list[ObservedRound]:
        return await _run_phase(fleet, _Rounds(policies), _Silent(), Policy.EDGE_ONLY, 2)  # type: ignore[arg-type]

    return asyncio.run(run())


def test_rounds_of_the_former_policy_are_passed_over(fleet: Fleet) -> None:
    """One was open when the policy changed."""
    assert [1, 2] == [round_.number for round_ in _phase(fleet, ["q_learning", "edge_only", "edge_only"])]


def test_a_policy_that_cannot_decide_ends_the_demo_with_a_reason(fleet: Fleet) -> None:
    """Eight devices are too many for a Q-table; the rounds would go on under another name for ever."""
    with pytest.raises(TierwiseError, match="decided by safe_fallback, not by edge_only"):
        _phase(fleet, ["safe_fallback"] * (MOST_ROUNDS_OF_OTHERS + 1))
