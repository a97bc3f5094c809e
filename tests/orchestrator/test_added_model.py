"""A model that was added: the action space follows, and what decides takes it where it is best."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from broker.messages import Birth, Heartbeat, State
from broker.vocabulary import Action, ModelName, NodeId, NodeState, Tier
from configs.orchestrator import ActionSpace, FactoredSection, StateSection
from model_zoo.local_manifest import AddedModel, change_local, site_manifest, with_model
from model_zoo.manifest import Manifest, load_manifest
from model_zoo.preprocessing import OutputKind, Preprocessing
from orchestrator.accuracy import Accuracies, accuracies_of
from orchestrator.agent import Experience, Observation
from orchestrator.agents.factored import Factored
from orchestrator.nodes import Registry
from orchestrator.observe import Observer
from orchestrator.offered import faults_of
from orchestrator.solver.brute_force import brute_force
from orchestrator.solver.exact import solve
from orchestrator.solver.problem import Problem

SQUEEZE, BLIND = ModelName("squeeze"), ModelName("blind")
DEVICES = tuple(NodeId(f"s{number}") for number in (1, 2, 3))
LOCAL_MS = dict(zip((*(f"d{n}" for n in range(8)), SQUEEZE), (459, 260, 150, 75, 230, 155, 100, 72, 90), strict=True))
TIERS = (Tier.END, Tier.EDGE, Tier.CLOUD)


def _added(top5: float | None, mmacs: float = 8.6) -> AddedModel:
    return AddedModel(
        sha256="a" * 64, dtype="fp32", input_px=(96, 96), classes=1000, background=False,
        preprocessing=Preprocessing.ZERO_TO_1, output=OutputKind.LOGITS, mmacs=mmacs, top5=top5,
    )  # fmt: skip


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """The eight, one with 89.5 % and one whose accuracy nobody knows."""
    change_local(tmp_path, lambda local: with_model(local, SQUEEZE, _added(89.5)))
    change_local(tmp_path, lambda local: with_model(local, BLIND, _added(None)))
    return site_manifest(directory=tmp_path)


@pytest.fixture
def wider(manifest: Manifest) -> Accuracies:
    return accuracies_of(manifest)


def _birth(models: dict[str, str], label_sets: dict[str, str] | None = None) -> Birth:
    return Birth(session=1, tier=Tier.END, agent_version="1", vcpus=1, models=models, label_sets=label_sets or {})


def _joined(registry: Registry, node: NodeId, tier: Tier, *models: str) -> None:
    files = dict.fromkeys(models, "a" * 64)
    registry.on_birth(node, Birth(session=1, tier=tier, agent_version="1", vcpus=1, models=files))
    registry.on_state(node, State(session=1, state=NodeState.ONLINE))
    registry.on_heartbeat(node, Heartbeat(session=1, seq=0), 0.0)


def _observed(accuracies: Accuracies, space: ActionSpace = ActionSpace.PAPER) -> Observation:
    """Two devices have the added model, the third has not; edge and cloud have d0 and it."""
    registry = Registry(3.0)
    eight = tuple(f"d{number}" for number in range(8))
    for device in DEVICES[:2]:
        _joined(registry, device, Tier.END, *eight, SQUEEZE, "never-heard-of", BLIND)
    _joined(registry, DEVICES[2], Tier.END, *eight)
    for tier in (Tier.EDGE, Tier.CLOUD):
        _joined(registry, NodeId(tier), tier, "d0", SQUEEZE)
    return Observer(registry, accuracies, space).observe(DEVICES, 890, 0.0)


def test_the_shipped_manifest_alone_gives_table_4s_accuracies_and_costs() -> None:
    """In the paper's order of MACs, int8 before fp32: its figures must not move."""
    accuracies = accuracies_of(load_manifest())

    assert [899, 882, 849, 742, 889, 870, 832, 728] == list(accuracies.tenths.values())
    assert ["d7", "d3", "d6", "d2", "d5", "d1", "d4", "d0"] == sorted(accuracies.cost, key=accuracies.cost.__getitem__)


def test_an_added_model_takes_its_place_by_accuracy_and_cost(wider: Accuracies) -> None:
    """One of unknown accuracy takes none."""
    assert (895, 0, 4) == (wider.tenths[SQUEEZE], wider.cost[SQUEEZE], wider.deficit(SQUEEZE))
    assert BLIND not in wider.tenths
    assert 899 == wider.best_tenths


def test_a_floor_may_be_as_high_as_the_most_accurate_added_model(tmp_path: Path) -> None:
    """Deficits and budget are counted from it then."""
    change_local(tmp_path, lambda local: with_model(local, SQUEEZE, _added(93.0)))
    accuracies = accuracies_of(site_manifest(directory=tmp_path))

    assert (930, 31, 0) == (accuracies.best_tenths, accuracies.deficit(ModelName("d0")), accuracies.budget(5, 930))


def test_the_action_space_follows_what_devices_offer(wider: Accuracies) -> None:
    """Who has it may be told it; unknown ones are left out, and the paper's edge and cloud go on with d0."""
    paper, full = (_observed(wider, space) for space in ActionSpace)
    added = Action(Tier.END, SQUEEZE)

    assert [True, True, False] == [added in actions for actions in paper.actions]
    assert [11, 11, 10] == [len(actions) for actions in paper.actions]
    assert Action(Tier.EDGE, SQUEEZE) in full.actions[2]
    assert {"d0"} == {action.model for action in paper.actions[0] if action.tier is not Tier.END}


def _shared_ms(tier: Tier, sharers: int) -> float:
    return {Tier.EDGE: 380.0, Tier.CLOUD: 400.0}[tier] * (0.8 + 0.2 * sharers)


def _times_ms(joint: tuple[Action, ...]) -> tuple[float, ...]:
    on = {tier: sum(action.tier is tier for action in joint) for tier in TIERS}
    return tuple(
        float(LOCAL_MS[action.model]) if action.tier is Tier.END else _shared_ms(action.tier, on[action.tier])
        for action in joint
    )


def test_the_exact_solver_takes_it_where_it_is_the_fastest_that_keeps_the_floor(wider: Accuracies) -> None:
    """89 %: both that have it run it (89.5), which lets the third run d4 (88.9); brute force confirms it."""
    seen = _observed(wider)
    columns = sorted({action for actions in seen.actions for action in actions}, key=str)
    own_ms = np.full((3, len(columns)), np.inf)
    for row, actions in enumerate(seen.actions):
        for action in actions:
            own_ms[row, columns.index(action)] = LOCAL_MS[action.model] if action.tier is Tier.END else 0.0
    problem = Problem(
        own_ms,
        np.array([TIERS.index(column.tier) for column in columns]),
        np.array([wider.deficit(column.model) for column in columns]),
        np.array([[_shared_ms(tier, sharers) for sharers in range(4)] for tier in TIERS[1:]]),
        wider.budget(3, 890),
    )
    chosen = [str(columns[place]) for place in solve(problem).actions]

    assert ["squeeze@end", "squeeze@end", "d4@end"] == chosen
    assert solve(problem).total_ms == brute_force(problem).total_ms


def test_the_factored_agent_learns_to_take_it(wider: Accuracies) -> None:
    """From reported times alone, within sixty rounds, and no round breaks the floor."""
    agent, seen = Factored(FactoredSection(), StateSection(), dict(wider.tenths), seed=1), _observed(wider)
    for _ in range(60):
        choice = agent.act(seen)
        assert wider.meets([action.model for action in choice.actions], 890)
        agent.learn(Experience(seen, choice, choice.actions, _times_ms(choice.actions), -1.0, seen))

    assert ["squeeze@end", "squeeze@end", "d4@end"] == [str(action) for action in agent.greedy(seen)]


def test_what_is_odd_about_a_nodes_models_is_told_with_what_mends_it(manifest: Manifest) -> None:
    """Unknown, of unknown accuracy, and of another file; the eight may be built or official."""
    offered = {"d0": "1" * 64, "never": "2" * 64, "strange": "2" * 64, BLIND: "a" * 64, SQUEEZE: "b" * 64}
    faults = {fault.name: fault for fault in faults_of(_birth(offered), manifest)}

    assert {
        "models_unknown": ("never", "strange"),
        "models_without_accuracy": (BLIND,),
        "models_differ": (SQUEEZE,),
    } == {name: fault.models for name, fault in faults.items()}
    assert all("files.manifest" in fault.mend for fault in faults.values())
    assert [] == faults_of(_birth({"d0": "1" * 64, SQUEEZE: "a" * 64}), manifest)
