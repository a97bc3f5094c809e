"""The file of a calibration: every coefficient is positive, known, and of a known origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.calibration import CalibrationConfig, NoiseDistribution
from configs.loader import ConfigError, load, loads

CALIBRATIONS = sorted((Path(__file__).parents[2] / "configs" / "calibrations").glob("*.yaml"))
GOOD = """\
version: 1
name: small
models: {d0: 400, d7: 60.5}
edge: {vcpus: 2, compute_ms: {d0: 300}, contention: 1}
cloud:
  vcpus: 4
  compute_ms: {d0: 200}
  contention: 0
links:
  regular: {ask_ms: 1, image_ms: 20}
  weak: {ask_ms: 80, image_ms: 20}
  edge_weak: {ask_ms: 4, image_ms: 10}
origin:
  models: measured
  edge: measured
  cloud: measured
  links: measured
  busy: assumed
  noise: assumed
  deadline_ms: assumed
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, CalibrationConfig, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_what_a_file_leaves_out_has_its_default() -> None:
    """All devices alike, nobody slower when busy, 3 % of lognormal noise, a deadline of five seconds."""
    settings = loads(GOOD, CalibrationConfig, "c.yaml")

    assert ({}, 1.0, 5000.0) == (settings.speeds, settings.busy.end, settings.deadline_ms)
    assert (NoiseDistribution.LOGNORMAL, 3.0) == (settings.noise.distribution, settings.noise.sd_percent)


def test_a_coefficient_has_its_own_origin_or_that_of_what_it_is_part_of() -> None:
    """The longest path counts."""
    text = GOOD + '  models.d7: guessed\n  links.weak: "a weak one"\n'
    origin_of = loads(text, CalibrationConfig, "c.yaml").origin_of

    assert ["measured", "guessed"] == [origin_of("models.d0"), origin_of("models.d7")]
    assert ["measured", "a weak one"] == [origin_of("links.regular.ask_ms"), origin_of("links.weak.image_ms")]
    assert origin_of("speeds.s1") is None


def test_coefficients_are_all_numbers_and_the_noises_name() -> None:
    """Version, name and origin are none."""
    assert [
        "models.d0", "models.d7", "edge.vcpus", "edge.compute_ms.d0", "edge.contention", "cloud.vcpus",
        "cloud.compute_ms.d0", "cloud.contention", "links.regular.ask_ms", "links.regular.image_ms",
        "links.weak.ask_ms", "links.weak.image_ms", "links.edge_weak.ask_ms", "links.edge_weak.image_ms", "busy.end",
        "busy.edge", "busy.cloud", "noise.distribution", "noise.sd_percent", "deadline_ms",
    ] == loads(GOOD, CalibrationConfig, "c.yaml").coefficients()  # fmt: skip


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("  busy: assumed\n", "origin: lacks busy.end, busy.edge, busy.cloud"),
        ("  deadline_ms: assumed\n", "origin: lacks deadline_ms"),
        ("  models: measured\n", "origin: lacks models.d0, models.d7"),
    ],
)
def test_a_coefficient_without_an_origin_is_refused(lacking: str, told: str) -> None:
    """Also where the file leaves it at its default; all that lack one are named."""
    assert [f"c.yaml:13:1 {told}"] == problems_of(GOOD.replace(lacking, ""))


def test_an_empty_origin_is_none() -> None:
    """Nor does it stand for what is below it."""
    assert ["c.yaml:13:1 origin: lacks models.d7"] == problems_of(GOOD + '  models.d7: ""\n')
    assert ["c.yaml:13:1 origin: lacks speeds.s1"] == problems_of(GOOD + "speeds: {s1: 2}\n")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("d7: 60.5", "d7: -1", "c.yaml:3:23 models.d7: must be a number above 0 and up to 86400000, not -1"),
        ("d7: 60.5", "d7: 0", "c.yaml:3:23 models.d7: must be a number above 0 and up to 86400000, not 0"),
        ("d7: 60.5", "d7: .nan", "c.yaml:3:23 models.d7: must be a number above 0 and up to 86400000, not .nan"),
        ("d7: 60.5", "D7: 60.5", "c.yaml:3:19 models.D7: 'D7' is not a model name"),
        ("{d0: 400, d7: 60.5}", "{}", "c.yaml:3:9 models: "),
        (
            "contention: 0",
            "contention: -0.1",
            "c.yaml:8:15 cloud.contention: must be a number from 0 to 1000, not -0.1",
        ),
        ("vcpus: 4", "vcpus: 0", "c.yaml:6:10 cloud.vcpus: must be a whole number from 1 to 16384, not 0"),
        ("vcpus: 4", "vcpu: 4", "c.yaml:6:3 cloud.vcpu: is not a known key, did you mean vcpus?"),
        (
            "weak: {ask_ms: 80",
            "weak: {ask_ms: -80",
            "c.yaml:11:18 links.weak.ask_ms: must be a number of milliseconds from 0 to 86400000, not -80",
        ),
        ("  edge_weak: {ask_ms: 4, image_ms: 10}\n", "", "c.yaml:9:1 links.edge_weak: is required"),
        ("name: small", "name: ''", "c.yaml:2:7 name: "),
        (
            "origin:",
            "busy: {end: 0.5}\norigin:",
            "c.yaml:13:13 busy.end: must be a number from 1 to 100, not 0.5 (default 1)",
        ),
        (
            "origin:",
            "noise: {distribution: gaussian}\norigin:",
            "c.yaml:13:23 noise.distribution: must be none, normal, lognormal or student_t, not 'gaussian'",
        ),
        (
            "origin:",
            "noise: {sd_percent: 101}\norigin:",
            "c.yaml:13:21 noise.sd_percent: must be a number in % from 0 to 100, not 101",
        ),
        ("origin:", "speeds: {s1: 0}\norigin:", "c.yaml:13:14 speeds.s1: must be a number above 0"),
        ("origin:", "speeds: {S1: 1}\norigin:", "c.yaml:13:10 speeds.S1: 'S1' is not a node id"),
        ("contention: 0", "shape: concave", "c.yaml:8:10 cloud.shape: must be linear, convex, kinked"),
        ("contention: 0", "queue: lifo", "c.yaml:8:10 cloud.queue: must be shared or fifo"),
        ("contention: 0", "exponent: 0.9", "c.yaml:8:13 cloud.exponent: must be a number from 1 to 10, not 0.9"),
        ("contention: 0", "half_at: 0", "c.yaml:8:12 cloud.half_at: must be a number above 0 and up to 1000"),
        ("contention: 0", "steepness: -1", "c.yaml:8:14 cloud.steepness: must be a number from 0 to 1000"),
        (
            "origin:",
            "noise: {outlier_percent: 101}\norigin:",
            "c.yaml:13:26 noise.outlier_percent: must be a number in % from 0 to 100",
        ),
        (
            "origin:",
            "speed_spread: {slowest: 3, fastest: 2}\norigin:",
            "c.yaml:13:25 speed_spread.slowest: is 3, above fastest, 2",
        ),
        (
            "origin:",
            "interactions: {seed: -1}\norigin:",
            "c.yaml:13:22 interactions.seed: must be a whole number from 0 to",
        ),
        ("origin:", "latency: 3\norigin:", "c.yaml:13:1 latency: is not a known key"),
        ("version: 1", "version: 2", "c.yaml:1:10 version: is 2, and this Tierwise knows versions up to 1"),
    ],
)
def test_a_mistake_has_its_line_and_column(old: str, new: str, problem: str) -> None:
    """Negative, unknown, missing or nonsense coefficients."""
    found = problems_of(GOOD.replace(old, new))

    assert any(told.startswith(problem) for told in found), found


def test_all_mistakes_are_told_at_once() -> None:
    """In the order of the file."""
    text = GOOD.replace("d0: 400", "d0: -400").replace("vcpus: 4", "vcpus: four").replace("ask_ms: 1,", "ask: 1,")

    assert [3, 6, 10, 10] == [int(problem.split(":")[1]) for problem in problems_of(text)]


UNUSED = """\
speed_spread: {slowest: 1, fastest: 1.0}
interactions: {sd_percent: 0}
noise: {outlier_percent: 0.0, outlier_factor: 5}
"""


def test_what_came_later_is_written_only_where_it_is_used() -> None:
    """Naming its defaults changes neither what is written nor what needs an origin, so hashes of it stay the same."""
    text = GOOD.replace("contention: 1}", "contention: 1, queue: shared, shape: linear, exponent: 1.7}") + UNUSED
    named, plain = loads(text, CalibrationConfig, "c.yaml"), loads(GOOD, CalibrationConfig, "c.yaml")

    assert plain == named
    assert plain.model_dump_json() == named.model_dump_json()
    assert {"vcpus", "compute_ms", "contention"} == set(named.model_dump()["edge"])
    assert {"distribution", "sd_percent"} == set(named.model_dump()["noise"])
    assert not {"speed_spread", "interactions"} & set(named.model_dump())


USED = """\
speed_spread: {fastest: 8, seed: 4}
interactions: {sd_percent: 25}
noise: {outlier_percent: 1}
"""
USED_ORIGIN = "  speed_spread: assumed\n  interactions: assumed\n"


def test_what_came_later_is_a_coefficient_where_it_is_used() -> None:
    """It is written, read again as the same, and needs an origin."""
    used = (
        GOOD.replace("contention: 1}", "contention: 1, queue: fifo, shape: kinked, steepness: 2}") + USED_ORIGIN + USED
    )
    calibration = loads(used, CalibrationConfig, "c.yaml")
    later = {
        "edge.queue", "edge.shape", "edge.steepness", "speed_spread.slowest", "speed_spread.fastest",
        "speed_spread.seed", "interactions.sd_percent", "interactions.seed", "noise.outlier_percent",
    }  # fmt: skip

    assert later == set(calibration.coefficients()) - set(loads(GOOD, CalibrationConfig, "c.yaml").coefficients())
    assert calibration == loads(yaml.safe_dump(calibration.model_dump(mode="json")), CalibrationConfig, "again.yaml")
    assert ["c.yaml:13:1 origin: lacks interactions.sd_percent, interactions.seed"] == problems_of(
        used.replace("  interactions: assumed\n", "")
    )


@pytest.mark.parametrize("path", CALIBRATIONS, ids=lambda path: path.stem)
def test_every_coefficient_of_a_shipped_calibration_tells_its_origin(path: Path) -> None:
    """In the file itself, so that nobody has to search for it."""
    calibration = load(path, CalibrationConfig)

    assert all(calibration.origin_of(coefficient) for coefficient in calibration.coefficients())
    assert path.stem == calibration.name


@pytest.mark.parametrize("path", CALIBRATIONS, ids=lambda path: path.stem)
def test_what_is_written_is_read_again(path: Path) -> None:
    """A calibration that was dumped as YAML is the same one."""
    calibration = load(path, CalibrationConfig)
    text: Any = yaml.safe_dump(calibration.model_dump(mode="json"))

    assert calibration == loads(text, CalibrationConfig, "again.yaml")
