"""The simulator as Gymnasium meets it: one site, and many in step."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from configs.calibration import CalibrationConfig, NoiseSection
from configs.scenario import ScenarioConfig
from orchestrator.simulator import ENVIRONMENT
from orchestrator.simulator.environment import EndEdgeCloudEnv
from orchestrator.simulator.vector_environment import EndEdgeCloudVectorEnv

EVENTFUL = ScenarioConfig.model_validate(
    {
        "version": 1,
        "name": "eventful",
        "background": {"end": {"start": 0.3, "stop": 0.3}, "cloud": {"start": 0.5, "stop": 0.5}},
        "own_load": {"end": 0.5, "edge": 1.0, "cloud": 1.0},
        "events": [
            {"round": 1, "kind": "slow", "nodes": ["s1"], "factor": 3},
            {"round": 3, "kind": "link", "nodes": ["end"], "link": "weak"},
            {"round": 4, "kind": "down", "nodes": ["edge"]},
        ],
    }
)
SILENT = NoiseSection(distribution="none")
SETTINGS: list[dict[str, Any]] = [
    {"users": 1, "floor": "min"},
    {"users": 3, "experiment": "exp-b", "scenario": "visited", "floor": 85},
    {"users": 5, "experiment": "exp-d", "floor": "max", "noise": SILENT},
    {"users": 4, "experiment": "exp-c", "scenario": EVENTFUL, "floor": 80.5, "maximum_response_ms": 90_000.0},
    {"users": 12, "scenario": "visited", "floor": 89.9, "noise": NoiseSection(distribution="student_t", sd_percent=30)},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gymnasiums_checker_has_nothing_to_say(settings: dict[str, Any]) -> None:
    """No error, and no warning either: the test runner makes errors of them."""
    check_env(gymnasium.make(ENVIRONMENT, **settings).unwrapped)


@pytest.mark.parametrize("name", ["Tierwise/EndEdgeCloud-v0", "orchestrator.simulator:Tierwise/EndEdgeCloud-v0"])
def test_it_is_made_by_its_name(name: str) -> None:
    """After `orchestrator.simulator` is imported, or with the module before the name; wrappers let all through."""
    environment = gymnasium.make(name, users=2)
    state, info = environment.reset(seed=1)
    environment.step(environment.action_space.sample())

    assert isinstance(environment.unwrapped, EndEdgeCloudEnv)
    assert ((12,), np.float32, {}) == (state.shape, state.dtype, info)


def test_the_module_before_the_name_imports_it() -> None:
    """In a process that has imported nothing but Gymnasium."""
    code = (
        "import gymnasium\n"
        "environment = gymnasium.make('orchestrator.simulator:Tierwise/EndEdgeCloud-v0', users=3)\n"
        "environment.reset(seed=1)\n"
        "print(environment.step([0, 8, 9])[4]['floor_met'])"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert ("True\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("mode", "expected"), [("vector_entry_point", EndEdgeCloudVectorEnv), ("sync", gymnasium.vector.SyncVectorEnv)]
)
def test_many_are_made_by_name(mode: str, expected: type) -> None:
    """In step by our own form, and one after the other by Gymnasium's."""
    environments = gymnasium.make_vec(ENVIRONMENT, num_envs=3, vectorization_mode=mode, users=2)
    states, _ = environments.reset(seed=1)
    states, earned, terminated, truncated, _ = environments.step(environments.action_space.sample())

    assert isinstance(environments, expected)
    assert ((3, 12), (3,), (3, 2)) == (states.shape, earned.shape, environments.action_space.shape)
    assert not terminated.any()
    assert not truncated.any()
    environments.close()


def test_the_state_is_table_3s_in_equation_3s_order() -> None:
    """CPU, memory, link of the edge, the cloud, then each device; links as EXP-B has them."""
    state, _ = EndEdgeCloudEnv(users=4, experiment="exp-b").reset(seed=1)

    assert [5, 30, 1, 5, 30, 0, 5, 30, 0, 5, 30, 1, 5, 30, 0, 5, 30, 1] == state.tolist()


def test_devices_beyond_five_repeat_the_links_of_the_first() -> None:
    """EXP-B with twelve: s2 and s4, so s7 and s9, and s12."""
    environment = EndEdgeCloudEnv(users=12, experiment="exp-b")

    assert [1, 3, 6, 8, 11] == np.flatnonzero(environment.simulation.site.weak).tolist()


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_state_is_in_the_space_and_every_round_is_finite(settings: dict[str, Any]) -> None:
    """300 random rounds."""
    environment = EndEdgeCloudEnv(**settings)
    environment.reset(seed=1)
    environment.action_space.seed(2)
    for _ in range(300):
        state, earned, *_, info = environment.step(environment.action_space.sample())

        assert environment.observation_space.contains(state)
        assert np.isfinite(earned)
        assert earned < 0
        assert (info["response_ms"] > 0).all()


def test_episodes_are_gymnasiums_time_limit() -> None:
    """`max_episode_steps` truncates; nothing terminates."""
    environment = gymnasium.make(ENVIRONMENT, users=1, max_episode_steps=3)
    environment.reset(seed=1)

    assert [(False, False), (False, False), (False, True)] == [environment.step([0])[2:4] for _ in range(3)]


def _trajectory(environment: EndEdgeCloudEnv, seed: int | None) -> list[Any]:
    draw = np.random.default_rng(7)
    seen: list[Any] = [environment.reset(seed=seed)[0].tolist()]
    for _ in range(40):
        actions = draw.integers(10, size=environment.action_space.shape)
        state, earned, *_, info = environment.step(actions)
        told = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in info.items()}
        seen.append((state.tolist(), earned, told))
    return seen


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_same_seed_gives_the_same_trajectory(settings: dict[str, Any]) -> None:
    """States, rewards and infos, of one environment twice and of another."""
    first, second = EndEdgeCloudEnv(**settings), EndEdgeCloudEnv(**settings)

    assert _trajectory(first, 5) == _trajectory(first, 5) == _trajectory(second, 5)


def test_another_seed_gives_another_trajectory() -> None:
    """Another noise and another background load."""
    environment = EndEdgeCloudEnv(users=3, scenario="visited", floor="min")
    first, second = _trajectory(environment, 5), _trajectory(environment, 6)

    assert all(one[1] != other[1] for one, other in zip(first[1:], second[1:], strict=True))
    assert [step[0] for step in first[1:]] != [step[0] for step in second[1:]]


def test_without_a_seed_every_trajectory_is_another() -> None:
    """Also after one with a seed; but the second after the same seed is the same."""
    environment = EndEdgeCloudEnv(users=3, scenario="visited")
    runs = [json.dumps(_trajectory(environment, seed)) for seed in (5, None, None, 5, None)]

    assert 3 == len(set(runs))
    assert (runs[0], runs[1]) == (runs[3], runs[4])


def test_a_step_never_changes_what_was_handed_out() -> None:
    """A state and an info that an agent keeps stay as they were."""
    environment = EndEdgeCloudEnv(users=3, scenario=EVENTFUL)
    environment.reset(seed=1)
    state, *_, info = environment.step(np.array([8, 9, 0]))
    kept = state.copy(), {key: np.copy(value) for key, value in info.items()}
    for _ in range(10):
        environment.step(np.array([0, 8, 9]))

    assert np.array_equal(kept[0], state)
    assert all(np.array_equal(kept[1][key], info[key]) for key in info)


def test_many_in_step_are_as_many_alone() -> None:
    """Without noise and background load, events included: the same states, rewards and infos to the last bit."""
    happening = ScenarioConfig.model_validate({**EVENTFUL.model_dump(), "background": {}})
    settings: dict[str, Any] = {"users": 4, "experiment": "exp-b", "scenario": happening, "noise": SILENT, "floor": 80}
    together, alone = EndEdgeCloudVectorEnv(6, **settings), [EndEdgeCloudEnv(**settings) for _ in range(6)]
    states, _ = together.reset(seed=1)
    assert states.tolist() == [environment.reset(seed=2)[0].tolist() for environment in alone]
    draw = np.random.default_rng(3)
    for _ in range(30):
        actions = draw.integers(10, size=(6, 4))
        states, earned, _, _, infos = together.step(actions)
        steps = [environment.step(row) for environment, row in zip(alone, actions, strict=True)]

        assert states.tolist() == [step[0].tolist() for step in steps]
        assert earned.tolist() == [step[1] for step in steps]
        for key, values in infos.items():
            assert values.tolist() == [np.asarray(step[4][key]).tolist() for step in steps], key


def test_many_in_step_have_the_same_law_as_many_alone() -> None:
    """With noise and background load: mean and spread of rewards, and the share of busy states, are alike."""
    settings: dict[str, Any] = {"users": 2, "scenario": "visited", "floor": "min"}
    together = EndEdgeCloudVectorEnv(100, **settings)
    alone = EndEdgeCloudEnv(**settings)
    together.reset(seed=1)
    alone.reset(seed=2)
    vectorised = [together.step(np.zeros((100, 2), dtype=np.int64))[:2] for _ in range(100)]
    single = [alone.step(np.zeros(2, dtype=np.int64))[:2] for _ in range(8_000)]
    states, earned = (np.concatenate(part) for part in zip(*vectorised, strict=True))
    states_alone, earned_alone = (np.array(part) for part in zip(*single, strict=True))

    assert earned_alone.mean() == pytest.approx(earned.mean(), rel=0.01)
    assert earned_alone.std() == pytest.approx(earned.std(), rel=0.03)
    assert (states_alone[:, 6] > 90).mean() == pytest.approx((states[:, 6] > 90).mean(), abs=0.03)


def test_copies_in_step_differ_by_noise_and_load_only() -> None:
    """Two copies do not have the same luck; a seed gives both again."""
    together = EndEdgeCloudVectorEnv(2, users=3, scenario="visited")

    def run(seed: int) -> list[Any]:
        together.reset(seed=seed)
        return [together.step(np.zeros((2, 3), dtype=np.int64))[1].tolist() for _ in range(20)]

    assert run(1) == run(1) != run(2)
    assert all(first != second for first, second in run(1))


def test_no_response_is_worth_less_than_a_broken_floor(hand: CalibrationConfig) -> None:
    """A measured average above the constant counts as the constant, alone and in step; below it, it counts itself."""
    settings: dict[str, Any] = {"users": 1, "calibration": hand, "noise": NoiseSection(sd_percent=100)}
    together, alone = EndEdgeCloudVectorEnv(500, **settings), EndEdgeCloudEnv(**settings)
    together.reset(seed=1)
    alone.reset(seed=1)
    _, earned, _, _, infos = together.step(np.zeros((500, 1), dtype=np.int64))
    singles = [alone.step(np.zeros(1, dtype=np.int64)) for _ in range(500)]

    assert infos["response_ms"].max() > 1100.0
    assert (-np.minimum(infos["response_ms"][:, 0], 1100.0)).tolist() == earned.tolist()
    assert max(step[4]["response_ms"][0] for step in singles) > 1100.0
    assert [-min(float(step[4]["response_ms"][0]), 1100.0) for step in singles] == [step[1] for step in singles]


@pytest.mark.parametrize("users", [1, 1000])
def test_one_device_and_a_thousand_are_simulated(users: int) -> None:
    """Alone, in step, with background load and with every link there is."""
    for settings in ({"scenario": "visited"}, {"experiment": "exp-d", "scenario": EVENTFUL}):
        environment = EndEdgeCloudEnv(users=users, **settings)
        state, _ = environment.reset(seed=1)
        environment.action_space.seed(1)
        for _ in range(5):
            state, earned, *_, info = environment.step(environment.action_space.sample())

        assert environment.observation_space.contains(state)
        assert (users,) == info["response_ms"].shape
        assert np.isfinite(earned)
        together = EndEdgeCloudVectorEnv(2, users=users, **settings)
        together.reset(seed=1)
        assert (2,) == together.step(np.full((2, users), 8))[1].shape
