"""What a site that runs for years, is measured anew and has broken clocks must survive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.vocabulary import Action, ModelName, NodeId, Tier
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Experience, Observation
from orchestrator.agents.factored import SPARE, Factored
from orchestrator.errors import ModelsChanged


def _agent(tenths: dict[Any, int], seed: int = 1) -> Factored:
    return Factored(FactoredSection(), StateSection(), tenths, seed)


def _play(agent: Factored, seen: Observation, *times_ms: float) -> None:
    choice = agent.act(seen)
    given = times_ms or tuple(100.0 + 10 * place for place in range(len(seen.devices)))
    agent.learn(Experience(seen, choice, choice.actions, given, -1.0, seen))


def _named(seen: Observation, names: list[str]) -> Observation:
    return Observation(seen.state, tuple(map(NodeId, names)), seen.actions, seen.floor_tenths, seen.accuracy_tenths)


def test_devices_that_are_long_gone_are_forgotten_and_those_that_are_there_are_not(
    accuracies: Accuracies, observe: Any
) -> None:
    """Other names each round: what is kept has a limit, and a device that stays is still known."""
    agent = _agent(dict(accuracies.tenths))
    seen = observe(5, 0)
    for number in range(100):
        _play(agent, _named(seen, ["a0", *(f"b{number:03d}{place}" for place in range(4))]))
        kept = agent.save()
        assert len(kept.about["times"]["rows"]) <= 2 * 5 + SPARE + 5

    assert "a0" in kept.about["times"]["rows"]
    again = _agent(dict(accuracies.tenths), seed=2)
    again.load(kept)
    assert agent.greedy(_named(seen, ["a0", "c1", "c2", "c3", "c4"])) == again.greedy(
        _named(seen, ["a0", "c1", "c2", "c3", "c4"])
    )


def test_an_accuracy_that_was_measured_anew_costs_nothing_that_was_learned(
    accuracies: Accuracies, observe: Any
) -> None:
    """Times do not depend on it, nor on the order of the models. A checkpoint of none of the models is refused."""
    agent, tenths = _agent(dict(accuracies.tenths)), dict(accuracies.tenths)
    for _ in range(5):
        _play(agent, observe(3, 850))
    saved = agent.save()

    _agent({**tenths, "d4": 885}).load(saved)
    turned = _agent(dict(reversed(tenths.items())))
    turned.load(saved)
    assert agent.greedy(observe(3, 850)) == turned.greedy(observe(3, 850))
    with pytest.raises(ModelsChanged, match="other models"):
        _agent({ModelName("net"): 899}).load(saved)


def test_a_model_that_was_added_costs_nothing_that_was_learned(accuracies: Accuracies, observe: Any) -> None:
    """It decides as before among the models that it knew, and can decide and learn with the new one."""
    agent, tenths = _agent(dict(accuracies.tenths)), {**accuracies.tenths, ModelName("added"): 895}
    seen = observe(3, 890)
    for _ in range(8):
        _play(agent, seen)
    wider = _agent(tenths, seed=2)
    wider.load(agent.save())
    assert agent.greedy(seen) == wider.greedy(seen)

    lists = tuple((*actions, Action(Tier.END, ModelName("added"))) for actions in seen.actions)
    seen = replace(seen, actions=lists, accuracy_tenths=tenths)
    for _ in range(40):
        _play(wider, seen)
    again = _agent(tenths, seed=3)
    again.load(wider.save())
    assert wider.greedy(seen) == again.greedy(seen)


@pytest.mark.parametrize("time_ms", [0.0, 1e-200, 1e-9])
def test_a_response_in_no_time_is_an_answer_that_teaches_nothing(
    accuracies: Accuracies, observe: Any, time_ms: float
) -> None:
    """A broken clock makes neither a tier dead nor a belief absurd."""
    agent = _agent(dict(accuracies.tenths))
    seen = observe(3, 899)
    for _ in range(12):
        _play(agent, seen, time_ms, time_ms, time_ms)

    assert not any(record.dead for record in agent.schedule.tiers.values())
    assert all(1.0 < agent.act(seen).why(place).predicted_ms < 1e5 for place in range(3))  # type: ignore[misc]
    _agent(dict(accuracies.tenths)).load(agent.save())


def test_who_was_told_nothing_lends_nothing_to_the_floor(accuracies: Accuracies, observe: Any) -> None:
    """Requests on arrival: one device asks, four never do; what was told keeps the floor by itself."""
    agent, seen = _agent(dict(accuracies.tenths)), observe(5, 850)
    held: list[Any] = [None] * 5
    for _ in range(40):
        choice = agent.act_one(seen, 0, held)
        held[0] = choice.actions[0]
        agent.learn_one(seen, 0, choice, held[0], 150.0)

        assert accuracies.meets([held[0].model], 850)
