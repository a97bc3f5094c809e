"""What there is: each network of the manifest beside what the cache holds of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from broker.vocabulary import ModelName
from model_zoo.cache import installed, models_directory
from model_zoo.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One row of Table 4, and the file: `state` is `official`, `built` (untrained), or `missing`."""

    name: ModelName
    width: float
    mmacs: int
    dtype: str
    top1_percent: float
    top5_percent: float
    state: str
    trained: bool | None
    bytes: int | None
    sha256: str | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


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
                top1_percent=spec.top1_tenths / 10,
                top5_percent=spec.top5_tenths / 10,
                state="missing" if file is None else file.origin,
                trained=None if file is None else file.trained,
                bytes=None if file is None else file.bytes,
                sha256=None if file is None else file.sha256,
            )
        )
    return rows
