"""When an agent counts as converged."""

from __future__ import annotations

from typing import Any

from broker.vocabulary import Action
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.checkpoint import Checkpoint
from orchestrator.training.convergence import WINDOW, Convergence, visited_states

MakeWorld = Any  # the fixture's type is in conftest.py, which tests cannot import


class Scripted:
    """Greedily does what it was told last."""

    name = "scripted"
    stateful = False

    def __init__(self, actions: tuple[Action, ...]) -> None:
        self.actions = actions

    def act(self, observation: Observation) -> Choice:
        return Choice(self.actions)

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        return self.actions

    def learn(self, experience: Experience) -> None: ...
    def save(self) -> Checkpoint:
        return Checkpoint(self.name, 1)

    def load(self, checkpoint: Checkpoint) -> None: ...


def _watched(make_world: MakeWorld, floor: int) -> tuple[Any, Scripted, Any, tuple[Action, ...], tuple[Action, ...]]:
    world = make_world(2, floor)
    states = visited_states(world, "set", seed=1, rounds=50)
    site = world.site
    best = tuple(site.actions[place] for place in world.optimum().actions)
    worst = (site.actions[8],) * 2  # both on the edge
    agent = Scripted(worst)
    places = {action: place for place, action in enumerate(site.actions)}
    return world, agent, Convergence(agent, states, places, every=1, local=False), best, worst


def test_it_converges_at_the_first_of_a_hundred_good_rounds(make_world: MakeWorld) -> None:
    """Good from round 11 on: known at round 110, and the answer is 11."""
    world, agent, convergence, best, _ = _watched(make_world, 890)
    for number in range(1, 200):
        agent.actions = best if number > 10 else agent.actions
        convergence.note(number, world.observe())
        assert (convergence.converged_at is not None) == (number >= 10 + WINDOW)

    assert 11 == convergence.converged_at


def test_one_bad_round_starts_the_count_again(make_world: MakeWorld) -> None:
    """99 good rounds, a bad one, then good: the answer is the round after the bad one."""
    world, agent, convergence, best, worst = _watched(make_world, 0)
    for number in range(1, 300):
        agent.actions = worst if number == WINDOW else best
        convergence.note(number, world.observe())

    assert WINDOW + 1 == convergence.converged_at


def test_the_share_of_good_rounds_counts_what_comes_after(make_world: MakeWorld) -> None:
    """100 good rounds to converge, then 100 bad ones: half."""
    world, agent, convergence, best, worst = _watched(make_world, 0)
    for number in range(1, 2 * WINDOW + 1):
        agent.actions = best if number <= WINDOW else worst
        convergence.note(number, world.observe())

    assert 1 == convergence.converged_at
    assert 0.5 == convergence.good_share


def test_a_fast_decision_that_breaks_the_floor_is_never_good(make_world: MakeWorld) -> None:
    """All d7 is fastest, and not allowed at 89 %."""
    world, agent, convergence, _, _ = _watched(make_world, 890)
    agent.actions = (world.site.actions[7],) * 2
    for number in range(1, 3 * WINDOW):
        convergence.note(number, world.observe())

    assert convergence.converged_at is None


def test_one_state_without_load_and_two_with_one_busy_device(make_world: MakeWorld) -> None:
    """Set (a) has one state; in set (b) the first device is busy or not, and the optimum never changes its own load."""
    still = visited_states(make_world(3, 800), "still", seed=5)
    visited = visited_states(make_world(3, 800, scenario="visited"), "visited", seed=5)

    assert (1.0,) == still.shares
    assert 2 == len(visited.states)
    assert all(0.4 < share < 0.6 for share in visited.shares)


def test_a_state_can_be_brought_about_again(make_world: MakeWorld) -> None:
    """What was observed once is observed again, with the same optimum."""
    world = make_world(3, 890, scenario="visited")
    states = visited_states(world, "visited", seed=5).states
    for state in reversed(states):
        assert state.observation == state.bring_about(world)
        assert state.optimum_ms == world.optimum().mean_ms
