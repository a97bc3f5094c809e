"""The networks that somebody needs now: from the cache, else fetched, else built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.vocabulary import ModelName
from model_zoo.build import BuildOptions, build
from model_zoo.cache import InstalledModel, check, installed, models_directory
from model_zoo.errors import FetchFailed, IndexUnusable, ModelCorrupt, Unreachable
from model_zoo.fetch import fetch_labels, fetch_one
from model_zoo.manifest import Manifest, ModelSpec, load_manifest
from model_zoo.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Ensured:
    """Where each network came from; `notes` says in a line each why something was not fetched."""

    cached: tuple[ModelName, ...]
    fetched: tuple[ModelName, ...]
    built: tuple[ModelName, ...]
    untrained: tuple[ModelName, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        parts = [
            f"{', '.join(names)} {what}"
            for names, what in (
                (self.cached, "from the cache"),
                (self.fetched, "fetched"),
                (self.built, "built here"),
            )
            if names
        ]
        weights = "; untrained weights: right for time, no meaning as labels" if self.untrained else ""
        return f"models: {'; '.join(parts)}{weights}"


def ensure(
    names: Sequence[str],
    progress: Progress = silent,
    *,
    photographs: Sequence[Path],
    directory: Path | None = None,
    manifest: Manifest | None = None,
    options: BuildOptions | None = None,
) -> Ensured:
    """Have `names` (all, if empty) in the cache, whole; what is there and whole is left alone.

    Raises BuildFailed, UnknownModel, IndexUnusable. A fetch that fails is no error: then it is built.
    """
    manifest = manifest or load_manifest()
    directory = directory or models_directory()
    specs = manifest.select(names)
    cached = [spec for spec in specs if whole(spec, directory)]
    absent = [spec for spec in specs if spec not in cached]
    fetched, notes = _fetch(manifest, absent, directory, progress)
    missing = [spec.name for spec in absent if spec.name not in fetched]
    if missing:
        build(manifest, photographs, missing, directory, progress, options)
    present = installed(directory)
    return Ensured(
        cached=tuple(spec.name for spec in cached),
        fetched=tuple(fetched),
        built=tuple(missing),
        untrained=tuple(spec.name for spec in specs if not present[spec.name].trained),
        notes=tuple(notes),
    )


def whole(spec: ModelSpec, directory: Path) -> InstalledModel | None:
    """The installed model of that name if its file is what the index says; None otherwise."""
    try:
        model = installed(directory).get(spec.name)
        if model is not None:
            check(model)
    except (ModelCorrupt, IndexUnusable):
        return None
    return model


def _fetch(
    manifest: Manifest, specs: Sequence[ModelSpec], directory: Path, progress: Progress
) -> tuple[list[ModelName], list[str]]:
    """The names that could be fetched, and why others could not. One failure to connect counts for all."""
    fetched: list[ModelName] = []
    notes: list[str] = []
    try:
        for spec in specs:
            try:
                fetch_one(manifest, spec, directory, progress)
                fetched.append(spec.name)
            except Unreachable:
                raise
            except FetchFailed as error:
                notes.append(str(error))
        if fetched:
            fetch_labels(manifest, directory, progress)
    except FetchFailed as error:
        notes.append(str(error))
    return fetched, notes
