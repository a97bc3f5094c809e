"""The kinds of files, and how a file is recognised as one of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

import yaml

from configs.section import Section
from configs.syntax import Composed, compose

# By name: where its schema is. Imported when needed: not every process reads every kind.
_SCHEMAS: Mapping[str, tuple[str, str]] = {
    "node": ("configs.node", "NodeConfig"),
    "orchestrator": ("configs.orchestrator", "OrchestratorConfig"),
    "broker": ("configs.mosquitto", "MosquittoConfig"),
    "site": ("configs.site", "SiteConfig"),
    "demo": ("configs.demo", "DemoConfig"),
    "experiment": ("configs.demo", "ExperimentConfig"),
    "scenario": ("configs.scenario", "ScenarioConfig"),
    "calibration": ("configs.calibration", "CalibrationConfig"),
}
KINDS = tuple(_SCHEMAS)
# Words that people use for one of them.
ALSO = {"device": "node", "edge": "node", "cloud": "node"}
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
    "hosts": "site",  # it has `nodes` too
    "links": "experiment",
    "background": "scenario",
    "own_load": "scenario",
    "events": "scenario",
    "busy": "calibration",
    "noise": "calibration",
    "origin": "calibration",
}

FOREIGN_KEYS = 2  # so many that only another kind knows, and the file is of that kind, not one with a wrong key


def schema_of(kind: str) -> type[Section]:
    """The schema of one of KINDS, or of one that is ALSO said."""
    module, name = _SCHEMAS[ALSO.get(kind, kind)]
    return cast(type[Section], getattr(import_module(module), name))


def mistaken_for(tree: Composed, text: str, schema: type[Section]) -> str:
    """What kind of file `text` is instead of one of `schema`: another, whose keys it has. Empty where it is none."""
    kind = kind_of(text)
    other = schema_of(kind)
    if other is schema or not isinstance(tree.root, yaml.MappingNode):
        return ""
    keys = {str(key.value) for key, _ in tree.root.value} - schema.model_fields.keys()
    return kind if len(keys & other.model_fields.keys()) >= FOREIGN_KEYS else ""


def name_of(schema: type[Section]) -> str:
    """As one of KINDS; empty for a schema that is none of them."""
    place = (schema.__module__, schema.__name__)
    return next((kind for kind, found in _SCHEMAS.items() if found == place), "")


def kind_of(text: str) -> str:
    """What kind of file `text` is, by the schema that its first line names, else by its keys."""
    first = text.partition("\n")[0]
    named = [kind for kind in KINDS if first.startswith("# yaml-language-server:") and f"/{kind}.schema.json" in first]
    if named:
        return named[0]
    try:
        root = compose(text).root
    except RecursionError:
        return "node"  # the loader says what is wrong with it
    keys = {str(key.value): value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if "node" in keys and "tier" in keys:
        return "node"
    # Later marks win, because a demo has `rounds` too, and a calibration `links`.
    found = [kind for mark, kind in MARKS.items() if mark in keys]
    return found[-1] if found else "node"
