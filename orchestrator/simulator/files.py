"""Finds the files that a simulation is made from: by the name of one that comes along, or by path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TypeVar

from configs.calibration import CalibrationConfig
from configs.demo import ExperimentConfig
from configs.loader import load
from configs.scenario import ScenarioConfig
from configs.section import Section
from orchestrator.errors import SimulationRefused

FOLDERS: dict[type[Section], str] = {
    CalibrationConfig: "calibrations",
    ExperimentConfig: "experiments",
    ScenarioConfig: "scenarios",
}

S = TypeVar("S", bound=Section)


def shipped(schema: type[Section]) -> dict[str, Path]:
    """The files of this kind that come along, by name."""
    folder = resources.files("configs") / FOLDERS[schema]
    return {Path(file.name).stem: Path(str(file)) for file in folder.iterdir() if file.name.endswith(".yaml")}


def find(schema: type[S], name: str | Path) -> S:
    """The calibration, experiment or scenario called `name`. Raises SimulationRefused, ConfigError."""
    known = shipped(schema)
    path = known.get(str(name), Path(name))
    if str(name) not in known and not path.is_file():
        kind = FOLDERS[schema].removesuffix("s")
        raise SimulationRefused(f"no {kind} {str(name)!r}: name one of {', '.join(sorted(known))}, or a YAML file")
    return load(path, schema)
