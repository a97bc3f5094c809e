"""What there is: each network of the manifest beside what the cache holds of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from broker.vocabulary import ModelName
from model_zoo.cache import installed, models_directory
from model_zoo.manifest import Manifest, ModelSpec


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One network, and its file: `state` is `official`, `built` (untrained), `added`, or `missing`.

    `accuracy`: where the percentages come from: `published` (Table 4), `stated` (with `zoo add`), or `measured`.
    """

    name: ModelName
    width: float | None
    mmacs: float
    dtype: str
    input_px: tuple[int, int]
    top1_percent: float | None
    top5_percent: float | None
    accuracy: str | None
    state: str
    trained: bool | None
    bytes: int | None
    sha256: str | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def percent(tenths: int | None) -> float | None:
    """Tenths of a point as a percentage."""
    return None if tenths is None else tenths / 10


def origin_of_accuracy(spec: ModelSpec) -> str | None:
    """Who says how accurate it is; None where nobody does."""
    if spec.top5_tenths is None and spec.top1_tenths is None:
        return None
    return "measured" if spec.measured else "stated" if spec.added else "published"


def list_models(manifest: Manifest, directory: Path | None = None) -> list[ListedModel]:
    """Every network of the manifest. A file that was deleted counts as missing. Raises IndexUnusable."""
    present = {name: file for name, file in installed(directory or models_directory()).items() if file.path.is_file()}
    rows = []
    for name, spec in manifest.models.items():
        file = present.get(name)
        rows.append(
            ListedModel(
                name=name,
                width=spec.width,
                mmacs=spec.mmacs,
                dtype=spec.dtype,
                input_px=spec.input_px,
                top1_percent=percent(spec.top1_tenths),
                top5_percent=percent(spec.top5_tenths),
                accuracy=origin_of_accuracy(spec),
                state="missing" if file is None else file.origin,
                trained=None if file is None else file.trained,
                bytes=None if file is None else file.bytes,
                sha256=None if file is None else file.sha256,
            )
        )
    return rows
