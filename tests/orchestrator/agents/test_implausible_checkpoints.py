"""Checkpoints whose numbers cannot be: refused, or harmless."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.orchestrator import FactoredSection, QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Experience
from orchestrator.agents.factored import Factored
from orchestrator.agents.q_learning import QLearning
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused

HUGES, HUGE_INTEGERS = (1e300, 1e11), (10**15, 10**6)
# What NumPy and the agents raise when there would be no decision any more; warnings are errors here.
BROKEN = (ArithmeticError, LookupError, MemoryError, RuntimeError, RuntimeWarning, TypeError, ValueError)


def _made(policy: str, accuracies: Accuracies) -> Agent:
    if policy == "factored":
        return Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), 1)
    return QLearning(QLearningSection(), StateSection(), dict(accuracies.tenths), 1)


def _learned(policy: str, accuracies: Accuracies, observe: Any) -> tuple[Agent, Any]:
    agent, world = _made(policy, accuracies), np.random.default_rng(2)
    for _ in range(12):
        seen = observe(2, 850)
        choice = agent.act(seen)
        times_ms = tuple(float(ms) for ms in world.uniform(50, 500, 2))
        agent.learn(Experience(seen, choice, choice.actions, times_ms, -sum(times_ms) / 2, seen))
    return agent, seen


def _places(about: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where JSON has a number; the state of the random generator is 128 bits of anything."""
    items = about.items() if isinstance(about, dict) else enumerate(about) if isinstance(about, list) else ()
    for key, value in items:
        if key == "random":
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)
        yield from _places(value, (*path, key))


def _spoilt(saved: Checkpoint) -> Iterator[tuple[str, Checkpoint]]:
    """Each number of a checkpoint in its turn made huge."""
    for path in _places(saved.about):
        for place in range(2):
            about = copy.deepcopy(dict(saved.about))
            at: Any = about
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = (HUGES if isinstance(at[path[-1]], float) else HUGE_INTEGERS)[place]
            yield f"{path} {at[path[-1]]}", Checkpoint(saved.agent, saved.version, about, saved.arrays)
    for name, array in saved.arrays.items():
        for at in range(0, array.size, max(1, array.size // 20)):
            floats = np.issubdtype(array.dtype, np.floating)
            for huge in HUGES if floats else HUGE_INTEGERS:
                changed = array.copy()
                most = np.finfo(array.dtype).max if floats else np.iinfo(array.dtype).max
                changed.flat[at] = min(huge, most.item() if floats else most)
                arrays = {**saved.arrays, name: changed}
                yield f"{name}[{at}] {huge}", Checkpoint(saved.agent, saved.version, saved.about, arrays)


@pytest.mark.parametrize("policy", ["factored", "q_learning"])
def test_a_huge_number_anywhere_is_refused_or_leaves_an_agent_that_decides(
    policy: str, accuracies: Accuracies, observe: Any, tmp_path: Path
) -> None:
    """Whatever number of a checkpoint is out of any bounds, no agent is left that cannot decide or learn."""
    agent, seen = _learned(policy, accuracies, observe)
    refused, dead = 0, []
    for place, spoilt in _spoilt(agent.save()):
        path = tmp_path / "agent.npz"
        write_checkpoint(path, spoilt)
        loaded = _made(policy, accuracies)
        try:
            loaded.load(read_checkpoint(path))
        except CheckpointRefused:
            refused += 1
            continue
        except BROKEN as error:
            dead.append(f"{place} {error!r}")
            continue
        try:
            for _ in range(2):
                choice = loaded.act(seen)
                loaded.learn(Experience(seen, choice, choice.actions, (100.0, 120.0), -110.0, seen))
        except BROKEN as error:
            dead.append(f"{place}: {error!r}")

    assert not dead, "\n".join(dead)
    assert refused > 0
