"""The factored agent's checkpoints, and devices that differ in what they can do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Tier
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.factored import Factored
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused, FloorUnreachable
from orchestrator.simulator.families import world_of
from orchestrator.simulator.world import World

Choices = list[tuple[Any, ...]]


@pytest.fixture
def make(accuracies: Accuracies) -> Callable[[], Factored]:
    """New agents of the same seed."""
    return lambda: Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=1)


def _rounds(agent: Factored, world: World, rounds: int) -> Choices:
    choices: Choices = []
    for _ in range(rounds):
        seen = world.observe()
        choice = agent.act(seen)
        whys = [choice.why(place) for place in range(len(seen.devices))] if choice.why else []
        choices.append((choice.actions, choice.explored, choice.fallbacks, whys))
        agent.learn(world.play(seen, choice)[0])
    return choices


def _strange(agent: Factored, seen: Observation) -> None:
    """A round in which a device and a tier look strange."""
    joint = (seen.actions[0][0], *(able[8] for able in seen.actions[1:3]), *(able[9] for able in seen.actions[3:]))
    for factor in (1.0, 1.0, 1.0, 3.0):
        times_ms = tuple(300.0 * factor for _ in joint)
        agent.learn(Experience(seen, Choice(joint), joint, times_ms, 0.0, seen))


@pytest.mark.parametrize("rounds", [3, 60])
def test_saved_in_the_middle_it_goes_on_exactly(make: Callable[[], Factored], tmp_path: Path, rounds: int) -> None:
    """With tiers entered, suspects and prices: the copy's next 50 choices, with their reasons, are the original's."""
    original, copied = make(), make()
    worlds = [world_of("everything", "exp-b", 20, 890, seed=5, grow=True) for _ in range(2)]
    for world in worlds:
        agent = original if world is worlds[0] else make()
        _rounds(agent, world, rounds)
        _strange(agent, world.observe())
    saved = original.save()
    assert saved.about["schedule"]["suspects"]
    assert saved.about["prices"]
    write_checkpoint(tmp_path / "agent.npz", saved)
    copied.load(read_checkpoint(tmp_path / "agent.npz"))

    assert _rounds(original, worlds[0], 50) == _rounds(copied, worlds[1], 50)


def test_what_was_saved_does_not_change_any_more(make: Callable[[], Factored]) -> None:
    """What is learned after it is not in it, even if it is written later."""
    agent, world = make(), world_of("paper", "exp-a", 4, 890, seed=5)
    _rounds(agent, world, 20)
    saved = agent.save()
    before = copy.deepcopy((saved.about, {name: array.tolist() for name, array in saved.arrays.items()}))
    _rounds(agent, world, 20)

    assert before == (saved.about, {name: array.tolist() for name, array in saved.arrays.items()})


BROKEN: dict[str, tuple[tuple[str, ...], Any]] = {
    "other models": (("models",), {"d0": 899}),
    "no models": (("models",), None),
    "round below 0": (("round",), -5),
    "infinite round": (("round",), float("inf")),
    "round a word": (("round",), "x"),
    "prices of another form": (("prices",), []),
    "two prices": (("prices", "best"), [1.0, 2.0]),
    "no randomness": (("random",), {"bit_generator": "PCG64"}),
    "no times": (("times",), None),
    "too few devices": (("times", "rows"), []),
    "a device twice": (("times", "rows"), ["s1"] * 4),
    "two deviations": (("times", "local", "spread"), [1.0, 2.0]),
    "too few classes": (("times", "kinds"), []),
    "no level": (("times", "tiers", "1", "level_ms"), float("nan")),
    "noise without bound": (("times", "tiers", "1", "noise"), float("inf")),
    "a tier that is none": (("times", "tiers", "7"), {}),
    "no schedule": (("schedule",), {}),
    "entered a word": (("schedule", "tiers", "1", "entered"), "x"),
    "no rest": (("schedule", "tiers", "1", "rest"), None),
    "rounds of too few devices": (("schedule", "ran"), []),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_checkpoint_that_cannot_be_is_refused_and_changes_nothing(make: Callable[[], Factored], name: str) -> None:
    """Each way to break it; the agent goes on like its twin that was told nothing."""
    agents, worlds = (make(), make()), [world_of("paper", "exp-a", 4, 890, seed=5) for _ in range(2)]
    for agent, world in zip(agents, worlds, strict=True):
        _rounds(agent, world, 12)
    saved = agents[0].save()
    about = copy.deepcopy(dict(saved.about))
    path, value = BROKEN[name]
    part = about
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(CheckpointRefused):
        agents[0].load(Checkpoint(saved.agent, saved.version, about, dict(saved.arrays)))

    assert _rounds(agents[1], worlds[1], 8) == _rounds(agents[0], worlds[0], 8)


@pytest.mark.parametrize("change", ["missing", "short", "not a number"])
def test_arrays_that_cannot_be_are_refused(make: Callable[[], Factored], change: str) -> None:
    """Each of them, three ways."""
    agent = make()
    _rounds(agent, world_of("paper", "exp-a", 4, 890, seed=5), 12)
    saved = agent.save()
    for name, array in saved.arrays.items():
        arrays: dict[str, Any] = {**saved.arrays, name: array[:-1] if change == "short" else array * np.nan}
        if change == "missing":
            del arrays[name]
        with pytest.raises(CheckpointRefused):
            make().load(Checkpoint(saved.agent, saved.version, saved.about, arrays))


def test_asking_for_the_greedy_choice_changes_nothing(make: Callable[[], Factored]) -> None:
    """An agent that was asked each round chooses as one that was not."""
    asked, unasked = make(), make()
    worlds = [world_of("noisy", "exp-a", 4, 890, seed=5) for _ in range(2)]
    for _ in range(30):
        asked.greedy(worlds[0].observe())
        assert _rounds(unasked, worlds[1], 1) == _rounds(asked, worlds[0], 1)


def _serve(agent: Factored, seen: Observation, rounds: int = 25) -> list[Choice]:
    """100 ms on a tier for each who shares it, 400 ms locally."""
    choices = []
    for _ in range(rounds):
        choice = agent.act(seen)
        on = [action.tier for action in choice.actions]
        times_ms = tuple(400.0 if tier is Tier.END else 100.0 * on.count(tier) for tier in on)
        agent.learn(Experience(seen, choice, choice.actions, times_ms, 0.0, seen))
        choices.append(choice)
        assert all(action in able for action, able in zip(choice.actions, seen.actions, strict=True))
        assert all(choice.why(place).action == choice.actions[place] for place in range(len(on)))  # type: ignore[misc]
        tenths = [seen.accuracy_tenths[action.model] for action in choice.actions]
        assert sum(tenths) >= len(tenths) * seen.floor_tenths
    return choices


@pytest.mark.parametrize(
    "parts",
    {
        "one without local models": ((8, 10), (0, 10), (0, 10)),
        "no cloud": ((0, 9), (0, 9), (0, 9)),
        "no edge and no cloud": ((0, 8), (0, 8)),
        "edge and cloud only": ((8, 10), (8, 10)),
        "two models each": ((0, 2), (4, 6), (7, 9)),
        "one action each": ((0, 1), (8, 9), (9, 10)),
    }.items(),
    ids=lambda item: item[0],
)
def test_devices_may_differ_in_what_they_can_do(make: Callable[[], Factored], observe: Any, parts: Any) -> None:
    """Whatever the lists, each is served with what it has, and the floor holds."""
    full = observe(1).actions[0]
    seen = observe(len(parts[1]), 800, actions=[full[low:high] for low, high in parts[1]])

    assert 25 == len(_serve(make(), seen))


@pytest.mark.parametrize(("floor_tenths", "low"), [(0, 8), (899, 7)])
def test_who_must_offload_is_served_though_tiers_are_untested(
    make: Callable[[], Factored], observe: Any, floor_tenths: int, low: int
) -> None:
    """Five devices without local models, and five whose only model breaks the floor: the floor goes before doubling."""
    seen = observe(5, floor_tenths, actions=[observe(1).actions[0][low:]] * 5)
    choices = _serve(make(), seen)

    assert 5 == sum(action.tier is not Tier.END for action in choices[-1].actions)


def test_who_has_nothing_but_a_dead_tier_is_served(make: Callable[[], Factored], observe: Any) -> None:
    """It is sent there all the same, and the other device is not."""
    full = observe(1).actions[0]
    agent, seen = make(), observe(2, 800, actions=[full[8:9], full])
    for _ in range(4):
        choice = agent.act(seen)
        dead = [action.tier is Tier.EDGE for action in choice.actions]
        done = tuple(None if gone else action for gone, action in zip(dead, choice.actions, strict=True))
        times_ms = tuple(None if gone else 300.0 for gone in dead)
        agent.learn(Experience(seen, choice, done, times_ms, 0.0, seen))

    assert [True, False] == dead


def test_a_floor_out_of_reach_is_told(make: Callable[[], Factored], observe: Any) -> None:
    """Two devices that have d7 only, at the highest floor."""
    seen = observe(2, 899, actions=[observe(1).actions[0][7:8]] * 2)
    with pytest.raises(FloorUnreachable):
        make().act(seen)


def test_what_came_of_an_earlier_choice_is_learned(make: Callable[[], Factored], observe: Any) -> None:
    """Three choices are made before the first is told; what is predicted follows the measurements."""
    agent, seen = make(), observe(2, actions=[observe(1).actions[0][:1]] * 2)
    for _ in range(8):
        choices = [agent.act(seen) for _ in range(3)]
        for choice in choices:
            agent.learn(Experience(seen, choice, choice.actions, (210.0, 390.0), 0.0, seen))
    why = agent.act(seen).why
    assert why is not None

    assert [210.0, 390.0] == pytest.approx([why(place).predicted_ms for place in range(2)], rel=0.03)
