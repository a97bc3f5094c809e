"""What the networks are: Table 4 and the official archives, read from `manifest.yaml`.

What a site added and measured itself lies over it: `model_zoo.local_manifest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from broker.vocabulary import Metric, ModelName
from configs.loader import load
from configs.section import LabelSetName, Model, Section
from model_zoo.errors import UnknownModel
from model_zoo.preprocessing import OutputKind, Preprocessing

SHIPPED = Path(__file__).with_name("manifest.yaml")

DType = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network: a row of Table 4, or one that was added here.

    Accuracies are in integer tenths of a percent, so that averages can be compared exactly; None where nobody knows.
    `input_px`: height and width. `background`: class 0 stands for none of the others. `width`, `archive` and
    `archive_sha256` are those of the official MobileNets. `sha256`: the one file that accuracies and preprocessing of
    an added or measured network are about; None where any file of that name counts. `label_set`: which classes it tells
    apart, None if that was never stated. `images`: on how many photographs a measured accuracy rests. `forced`: taken
    although it is not better than chance.
    """

    name: ModelName
    mmacs: float
    dtype: DType
    top1_tenths: int | None
    top5_tenths: int | None
    input_px: tuple[int, int]
    classes: int
    background: bool
    preprocessing: Preprocessing = Preprocessing.MINUS1_TO_1
    output: OutputKind = OutputKind.PROBABILITIES
    width: float | None = None
    archive: str | None = None
    archive_sha256: str | None = None
    tflite_sha256: str | None = None
    sha256: str | None = None
    added: bool = False
    measured: bool = False
    label_set: str | None = None
    images: int | None = None
    forced: bool = False

    @property
    def labels(self) -> int:
        """How many classes it tells apart, the background not counted."""
        return self.classes - self.background

    def accuracy_tenths(self, metric: Metric) -> int | None:
        """Its accuracy in tenths of a percent; None where nobody knows, and Top-5 of too few classes."""
        return self.top1_tenths if metric is Metric.TOP1 else self.top5_tenths


@dataclass(frozen=True, slots=True)
class Manifest:
    """All networks, in the order of the file, and what holds for each of them."""

    models: Mapping[ModelName, ModelSpec]
    mmacs_tolerance_percent: float
    largest_archive_bytes: int
    largest_model_bytes: int
    labels_url: str
    labels_lines: int

    def select(self, names: Sequence[str] = ()) -> list[ModelSpec]:
        """The specs of `names`, or of all. Raises UnknownModel."""
        for name in names:
            if name not in self.models:
                raise UnknownModel(name, list(self.models))
        return [spec for name, spec in self.models.items() if not names or name in names]


def _one_decimal(percent: float) -> float:
    if abs(percent * 10 - round(percent * 10)) > 1e-9:
        raise ValueError("must have at most one decimal: accuracies are counted in tenths of a point")
    return percent


Percent = Annotated[float, Field(ge=0, le=100), AfterValidator(_one_decimal)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativeUrl = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$")]


class _Row(Section):
    width: float = Field(gt=0, le=2)
    mmacs: int = Field(gt=0)
    dtype: DType
    top1: Percent
    top5: Percent
    archive: RelativeUrl
    archive_sha256: Sha256
    tflite_sha256: Sha256 | None = None


class _Labels(Section):
    file: RelativeUrl
    lines: int = Field(gt=0)


class _File(Section):
    version: Literal[1]
    input_px: int = Field(gt=0, le=4096)
    classes: int = Field(gt=1)
    label_set: LabelSetName
    mmacs_tolerance_percent: float = Field(gt=0)
    largest_archive_bytes: int = Field(gt=0)
    largest_model_bytes: int = Field(gt=0)
    base: str = Field(pattern=r"^https?://\S+/$")
    labels: _Labels
    models: dict[Model, _Row] = Field(min_length=1)


def load_manifest(path: Path | None = None) -> Manifest:
    """The manifest in `path`, or the one that comes with Tierwise. Raises ConfigError."""
    file = load(path or SHIPPED, _File)
    return Manifest(
        models={name: _spec(name, row, file) for name, row in file.models.items()},
        mmacs_tolerance_percent=file.mmacs_tolerance_percent,
        largest_archive_bytes=file.largest_archive_bytes,
        largest_model_bytes=file.largest_model_bytes,
        labels_url=file.base + file.labels.file,
        labels_lines=file.labels.lines,
    )


def tenths(percent: float | None) -> int | None:
    """A percentage in tenths of a point."""
    return None if percent is None else round(percent * 10)


def _spec(name: ModelName, row: _Row, file: _File) -> ModelSpec:
    return ModelSpec(
        name=name,
        mmacs=row.mmacs,
        dtype=row.dtype,
        top1_tenths=tenths(row.top1),
        top5_tenths=tenths(row.top5),
        input_px=(file.input_px, file.input_px),
        classes=file.classes,
        background=True,
        width=row.width,
        archive=file.base + row.archive,
        archive_sha256=row.archive_sha256,
        tflite_sha256=row.tflite_sha256,
        label_set=file.label_set,
    )
