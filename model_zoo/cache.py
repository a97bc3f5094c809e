"""Where the model files lie, and the index beside them that says what each one is.

`index.json` is replaced atomically and under a lock, so that two programs may add models at the same time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from broker.durable_file import replace_durably
from broker.vocabulary import ModelName
from configs.section import Model, Section
from model_zoo.errors import IndexUnusable, ModelCorrupt, node_fix
from model_zoo.locking import only_one

INDEX = "index.json"
LABELS = "labels.txt"
LARGEST_INDEX_BYTES = 1_000_000

Origin = Literal["official", "built", "added"]


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model file as the index knows it. Untrained weights are right for time and meaningless as labels."""

    name: ModelName
    path: Path
    sha256: str
    bytes: int
    trained: bool
    origin: Origin

    @property
    def mend_command(self) -> str:
        """What a person types to get the file anew."""
        if self.origin == "added":
            return f"tierwise zoo add FILE.tflite --name {self.name} --replace"
        verb = "fetch" if self.origin == "official" else "build"
        return f"tierwise zoo {verb} --force {self.name}"

    def corrupt(self, found: str) -> ModelCorrupt:
        """The error for a file of which `found` is said in place of the index's sha256."""
        hint = node_fix(self.name, added=self.origin == "added")
        return ModelCorrupt(self.path, self.sha256, found, self.mend_command, hint)


class _Entry(Section):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    trained: bool
    origin: Origin


class _Index(Section):
    version: Literal[1] = 1
    models: dict[Model, _Entry] = Field(default_factory=dict)


def cache_root() -> Path:
    """$TIERWISE_CACHE, else $XDG_CACHE_HOME/tierwise, else ~/.cache/tierwise."""
    if own := os.environ.get("TIERWISE_CACHE"):
        return Path(own).expanduser()
    if everyones := os.environ.get("XDG_CACHE_HOME"):
        return Path(everyones).expanduser() / "tierwise"
    return Path("~/.cache/tierwise").expanduser()


def models_directory() -> Path:
    """The folder of model files in the cache; it need not exist yet."""
    return cache_root() / "models"


def model_path(directory: Path, name: ModelName) -> Path:
    """Where the file of a model lies."""
    return directory / f"{name}.tflite"


def installed(directory: Path) -> dict[ModelName, InstalledModel]:
    """What the index says is there, by name in alphabetical order; empty without one. Raises IndexUnusable."""
    return {
        name: InstalledModel(name, model_path(directory, name), entry.sha256, entry.bytes, entry.trained, entry.origin)
        for name, entry in sorted(_read(directory).models.items())
    }


def install(directory: Path, name: ModelName, file: Path, *, trained: bool, origin: Origin) -> InstalledModel:
    """Move `file` (on the same file system) into place and enter it. Raises IndexUnusable."""
    entry = _Entry(sha256=sha256_of(file), bytes=file.stat().st_size, trained=trained, origin=origin)
    with _locked(directory):
        index = _read(directory, forgiving=True)
        try:
            # The index changes first: a crash in between leaves a file that does not match, which is noticed,
            # never an old entry that vouches for a new file's origin.
            _write(directory, _Index(models={**index.models, name: entry}))
            os.replace(file, model_path(directory, name))
        except OSError as error:
            raise IndexUnusable(f"cannot write to {directory}: {error.strerror}") from error
    return InstalledModel(name, model_path(directory, name), entry.sha256, entry.bytes, trained, origin)


def uninstall(directory: Path, name: ModelName) -> bool:
    """Take a model and its file out; False if it was not there. Raises IndexUnusable."""
    with _locked(directory):
        index = _read(directory)
        try:
            if name in index.models:
                _write(directory, _Index(models={key: entry for key, entry in index.models.items() if key != name}))
            model_path(directory, name).unlink(missing_ok=True)
        except OSError as error:
            raise IndexUnusable(f"cannot write to {directory}: {error.strerror}") from error
        return name in index.models


def check(model: InstalledModel) -> None:
    """Compare the file with the index. Raises ModelCorrupt, which names both sums."""
    try:
        found = sha256_of(model.path)
    except OSError as error:
        raise model.corrupt(f"no file ({error.strerror})") from error
    if found != model.sha256:
        raise model.corrupt(found)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's content. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directory(directory: Path) -> None:
    """Create the folder of models. Raises IndexUnusable."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexUnusable(f"cannot create {directory}: {error.strerror}") from error


def _read(directory: Path, *, forgiving: bool = False) -> _Index:
    path = directory / INDEX
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_INDEX_BYTES + 1)
        return _Index.model_validate_json(text)
    except FileNotFoundError:
        return _Index()
    except OSError as error:
        raise IndexUnusable(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        if forgiving:
            return _Index()
        first = error.errors(include_url=False)[0]
        raise IndexUnusable(
            f"{path} is not an index of models ({first['msg'].lower()})",
            "mend it with: tierwise zoo fetch --force (offline: tierwise zoo build --force)",
            "delete it, and get the models with: tierwise-agent models fetch",
        ) from error


def _write(directory: Path, index: _Index) -> None:
    replace_durably(directory / INDEX, lambda file: file.write(index.model_dump_json(indent=1).encode()))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    make_directory(directory)
    with only_one(directory / f".{INDEX}.lock"):
        yield
