"""Coefficients from logs of a site that is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Action, ModelName, Tier
from configs.calibration import CalibrationConfig, NoiseDistribution
from configs.demo import ExperimentConfig
from configs.loader import load
from configs.scenario import ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.calibration.annotated import as_yaml
from orchestrator.calibration.fit import Calibrated
from orchestrator.errors import NothingLogged, TooLittleLogged
from orchestrator.simulator.files import find
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.site import site_of

D0, D7 = (ModelName(name) for name in ("d0", "d7"))
ON_EDGE, ON_CLOUD, HERE = Action(Tier.EDGE, D0), Action(Tier.CLOUD, D0), Action(Tier.END, D0)
DEVICES = ("s1", "s2", "s3", "s4", "s5")


def _value(found: Calibrated, path: str) -> float:
    return found.coefficients[path].number


def _differences_percent(found: Calibrated, truth: CalibrationConfig) -> dict[str, float]:
    """Of everything that was fitted, but noise and what is 0 in truth."""
    true: dict[str, Any] = truth.model_dump(mode="json")

    def at(path: str) -> float:
        value: Any = true
        for part in path.split("."):
            value = value[part]
        return float(value)

    paths = [path for path, coefficient in found.coefficients.items() if coefficient.rows and "noise" not in path]
    return {path: 100 * (_value(found, path) / at(path) - 1) for path in paths}


def test_every_coefficient_comes_back(log: Any) -> None:
    """With 3 % noise, 3 % of tenfold times, speeds 0.5, 1 and 2, and links that change: 3 %, contention 6 %."""
    log.outliers = 0.03
    for weak in ((), ("s2", "s5"), ("edge",), ("s1", "edge")):
        log.links(*weak)
        log.play_random(150)
    found = log.calibrate(edge_vcpus=2, cloud_vcpus=4)
    differences = _differences_percent(found, log.truth)

    assert 8 + 5 + 6 + 4 + 1 == len(differences), sorted(differences)
    assert {} == {path: off for path, off in differences.items() if abs(off) > (6 if "contention" in path else 3)}
    assert 3.0 == pytest.approx(_value(found, "noise.sd_percent") / math.sqrt(3) * 1.1341, abs=0.6)
    assert (0.25, 0.5) == (found.weak_shares["s1"], found.weak_shares["edge"])


@pytest.mark.parametrize(("outliers", "distribution"), [(0.0, "lognormal"), (0.03, "student_t")])
def test_noise_has_a_heavy_tail_if_far_times_are_many(log: Any, outliers: float, distribution: str) -> None:
    """Of lognormal noise 0.27 % are beyond three deviations; 3 % of hiccups more are a heavy tail."""
    log.outliers = outliers
    log.play_random(300)
    found = log.calibrate()

    assert NoiseDistribution(distribution) is found.calibration.noise.distribution
    if distribution == "lognormal":
        assert 3.0 == pytest.approx(found.calibration.noise.sd_percent, abs=0.3)
        assert found.reproduction is not None
        assert found.reproduction.p95_percent < 6.0


def test_a_queue_costs_on_average_and_is_no_noise(log: Any) -> None:
    """First in, first out on one worker: k jobs take (k + 1)/2 times one on average, whatever their places."""
    log.fifo = True
    log.play_random(400)
    found = log.calibrate(edge_vcpus=1, cloud_vcpus=1)

    assert 40.0 == pytest.approx(_value(found, "edge.compute_ms.d0"), rel=0.03)
    assert 0.5 == pytest.approx(_value(found, "edge.contention"), rel=0.06)
    assert 0.5 == pytest.approx(_value(found, "cloud.contention"), rel=0.06)
    assert 3.0 == pytest.approx(_value(found, "noise.sd_percent"), abs=0.6)


def test_speeds_are_found_though_each_device_mostly_runs_another_model(log: Any) -> None:
    """The fast one runs mostly d0, the slow one mostly d7: models and speeds are told apart all the same."""
    for turn in range(60):
        often, seldom = (D0, D7) if turn % 10 else (D7, D0)
        log.play({"s1": Action(Tier.END, seldom), "s5": Action(Tier.END, often), "s2": ON_EDGE, "s3": ON_CLOUD})
    found = log.calibrate()

    assert 4.0 == pytest.approx(_value(found, "speeds.s5") / _value(found, "speeds.s1"), rel=0.03)
    assert "s2 ran 0 requests locally: 1 assumed" == found.coefficients["speeds.s2"].origin


def test_devices_without_a_model_in_common_are_not_compared(log: Any) -> None:
    """Nothing tells whether s1 is slow or d0 is: each such set has a median speed of 1, and the origin says so."""
    for _ in range(20):
        log.play({"s1": HERE, "s5": Action(Tier.END, D7), "s2": ON_EDGE, "s3": ON_CLOUD})
    found = log.calibrate()

    assert (1.0, 1.0) == (_value(found, "speeds.s1"), _value(found, "speeds.s5"))
    assert "comparable only among s1" in found.coefficients["speeds.s1"].origin


def test_a_model_never_seen_is_interpolated_and_says_so(log: Any) -> None:
    """d1 lies on the line by MACs through d0 and d2; d3 beyond it is neither below 0 nor above d2."""
    log.play_random(200, models=("d0", "d2", "d4", "d6"))
    found = log.calibrate()
    d0_ms, d2_ms = _value(found, "models.d0"), _value(found, "models.d2")

    assert d2_ms + (317 - 150) / (569 - 150) * (d0_ms - d2_ms) == pytest.approx(_value(found, "models.d1"), rel=1e-3)
    assert "interpolated by MACs between d2 and d0, never measured" == found.coefficients["models.d1"].origin
    assert "extrapolated by MACs from d2 and d0, never measured" == found.coefficients["models.d3"].origin
    assert 0 == found.coefficients["models.d3"].rows
    assert d2_ms * 41 / 150 <= _value(found, "models.d3") <= d2_ms


def test_one_model_alone_takes_the_shape_of_the_papers(log: Any) -> None:
    """Two are needed for a line; with one, the others are a1-paper's, scaled."""
    log.play_random(100, models=("d0",))
    found = log.calibrate()
    paper = find(CalibrationConfig, "a1-paper")
    scale = _value(found, "models.d0") / paper.models[D0]

    assert scale * paper.models[D7] == pytest.approx(_value(found, "models.d7"), rel=1e-3)
    assert "never measured: a1-paper's, times 0.175" in found.coefficients["models.d7"].origin


def test_with_one_number_of_sharers_contention_is_the_papers(log: Any) -> None:
    """Five at a time, always: how much of the time is contention cannot be known. It is assumed, and said."""
    for _ in range(30):
        log.play(dict.fromkeys(DEVICES, HERE))
        log.play(dict.fromkeys(DEVICES, ON_EDGE))
        log.play(dict.fromkeys(DEVICES, ON_CLOUD))
    found = log.calibrate()
    paper, edge = find(CalibrationConfig, "a1-paper").edge, found.calibration.edge

    assert (paper.contention, 0) == (edge.contention, found.coefficients["edge.contention"].rows)
    assert "a1-paper's: not to be told from rounds with 5 at a time" == found.coefficients["edge.contention"].origin
    assert 40 * (1 + 0.9 * 4 / 2) == pytest.approx(edge.compute_ms[D0] * (1 + paper.contention * 4 / 2), rel=0.03)


def test_a_few_rounds_are_not_enough_to_tell_contention(log: Any) -> None:
    """With four rounds of a second number of sharers, three hiccups would be taken for contention."""
    for _ in range(10):
        log.play({"s1": HERE, "s2": ON_EDGE, "s3": ON_CLOUD})
    for _ in range(4):
        log.play({"s1": HERE, "s2": ON_EDGE, "s3": ON_EDGE, "s4": ON_CLOUD})
    found = log.calibrate()

    assert "a1-paper's: not to be told from rounds with 1, 2 at a time" == found.coefficients["edge.contention"].origin


def test_a_link_that_never_was_weak_is_the_papers(log: Any) -> None:
    """Regular plus what a weak link adds in a1-paper, and the edge's as it is there; all of it told."""
    log.play_random(60)
    found = log.calibrate()
    origin = found.coefficients["links.weak.ask_ms"].origin

    assert _value(found, "links.regular.ask_ms") + 78.93 == pytest.approx(_value(found, "links.weak.ask_ms"), abs=0.01)
    assert "never seen: regular plus the 78.93 ms that it adds in a1-paper" == origin
    assert (4.06, "never seen: a1-paper's") == (
        _value(found, "links.edge_weak.ask_ms"),
        found.coefficients["links.edge_weak.ask_ms"].origin,
    )


def test_an_edge_link_that_always_was_weak_is_part_of_the_devices_links(log: Any) -> None:
    """What it adds cannot be told apart: 0, so that simulating with it or without gives what was measured."""
    log.links("edge", "s1")
    log.play_random(100)
    found = log.calibrate()

    assert (0.0, 0) == (_value(found, "links.edge_weak.ask_ms"), found.coefficients["links.edge_weak.ask_ms"].rows)
    assert (3 + 6, 30 + 6) == pytest.approx(
        (_value(found, "links.regular.ask_ms"), _value(found, "links.weak.ask_ms")), rel=0.03
    )


def test_links_that_always_were_weak_are_regular_too(log: Any) -> None:
    """A copy, and it says so."""
    log.links(*DEVICES)
    log.play_random(60)
    found = log.calibrate()

    assert "never seen: a copy of weak" == found.coefficients["links.regular.image_ms"].origin
    assert _value(found, "links.weak.image_ms") == _value(found, "links.regular.image_ms")


def test_rounds_with_a_failure_do_not_bend_the_fit(log: Any) -> None:
    """Who fell back or failed has no time, and those who shared the node with him no known number of sharers."""
    log.play_random(200)
    bad = {"s1": "fallen_back", "s2": "failed"}
    for _ in range(200):
        log.play(dict.fromkeys(DEVICES, ON_EDGE), outcomes=bad)
    found = log.calibrate()
    sound = found.coefficients["edge.contention"]

    assert 200 * 5 + 200 * 3 == found.requests
    assert found.reproduction is not None
    assert 200 == found.reproduction.rounds
    assert 0.9 == pytest.approx(sound.number, rel=0.06)
    assert sound.rows < 200 * 5
    assert 8.0 == pytest.approx(_value(found, "models.d7"), rel=0.03)


def test_rows_without_a_round_tell_local_times_only(log: Any) -> None:
    """Nobody knows who shared the edge with them."""
    log.play_random(100)
    before = log.calibrate()
    log.connection.execute("BEGIN")
    for _ in range(20):
        log.play({"s1": HERE, "s2": ON_EDGE}, numbered=False)
    found = log.calibrate()

    assert before.coefficients["edge.compute_ms.d0"] == found.coefficients["edge.compute_ms.d0"]
    assert before.coefficients["speeds.s1"].rows + 20 == found.coefficients["speeds.s1"].rows


def test_the_deadline_is_that_of_the_newest_decision(log: Any) -> None:
    """1500 ms here; a1-paper has 5000."""
    log.play_random(60)

    assert 1500.0 == log.calibrate().calibration.deadline_ms


def test_an_empty_log_is_refused(log: Any) -> None:
    """Nothing to fit."""
    with pytest.raises(NothingLogged, match="no delivered request"):
        log.calibrate()


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ([dict.fromkeys(DEVICES, HERE)] * 3, "15 delivered requests are too few"),
        ([{"s1": HERE, "s2": HERE, "s3": ON_EDGE}] * 10, "no delivered request on the cloud.*cloud_only"),
        ([{"s1": HERE, "s2": HERE, "s3": ON_CLOUD}] * 10, "no delivered request on the edge.*edge_only"),
        ([{"s1": ON_EDGE, "s2": ON_CLOUD}] * 15, "no model has run locally.*device_only"),
    ],
)
def test_too_little_says_what_is_lacking(log: Any, rounds: list[dict[str, Action]], said: str) -> None:
    """A tier that never served has no coefficients; the policy that uses it mends that."""
    for actions in rounds:
        log.play(actions)
    with pytest.raises(TooLittleLogged, match=said):
        log.calibrate()


def test_the_file_loads_as_it_was_fitted(log: Any, tmp_path: Path) -> None:
    """Also with a name that YAML would take for something else."""
    log.play_random(60)
    found = log.calibrate()
    for name in ("found", "on", "1.5", "my: site # 1", "Zürich 🏔"):
        calibration = found.calibration.model_copy(update={"name": name})
        (tmp_path / "found.yaml").write_text(as_yaml(calibration, ["A heading."]), encoding="utf-8")
        assert calibration == load(tmp_path / "found.yaml", CalibrationConfig)


def test_a_simulation_of_the_fitted_site_is_as_fast_as_the_log(log: Any, accuracies: Accuracies) -> None:
    """Mean response time of each policy, simulated with the same actions and links: within 2 % of the log's."""
    log.links("s2")
    log.play_random(150)
    for policy, action in (("device_only", HERE), ("edge_only", ON_EDGE), ("cloud_only", ON_CLOUD)):
        for _ in range(60):
            log.play(dict.fromkeys(DEVICES, action), policy)
    found = log.calibrate()
    experiment = ExperimentConfig.model_validate({"version": 1, "name": "home", "links": {"s2": "weak"}})
    site = site_of(found.calibration, experiment, len(DEVICES), accuracies)
    simulation = Simulation(site, find(ScenarioConfig, "still"), found.calibration.noise, 0, batch=400)
    simulation.reset(1)
    query = "SELECT avg(response_ms) FROM response WHERE policy = ?"

    for policy, action in (("device_only", HERE), ("edge_only", ON_EDGE), ("cloud_only", ON_CLOUD)):
        played = simulation.play(np.full((400, len(DEVICES)), site.actions.index(action)))
        (logged_ms,) = log.connection.execute(query, (policy,)).fetchone()

        assert logged_ms == pytest.approx(float(played.mean_ms.mean()), rel=0.02), policy


def test_rare_hiccups_are_not_in_the_coefficients_and_that_shows(log: Any) -> None:
    """1 % of tenfold times make the log 9 % slower than what it says of an ordinary round; the report tells."""
    log.outliers = 0.01
    log.play_random(400)
    found = log.calibrate()

    assert found.reproduction is not None
    assert 100 * (1 / 1.09 - 1) == pytest.approx(found.reproduction.all_percent, abs=2.5)
    assert found.reproduction.median_percent < 2.0


def test_an_explored_mix_simulates_as_it_was_logged(log: Any, accuracies: Accuracies) -> None:
    """Round by round, the actions of the log: the means of all rounds agree within 1 %, and their spread about."""
    log.play_random(300)
    found = log.calibrate()
    site = site_of(found.calibration, ExperimentConfig(version=1, name="home"), len(DEVICES), accuracies)
    simulation = Simulation(site, find(ScenarioConfig, "still"), found.calibration.noise, 0, batch=1)
    simulation.reset(1)
    rows = log.connection.execute("SELECT tier, model, response_ms FROM response ORDER BY round, node").fetchall()
    places = np.array([site.actions.index(Action(Tier(tier), ModelName(model))) for tier, model, _ in rows])
    logged_ms = np.array([ms for *_, ms in rows]).reshape(-1, len(DEVICES)).mean(axis=1)
    played = [simulation.play(actions[None]) for actions in places.reshape(-1, len(DEVICES))]
    ratios = logged_ms / np.array([round_.expected_ms[0] for round_ in played])
    simulated = np.array([round_.mean_ms[0] / round_.expected_ms[0] for round_ in played])

    assert logged_ms.mean() == pytest.approx(np.mean([round_.mean_ms[0] for round_ in played]), rel=0.01)
    assert ratios.std() == pytest.approx(simulated.std(), rel=0.2)
