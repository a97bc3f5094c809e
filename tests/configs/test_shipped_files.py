"""The YAML files that come with Tierwise are valid, and say what they claim to say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from broker.vocabulary import Tier
from configs.calibration import CalibrationConfig
from configs.demo import DemoConfig, ExperimentConfig
from configs.loader import load
from configs.mosquitto import MosquittoConfig
from configs.node import NodeConfig, RequesterMode
from configs.orchestrator import OrchestratorConfig
from configs.scenario import ScenarioConfig
from configs.section import Section
from configs.site import SiteConfig

CONFIGS = Path(__file__).parents[2] / "configs"
SCHEMAS: dict[str, type[Section]] = {
    "device.yaml": NodeConfig,
    "edge.yaml": NodeConfig,
    "cloud.yaml": NodeConfig,
    "orchestrator.yaml": OrchestratorConfig,
    "broker.yaml": MosquittoConfig,
    "site.yaml": SiteConfig,
    "demo.yaml": DemoConfig,
    **{f"experiments/exp-{letter}.yaml": ExperimentConfig for letter in "abcd"},
    "calibrations/a1-paper.yaml": CalibrationConfig,
    **{f"scenarios/{name}.yaml": ScenarioConfig for name in ("still", "visited")},
}


def test_every_shipped_file_is_listed_here() -> None:
    """A file that is added without a schema would not be checked."""
    found = {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}

    assert set(SCHEMAS) == found


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_shipped_file_is_valid(name: str) -> None:
    """It loads without a problem."""
    assert 1 == load(CONFIGS / name, SCHEMAS[name]).model_dump()["version"]


def test_the_device_file_shows_the_defaults() -> None:
    """What device.yaml shows is what leaving it out would give, but for the requester's mode, as its comment says."""
    shown = load(CONFIGS / "device.yaml", NodeConfig)
    bare = NodeConfig(version=1, site=shown.site, node=shown.node, tier=Tier.END)
    requester = shown.requester.model_copy(update={"mode": RequesterMode.NONE})

    assert bare == shown.model_copy(update={"requester": requester})


def test_the_orchestrator_file_shows_the_defaults() -> None:
    """What it shows is what leaving it out would give, but for the serving nodes: those of the other files."""
    shown = load(CONFIGS / "orchestrator.yaml", OrchestratorConfig)
    serving = {tier: (load(CONFIGS / f"{tier}.yaml", NodeConfig).node,) for tier in ("edge", "cloud")}

    assert serving == shown.serving_nodes
    assert OrchestratorConfig(version=1, site=shown.site) == shown.model_copy(update={"serving_nodes": None})


def test_the_broker_file_shows_the_defaults() -> None:
    """What broker.yaml shows is what leaving it out would give."""
    assert MosquittoConfig(version=1) == load(CONFIGS / "broker.yaml", MosquittoConfig)


@pytest.mark.parametrize(("tier", "expected_ms"), [(Tier.END, 459.0), (Tier.EDGE, 1140.0), (Tier.CLOUD, 665.0)])
def test_the_demo_emulates_the_fixed_strategies_of_section_6_1_1(tier: Tier, expected_ms: float) -> None:
    """Five users on edge and cloud, one on each device: reference x (1 + c (n - 1)) is the paper's figure."""
    emulated = load(CONFIGS / "demo.yaml", DemoConfig).emulate[tier]
    users = 1 if tier is Tier.END else 5

    assert expected_ms == pytest.approx(
        emulated.reference_ms["d0"] * (1 + emulated.contention * (users - 1)), rel=0.002
    )


@pytest.mark.parametrize("letter", "abcd")
def test_an_experiment_has_the_links_of_table_5(letter: str) -> None:
    """Weak links per experiment, as the published table lists them."""
    weak = {"a": "", "b": "s2 s4 edge", "c": "s1 s2 s3", "d": "s1 s2 s3 s4 s5 edge"}[letter].split()
    links = yaml.safe_load((CONFIGS / "experiments" / f"exp-{letter}.yaml").read_text(encoding="utf-8"))["links"]

    assert dict.fromkeys(weak, "weak") == links
