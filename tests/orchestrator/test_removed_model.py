"""A model leaves the manifest: the orchestrator starts, and keeps what does not depend on that model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from broker.vocabulary import Action, ModelName, Tier
from configs.orchestrator import FactoredSection, FilesSection, OrchestratorConfig, Policy, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.factored import Factored
from orchestrator.checkpoint import Checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused
from orchestrator.policies import Policies
from orchestrator.whatif import what_if
from tests.orchestrator.conftest import Observe

NET = ModelName("net")
LOCAL_MS = dict(zip((*(f"d{n}" for n in range(8)), NET), (459, 260, 150, 75, 230, 155, 100, 72, 90), strict=True))
SLOW_EDGE_MS, EDGE_MS = 900.0, 300.0


@pytest.fixture
def wider(accuracies: Accuracies) -> Accuracies:
    """The eight and an added model, which is in the middle of the manifest's order."""
    tenths = {**dict(list(accuracies.tenths.items())[:4]), NET: 895, **accuracies.tenths}
    return Accuracies(tenths, {name: place for place, name in enumerate(tenths)})


def _with_net(seen: Observation, wider: Accuracies) -> Observation:
    """Devices and the edge have the added model too."""
    more = (Action(Tier.END, NET), Action(Tier.EDGE, NET))
    return replace(
        seen, actions=tuple((*able, *more) for able in seen.actions), accuracy_tenths=wider.tenths, floor_tenths=800
    )


def _play(agent: Factored, seen: Observation, joint: tuple[Action, ...]) -> None:
    times = {Tier.EDGE: EDGE_MS, Tier.CLOUD: 400.0}
    times_ms = [LOCAL_MS[a.model] if a.tier is Tier.END else times[a.tier] for a in joint]
    if any(action == Action(Tier.EDGE, NET) for action in joint):
        times_ms = [
            SLOW_EDGE_MS if action.tier is Tier.EDGE else ms for action, ms in zip(joint, times_ms, strict=True)
        ]
    agent.learn(Experience(seen, Choice(joint), joint, tuple(times_ms), -1.0, seen))


def _taught(observe: Observe, wider: Accuracies) -> Factored:
    """Two devices ran every model locally and the edge with d0 three times; the edge with `net` twice."""
    agent = Factored(FactoredSection(), StateSection(), dict(wider.tenths), seed=1)
    seen = _with_net(observe(2), wider)
    local = [action for action in seen.actions[0] if action.tier is Tier.END]
    edge, other = Action(Tier.EDGE, ModelName("d0")), Action(Tier.EDGE, NET)
    for joint in [(action, action) for action in local] + [(edge, edge)] * 3 + [(other, other)] * 2:
        _play(agent, seen, joint)
    return agent


def test_local_times_and_tiers_of_the_models_that_stay_are_kept(
    observe: Observe, wider: Accuracies, accuracies: Accuracies, caplog: pytest.LogCaptureFixture
) -> None:
    """One event names the model that is gone and counts the edge's observations that went with it."""
    taught = _taught(observe, wider)
    narrow = Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=1)
    with caplog.at_level(logging.WARNING):
        narrow.load(taught.save())

    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("models_dropped policy=factored models=net")
    assert said.endswith("observations_dropped=2")

    seen = observe(2, 800)
    before, after = taught._view(_with_net(seen, wider)), narrow._view(seen)
    old, new = taught.belief(before), narrow.belief(after)
    for column, action in enumerate(after.columns):
        if action.tier is Tier.END:
            known = old.own_ms[:, before.column[action]]
            assert known == pytest.approx(new.own_ms[:, column], rel=0.1)
            assert LOCAL_MS[action.model] == pytest.approx(new.own_ms[0, column], rel=0.3)
    assert EDGE_MS == pytest.approx(new.shared_ms[0, 2], rel=0.3)  # the slow rounds with the other model are gone


def test_it_goes_on_deciding_and_learning_and_is_saved_again(
    observe: Observe, wider: Accuracies, accuracies: Accuracies
) -> None:
    """With the remaining models alone; what-if has rows before the first round."""
    saved = _taught(observe, wider).save()
    narrow = Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=1)
    narrow.load(saved)
    seen = observe(2, 850)
    for _ in range(20):
        choice = narrow.act(seen)
        _play(narrow, seen, choice.actions)
    again = Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=2)
    again.load(narrow.save())

    assert again.greedy(seen) == narrow.greedy(seen)
    assert {850} == {row.floor_tenths for row in what_if(saved, accuracies.tenths, [850])}


@pytest.mark.parametrize("lost", ["tiers", "rows"])
def test_a_damaged_checkpoint_of_more_models_is_refused(
    observe: Observe, wider: Accuracies, accuracies: Accuracies, lost: str
) -> None:
    """By name, not with a KeyError."""
    saved = _taught(observe, wider).save()
    times = {key: value for key, value in saved.about["times"].items() if key != lost}
    damaged = Checkpoint(saved.agent, saved.version, {**saved.about, "times": times}, saved.arrays)

    with pytest.raises(CheckpointRefused, match="cannot be read"):
        Factored(FactoredSection(), StateSection(), dict(accuracies.tenths), seed=1).load(damaged)


@pytest.mark.parametrize("policy", [Policy.Q_LEARNING, Policy.DQN, Policy.OFFLOAD_ONLY, Policy.FACTORED])
def test_an_agent_that_can_carry_nothing_over_begins_anew_and_the_file_stays_beside(
    policy: Policy, tmp_path: Path, accuracies: Accuracies, observe: Observe, caplog: pytest.LogCaptureFixture
) -> None:
    """The old checkpoint is renamed, one event says so, and a second one does not overwrite the first."""
    config = OrchestratorConfig(version=1, site="home", files=FilesSection(directory=tmp_path), seed=1)
    former = Policies(config, Accuracies({NET: 895}, {NET: 0})).agent(policy)
    path = tmp_path / f"{policy}.npz"
    for kept in ("refused-1", "refused-2"):
        write_checkpoint(path, former.save())
        content = path.read_bytes()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            agent = Policies(config, accuracies).agent(policy)

        assert agent.act(observe(2)).actions
        assert (False, content) == (path.exists(), (tmp_path / f"{policy}.npz.{kept}").read_bytes())
        [said] = [record.getMessage() for record in caplog.records]
        assert said.startswith("checkpoint_set_aside")
        assert f"{policy}.npz.{kept}" in said
