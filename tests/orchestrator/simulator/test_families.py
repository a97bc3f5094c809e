"""Named families of worlds, and that a calibration without what they add plays as it did before they came."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import yaml

from configs.calibration import CalibrationConfig, NoiseDistribution, NoiseSection, Queue, Shape
from configs.loader import loads
from configs.scenario import ScenarioConfig
from orchestrator.agent import Choice
from orchestrator.errors import SimulationRefused
from orchestrator.simulator.environment import simulation_of
from orchestrator.simulator.families import FAMILIES, Family, grown, world_of
from orchestrator.simulator.files import find
from orchestrator.simulator.world import World

SILENT = NoiseSection(distribution="none")


def _rewards(world: World, rounds: int, seed: int = 1) -> list[float]:
    """Of random joint actions."""
    draw, actions = np.random.default_rng(seed), world.site.actions
    users = len(world.site.devices)
    choices = (Choice(tuple(actions[place] for place in draw.integers(10, size=users))) for _ in range(rounds))
    return [world.play(world.observe(), choice)[0].reward for choice in choices]


# Made before there were families; response times in ms, to a millionth, and states of 300 rounds.
@pytest.mark.parametrize(
    ("users", "experiment", "scenario", "sha256"),
    [
        (5, "exp-a", "still", "32658342a4d1c726"),
        (5, "exp-b", "visited", "e54767e15e698e10"),
        (1000, "exp-b", "visited", "5ba6f31495fcc37a"),
    ],
)
def test_the_papers_site_plays_as_it_always_did(users: int, experiment: str, scenario: str, sha256: str) -> None:
    """A trajectory that was kept from before comes again."""
    simulation = simulation_of(users, experiment, 85, "a1-paper", scenario, None)
    simulation.reset(7)
    draw, digest = np.random.default_rng(3), hashlib.sha256()
    for _ in range(300):
        played = simulation.play(draw.integers(10, size=(1, users)))
        digest.update(np.round(played.response_ms, 6).tobytes())
        digest.update(simulation.state().tobytes())

    assert sha256 == digest.hexdigest()[:16]


def test_the_family_paper_is_the_papers_calibration() -> None:
    """Only its name differs, and what a seed could change is not there."""
    paper = find(CalibrationConfig, "a1-paper")

    assert paper == FAMILIES["paper"].calibration(5, 7).model_copy(update={"name": "a1-paper"})
    assert {"paper", "non_additive", "heterogeneous", "convex", "kinked", "saturating", "fifo", "noisy", "heavy_tails",
            "everything"} == set(FAMILIES)  # fmt: skip
    assert all(name == family.name and family.about for name, family in FAMILIES.items())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
@pytest.mark.parametrize("grow", [False, True])
def test_a_family_is_a_file_that_can_be_written_and_read(family: Family, grow: bool) -> None:
    """With an origin of everything, its own changes included."""
    calibration = family.calibration(12, 3, grow)
    text = yaml.safe_dump(calibration.model_dump(mode="json"))

    assert calibration == loads(text, CalibrationConfig, "again.yaml")
    assert family.name == calibration.name


def test_families_are_what_they_are_called() -> None:
    """Each differs from the paper in what its `about` names."""
    of = {name: family.calibration(5, 3) for name, family in FAMILIES.items()}
    everything = of["everything"]

    assert (25.0, 3) == (of["non_additive"].interactions.sd_percent, of["non_additive"].interactions.seed)
    assert (1.0, 8.0, 3) == tuple(of["heterogeneous"].speed_spread.model_dump().values())
    assert all({Shape(name)} == {of[name].edge.shape, of[name].cloud.shape} for name in Shape if name in of)
    assert [Queue.FIFO] * 2 == [of["fifo"].edge.queue, of["fifo"].cloud.queue]
    assert (NoiseDistribution.LOGNORMAL, 10.0) == (of["noisy"].noise.distribution, of["noisy"].noise.sd_percent)
    assert of["heavy_tails"].noise == NoiseSection(
        distribution=NoiseDistribution.STUDENT_T, sd_percent=10.0, outlier_percent=1.0, outlier_factor=5.0
    )
    assert (Shape.KINKED, Shape.SATURATING) == (everything.edge.shape, everything.cloud.shape)
    assert [Queue.FIFO] * 2 == [everything.edge.queue, everything.cloud.queue]
    assert (25.0, 8.0, 10.0) == (
        everything.interactions.sd_percent, everything.speed_spread.fastest, everything.noise.sd_percent
    )  # fmt: skip


@pytest.mark.parametrize(
    ("users", "vcpus"), [(1, (2, 4)), (5, (2, 4)), (7, (3, 6)), (50, (20, 40)), (1000, (400, 800))]
)
def test_a_grown_site_has_serving_tiers_for_its_devices(users: int, vcpus: tuple[int, int]) -> None:
    """A fifth of the paper's vCPUs a device, never fewer than the paper's; without `grow` they stay."""
    calibration = FAMILIES["kinked"].calibration(users, 1, grow=True)
    plain = FAMILIES["kinked"].calibration(users, 1)

    assert vcpus == (calibration.edge.vcpus, calibration.cloud.vcpus)
    assert (2, 4) == (plain.edge.vcpus, plain.cloud.vcpus)
    assert grown(plain, users) == calibration
    assert calibration.edge.shape is Shape.KINKED


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_gives_the_same_world(name: str) -> None:
    """Site and trajectory; another seed gives another trajectory, and other devices where they are drawn."""
    first, second, other = (world_of(name, "exp-b", 6, 0, seed, "visited") for seed in (1, 1, 2))
    same_devices = bool((first.site.local_ms == other.site.local_ms).all())

    assert (name not in ("non_additive", "heterogeneous", "everything")) == same_devices
    assert (first.site.local_ms == second.site.local_ms).all()
    assert _rewards(first, 50) == _rewards(second, 50) != _rewards(other, 50)


def test_the_problem_of_everything_is_what_its_rounds_take_on_average() -> None:
    """Fifo on both tiers and no noise: every round's mean is the problem's, though devices take turns."""
    world = world_of("everything", "exp-a", 6, 0, 1, noise=SILENT)
    offloaded = world.indices(tuple(world.site.actions[place] for place in (8, 8, 8, 9, 9, 9)))
    rounds = [world.simulation.play(offloaded) for _ in range(20)]
    problem, _ = world.problem()

    assert [problem.total_ms(offloaded[0]) / 6] * 20 == pytest.approx([float(played.mean_ms[0]) for played in rounds])
    assert 3 == len({round(float(played.response_ms[0, 0]), 6) for played in rounds})
    assert world.optimum().mean_ms <= rounds[0].expected_ms[0]


def test_an_unknown_family_is_refused() -> None:
    """With the names of all."""
    with pytest.raises(SimulationRefused, match="no family 'linear': name one of paper, non_additive"):
        world_of("linear", "exp-a", 5, 850, 1)


def test_a_world_of_a_thousand_devices_remembers_its_problem(accuracies: Any) -> None:
    """Nobody becomes busy and nothing happens: the same object in every round, so nothing is laid out twice."""
    world = world_of("everything", "exp-d", 1000, 890, 1, grow=True)
    before = world.problem()[0]
    _rewards(world, 3)

    assert before is world.problem()[0]
    assert 1000 * (accuracies.tenths["d0"] - 890) == before.budget


def test_a_world_of_a_thousand_devices_keeps_few_states() -> None:
    """Every round is a state of its own here; of 500 at most 409 are kept at once, or many would fill the memory."""
    scenario = ScenarioConfig.model_validate(
        {"version": 1, "name": "busy", "background": {"end": {"start": 0.5, "stop": 0.5}}}
    )
    world = world_of("paper", "exp-a", 1000, 0, 1, scenario)
    choice = Choice((world.site.actions[0],) * 1000)
    kept = []
    for _ in range(500):
        world.play(world.observe(), choice)
        kept.append(world.states_seen)

    assert list(range(2, 410)) == kept[:408]
    assert 409 == max(kept)
    assert world.observe() is world.observe()
