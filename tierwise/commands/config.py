"""`tierwise config check FILE...`: every mistake of a YAML file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from broker.errors import TierwiseError
from configs.calibration import CalibrationConfig
from configs.demo import DemoConfig, ExperimentConfig
from configs.loader import ConfigError, load
from configs.mosquitto import MosquittoConfig
from configs.node import NodeConfig
from configs.orchestrator import OrchestratorConfig
from configs.scenario import ScenarioConfig
from configs.section import Section

app = typer.Typer(help="Check YAML files.", no_args_is_help=True, add_completion=False)

KINDS: dict[str, type[Section]] = {
    "node": NodeConfig,
    "orchestrator": OrchestratorConfig,
    "broker": MosquittoConfig,
    "demo": DemoConfig,
    "experiment": ExperimentConfig,
    "scenario": ScenarioConfig,
    "calibration": CalibrationConfig,
}
# One key that only files of that kind have, or of a later one; what has none of them is read as a node.
MARKS = {
    "name": "scenario",  # one in which nothing happens has no other key
    "goal": "orchestrator",
    "rounds": "orchestrator",
    "q_learning": "orchestrator",
    "files": "orchestrator",
    "max_packet_bytes": "broker",
    "max_connections": "broker",
    "nodes": "demo",
    "links": "experiment",
    "background": "scenario",
    "own_load": "scenario",
    "events": "scenario",
    "busy": "calibration",
    "noise": "calibration",
    "origin": "calibration",
}


@app.callback()
def about() -> None:
    """Check YAML files."""


@app.command(epilog="Example: tierwise config check device.yaml edge.yaml --kind node")
def check(
    files: Annotated[list[Path], typer.Argument(help="YAML files.")],
    kind: Annotated[str, typer.Option(help=f"{', '.join(KINDS)}; by default taken from the keys of a file.")] = "",
) -> None:
    """Read each file, and list every mistake with its line and column. Exit code 1 if there is one."""
    if kind and kind not in KINDS:
        raise typer.BadParameter(f"one of {', '.join(KINDS)}", param_hint="--kind")
    mistakes = []
    for file in files:
        try:
            load(file, KINDS[kind or _kind_of(file)])
            print(f"{file}: ok")
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise TierwiseError("\n".join(["these files cannot be used", *mistakes]))


def _kind_of(file: Path) -> str:
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return "node"  # the loader says what is wrong with it
    keys = [str(key.value) for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    # Later marks win, because a demo has `rounds` too, and a calibration `links`.
    found = [kind for mark, kind in MARKS.items() if mark in keys]
    return found[-1] if found else "node"
