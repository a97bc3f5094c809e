"""Whether the files in the cache are the networks of Table 4: sum, graph, MACs, and whether a runtime runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from broker.vocabulary import ModelName
from model_zoo.cache import InstalledModel, check, installed, models_directory
from model_zoo.errors import ModelCorrupt, ModelMissing, ModelUnusable
from model_zoo.graph import Graph, NotAGraph, Tensor, read_graph
from model_zoo.manifest import Manifest, ModelSpec
from model_zoo.runtime import Classifier

WEIGHT_TYPES = {
    "fp32": {"float32"},
    "int8": {"int8", "uint8"},
}  # the archives of 2018 count from 0, newer ones around it


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """What was found for one model; `problems` is empty if it is right. `expected_mmacs`: the manifest's."""

    name: ModelName
    problems: tuple[str, ...]
    path: Path | None = None
    origin: str | None = None
    trained: bool | None = None
    sha256: str | None = None
    input: str | None = None
    output: str | None = None
    mmacs: float | None = None
    expected_mmacs: float | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"ok": self.ok, **asdict(self), "path": None if self.path is None else str(self.path)}


def verify(manifest: Manifest, names: Sequence[str] = (), directory: Path | None = None) -> list[VerifiedModel]:
    """One row per model of `names` (default: all). Raises UnknownModel, IndexUnusable, RuntimeMissing."""
    directory = directory or models_directory()
    present = installed(directory)
    return [_verify_one(manifest, spec, present.get(spec.name), directory) for spec in manifest.select(names)]


def _verify_one(manifest: Manifest, spec: ModelSpec, model: InstalledModel | None, directory: Path) -> VerifiedModel:
    if model is None:
        return VerifiedModel(spec.name, (str(ModelMissing(spec.name, directory, added=spec.added)),))
    problems: list[str] = []
    graph: Graph | None = None
    try:
        check(model)
        graph = read_graph(model.path)
        problems += _graph_problems(manifest, spec, graph)
        problems += _run_problems(spec, model.path)
    except NotAGraph as error:
        problems.append(f"{model.path} is no TensorFlow Lite graph: {error}")
    except (ModelCorrupt, ModelUnusable) as error:
        problems.append(str(error))
    return VerifiedModel(
        name=spec.name,
        problems=tuple(problems),
        path=model.path,
        origin=model.origin,
        trained=model.trained,
        sha256=model.sha256,
        input=None if graph is None else _shown(graph, graph.inputs),
        output=None if graph is None else _shown(graph, graph.outputs),
        mmacs=None if graph is None else _mmacs(graph),
        expected_mmacs=spec.mmacs,
    )


def _graph_problems(manifest: Manifest, spec: ModelSpec, graph: Graph) -> list[str]:
    problems = []
    inputs, outputs = _tensors(graph, graph.inputs), _tensors(graph, graph.outputs)
    expected = (1, *spec.input_px, 3)
    if [tensor.shape for tensor in inputs] != [expected]:
        problems.append(f"the input is {_shown(graph, graph.inputs)}; one of {_edges(expected)} was expected")
    if [prod(tensor.shape) for tensor in outputs] != [spec.classes]:
        problems.append(f"the output is {_shown(graph, graph.outputs)}; one of 1x{spec.classes} was expected")
    types = {tensor.type for tensor in inputs} | graph.weight_types()
    if not spec.added and not types <= WEIGHT_TYPES[spec.dtype]:
        problems.append(f"its input and weights are {', '.join(sorted(types))}; {spec.dtype} was expected")
    mmacs = graph.macs() / 1e6
    off_percent = 0.0 if mmacs == spec.mmacs else abs(mmacs / max(spec.mmacs, 1e-6) - 1) * 100
    if off_percent > manifest.mmacs_tolerance_percent and not spec.added:  # added ones were counted, or told, there
        problems.append(f"it takes {mmacs:.1f} million MACs; {spec.mmacs} were expected ({off_percent:.1f} % off)")
    return problems


def _run_problems(spec: ModelSpec, path: Path) -> list[str]:
    """Run it once on a grey image: what a runtime accepts may still not run."""
    import numpy as np

    classifier = Classifier(path, 1, spec.preprocessing, spec.output)
    if classifier.size_px != spec.input_px:
        return []  # said already
    try:
        index, _ = classifier.classify(np.full((*spec.input_px, 3), 128, dtype=np.uint8))
    except (ValueError, RuntimeError) as error:
        return [f"{path} cannot be run: {str(error).splitlines()[0]}"]
    return [] if 0 <= index < spec.classes else [f"it answered class {index} of {spec.classes}"]


def _tensors(graph: Graph, indices: Sequence[int]) -> list[Tensor]:
    if any(not 0 <= index < len(graph.tensors) for index in indices):
        raise NotAGraph("an input or output names a tensor that is not there")
    return [graph.tensors[index] for index in indices]


def _mmacs(graph: Graph) -> float | None:
    try:
        return round(graph.macs() / 1e6, 1)
    except NotAGraph:
        return None


def _shown(graph: Graph, indices: Sequence[int]) -> str:
    known = [graph.tensors[index] for index in indices if 0 <= index < len(graph.tensors)]
    return ", ".join(f"{_edges(tensor.shape)} {tensor.type}" for tensor in known) or "nothing"


def _edges(shape: Sequence[int]) -> str:
    return "x".join(str(edge) for edge in shape)
