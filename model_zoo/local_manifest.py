"""What a site knows of networks beside the shipped manifest: those it added, and accuracies that it measured.

One YAML file beside the models, `local-manifest.yaml`, written by `tierwise zoo add`, `evaluate --write` and `remove`
under a lock, whole or not at all. It is read with the same strictness as every other YAML file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from broker.durable_file import replace_durably
from broker.vocabulary import IMAGENET, ModelName
from configs.loader import load
from configs.section import LabelSetName, Model, Section
from model_zoo.cache import make_directory, models_directory
from model_zoo.errors import IndexUnusable
from model_zoo.fitting import IMAGENET_CLASSES, has_top5
from model_zoo.locking import only_one
from model_zoo.manifest import DType, Manifest, ModelSpec, Percent, Sha256, load_manifest, tenths
from model_zoo.preprocessing import OutputKind, Preprocessing

LOCAL = "local-manifest.yaml"
LARGEST_EDGE_PX = 4096
MOST_CLASSES = 1_000_000
HEADING = """\
# Networks that were added here and accuracies that were measured here; they lie over the manifest that comes with
# Tierwise. Written by `tierwise zoo add`, `evaluate --write` and `remove`. docs/model-zoo.md explains it.
"""

Edge = Field(gt=0, le=LARGEST_EDGE_PX)


class AddedModel(Section):
    """A network that `zoo add` took in. `input_px`: height and width."""

    sha256: Sha256
    dtype: DType
    input_px: tuple[int, int]
    classes: int = Field(gt=1, le=MOST_CLASSES)
    background: bool = Field(description="class 0 stands for none of the others, as in the eight")
    preprocessing: Preprocessing
    output: OutputKind
    mmacs: float = Field(ge=0, description="millions of multiply-accumulates; orders models by cost")
    top1: Percent | None = None
    top5: Percent | None = None
    label_set: LabelSetName | None = Field(
        None, description="the classes that it tells apart; default: by their number"
    )
    labels_sha256: Sha256 | None = Field(None, description="of the names of its classes, in lower case and in order")
    forced: bool = Field(False, description="used although its accuracy is not better than chance")

    @property
    def labels(self) -> int:
        """How many classes it tells apart, the background not counted."""
        return self.classes - self.background

    @model_validator(mode="after")
    def _edges_are_pixels(self) -> AddedModel:
        if not all(0 < edge <= LARGEST_EDGE_PX for edge in self.input_px):
            raise ValueError(f"input_px: height and width must be 1 to {LARGEST_EDGE_PX}")
        return self


class MeasuredModel(Section):
    """What `zoo evaluate --write` found with one file. Intervals: Wilson's, 95 %, in %."""

    sha256: Sha256
    top1: Percent
    top5: Percent | None = Field(None, description="none of fewer than 20 classes")
    top1_interval: tuple[Percent, Percent]
    top5_interval: tuple[Percent, Percent] | None = None
    images: int = Field(gt=0)
    date: date
    forced: bool = Field(False, description="used although it is not better than chance")


class LocalManifest(Section):
    """The file."""

    version: Literal[1] = 1
    models: dict[Model, AddedModel] = Field(default_factory=dict)
    measured: dict[Model, MeasuredModel] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _the_eight_are_not_redefined(self) -> LocalManifest:
        if taken := sorted(set(self.models) & set(load_manifest().models)):
            raise ValueError(f"{', '.join(taken)} come with Tierwise and cannot be added under that name")
        return self


def local_path(directory: Path | None = None) -> Path:
    """Where the local manifest of a folder of models lies; it need not exist."""
    return (directory or models_directory()) / LOCAL


def site_manifest(path: Path | None = None, directory: Path | None = None) -> Manifest:
    """The shipped manifest with the local one over it.

    `path` must be there; without it, the one in `directory` (default: the cache) counts if there is one.
    Raises ConfigError with every mistake.
    """
    shipped = load_manifest()
    if path is None and not local_path(directory).exists():
        return shipped
    return layered(shipped, load((path or local_path(directory)).expanduser(), LocalManifest))


def layered(shipped: Manifest, local: LocalManifest) -> Manifest:
    """Both in one: the shipped models in their order, then the added ones; measured accuracies win."""
    models = {**shipped.models, **{name: spec_of(name, row) for name, row in local.models.items()}}
    for name, found in local.measured.items():
        spec = models.get(name)
        # One that was measured as another file and then replaced is as good as never measured.
        if spec is not None and not (spec.added and spec.sha256 != found.sha256):
            models[name] = replace(
                spec,
                top1_tenths=tenths(found.top1),
                top5_tenths=tenths(found.top5) if has_top5(spec.labels) else None,
                sha256=found.sha256,
                measured=True,
                images=found.images,
                forced=found.forced or spec.forced,
            )
    return replace(shipped, models=models)


def read_local(directory: Path) -> LocalManifest:
    """What the file in `directory` says; empty without one. Raises ConfigError."""
    path = local_path(directory)
    return load(path, LocalManifest) if path.exists() else LocalManifest()


def change_local(directory: Path, change: Callable[[LocalManifest], LocalManifest]) -> Path:
    """Read, change and replace the file, while nobody else does. Raises ConfigError, IndexUnusable."""
    make_directory(directory)
    path = local_path(directory)
    with only_one(directory / f".{LOCAL}.lock"):
        content = change(read_local(directory)).model_dump(mode="json", exclude_none=True)
        text = HEADING + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        try:
            replace_durably(path, lambda file: file.write(text.encode("utf-8")))
        except OSError as error:
            raise IndexUnusable(f"cannot write {path}: {error.strerror}") from error
    return path


def with_model(local: LocalManifest, name: ModelName, model: AddedModel) -> LocalManifest:
    """With one more network, or another one of that name, whose measured accuracies are forgotten."""
    measured = {key: found for key, found in local.measured.items() if key != name}
    return _checked({**local.models, name: model}, measured)


def with_measured(local: LocalManifest, found: dict[ModelName, MeasuredModel]) -> LocalManifest:
    """With measured accuracies."""
    return _checked(local.models, {**local.measured, **found})


def without(local: LocalManifest, name: ModelName, *, measured_only: bool = False) -> LocalManifest:
    """Without what is known of one network, or without what was measured of it."""
    models = {key: model for key, model in local.models.items() if measured_only or key != name}
    return _checked(models, {key: found for key, found in local.measured.items() if key != name})


def _checked(models: dict[ModelName, AddedModel], measured: dict[ModelName, MeasuredModel]) -> LocalManifest:
    return LocalManifest(models=models, measured=measured)


def spec_of(name: ModelName, row: AddedModel) -> ModelSpec:
    """An added network as one of the manifest's."""
    fields: dict[str, Any] = row.model_dump(exclude={"top1", "top5", "label_set", "labels_sha256"})
    return ModelSpec(
        name=name,
        top1_tenths=tenths(row.top1),
        top5_tenths=tenths(row.top5) if has_top5(row.labels) else None,
        added=True,
        # Before label sets were stated, networks were of ImageNet's classes: their number shows it.
        label_set=row.label_set or (IMAGENET if row.labels == IMAGENET_CLASSES else None),
        **fields,
    )
