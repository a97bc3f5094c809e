"""What the eight networks are: Table 4 and the official archives, read from `manifest.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from broker.vocabulary import ModelName
from configs.loader import load
from configs.section import Model, Section
from model_zoo.errors import UnknownModel

SHIPPED = Path(__file__).with_name("manifest.yaml")

DType = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of Table 4. Accuracies in integer tenths of a percent, so that averages can be compared exactly."""

    name: ModelName
    width: float
    mmacs: int
    dtype: DType
    top1_tenths: int
    top5_tenths: int
    archive: str
    archive_sha256: str
    tflite_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """All networks, in the order of the file, and what holds for each of them."""

    models: Mapping[ModelName, ModelSpec]
    input_px: int
    classes: int
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
        models={name: _spec(name, row, file.base) for name, row in file.models.items()},
        input_px=file.input_px,
        classes=file.classes,
        mmacs_tolerance_percent=file.mmacs_tolerance_percent,
        largest_archive_bytes=file.largest_archive_bytes,
        largest_model_bytes=file.largest_model_bytes,
        labels_url=file.base + file.labels.file,
        labels_lines=file.labels.lines,
    )


def _spec(name: ModelName, row: _Row, base: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        width=row.width,
        mmacs=row.mmacs,
        dtype=row.dtype,
        top1_tenths=round(row.top1 * 10),
        top5_tenths=round(row.top5 * 10),
        archive=base + row.archive,
        archive_sha256=row.archive_sha256,
        tflite_sha256=row.tflite_sha256,
    )
