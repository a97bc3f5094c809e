"""What one hostile device costs the others, in the simulator and with a simulated clock: `--json` writes the figures.

python -m testbed.attackers --json results/reliability/attackers.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from broker.vocabulary import NodeId
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.agents.factored import Factored
from orchestrator.simulator.families import world_of
from testbed.attackers.liar import Lie, falsified
from testbed.attackers.silent import ClosedLoop
from tierwise.reproduce.site import accuracies

LIAR = NodeId("s5")
BEFORE, DURING, AFTER = 40, 60, 20  # rounds: honest, lying, honest again
SEEDS = 2


def liar_run(seed: int, lie: Lie | None, floor: int = 890) -> dict[str, Any]:
    """Five devices on the paper's site, of which one lies for a while; of the other four: times and use of tiers."""
    world = world_of("paper", "exp-a", 5, floor, seed, "still")
    agent = Factored(FactoredSection(), StateSection(), dict(accuracies().tenths), seed)
    seen, times_ms, offloaded = world.observe(), [], []
    for number in range(BEFORE + DURING + AFTER):
        choice = agent.act(seen)
        experience, played = world.play(seen, choice)
        if lie is not None and BEFORE <= number < BEFORE + DURING:
            experience = falsified(experience, frozenset({LIAR}), lie)
        agent.learn(experience)
        honest = [place for place, device in enumerate(seen.devices) if device != LIAR]
        times_ms.append(statistics.fmean(float(played.response_ms[0, place]) for place in honest))
        offloaded.append(sum(str(choice.actions[place].tier) != "end" for place in honest))
        seen = experience.next_observation
    end = BEFORE + DURING
    back = next((at for at, count in enumerate(offloaded[end:], start=1) if count), None)
    return {
        "mean_ms": statistics.fmean(times_ms[BEFORE:end]),
        "offloaded": sum(offloaded[BEFORE:end]),
        "rounds_until_used_after": back,
    }


def liars() -> dict[str, Any]:
    """Each lie beside the same seeds without it."""
    honest = [liar_run(seed, None) for seed in range(SEEDS)]
    usual_ms = statistics.fmean(run["mean_ms"] for run in honest)
    figures: dict[str, Any] = {"honest": {"mean_ms": usual_ms, "offloaded": sum(run["offloaded"] for run in honest)}}
    for lie in Lie:
        runs = [liar_run(seed, lie) for seed in range(SEEDS)]
        figures[lie] = {
            "mean_ms": statistics.fmean(run["mean_ms"] for run in runs),
            "slower_percent": 100 * (statistics.fmean(run["mean_ms"] for run in runs) / usual_ms - 1),
            "offloaded": sum(run["offloaded"] for run in runs),
            "rounds_until_used_after": [run["rounds_until_used_after"] for run in runs],
        }
    return figures


def silent_devices() -> dict[str, Any]:
    """Decisions per second of three honest devices beside a fourth, after three deadlines, for two minutes."""
    patterns = {"never reports": 0, "every second report": 2, "every third report": 3}
    figures: dict[str, Any] = {"honest_per_s": _rate(lambda _number: True)}
    for name, every in patterns.items():
        figures[name] = _rate(lambda number, every=every: bool(every) and number % every == 0)
    for delay_s in (0.19, 0.21):
        loop = ClosedLoop(4)
        loop.delay_s[loop.devices[-1]] = delay_s
        loop.run(136.5)
        figures[f"asks after {delay_s * 1000:.0f} ms of a window of 200 ms"] = loop.rate(16.5, 136.5)
    return figures


def _rate(reports: Any) -> float:
    loop = ClosedLoop(4)
    loop.reports = lambda device, number: device != "s3" or reports(number)
    loop.run(136.5)
    return loop.rate(16.5, 136.5)


def main() -> int:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description="What one hostile device costs the others.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {"silent": silent_devices(), "liar": liars()}
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
