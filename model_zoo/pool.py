"""The networks of one node: loaded on demand, several copies where several workers run the same one, and evicted,
least recently used first, above a limit of memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.events import event
from broker.vocabulary import ModelName
from model_zoo import memory
from model_zoo.cache import INDEX, InstalledModel, check, installed, models_directory
from model_zoo.errors import (
    IndexUnusable,
    ModelCorrupt,
    ModelMissing,
    ModelUnusable,
    UnknownModel,
    ZooError,
    node_fix,
)
from model_zoo.labels import label_of, labels_of
from model_zoo.local_manifest import site_manifest
from model_zoo.manifest import Manifest, ModelSpec
from model_zoo.photograph import decode
from model_zoo.runtime import Classifier, interpreter_class, runtime_found

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Classified:
    """What a network says about a photograph. `compute_ms`: decoding and inference, and loading if that was needed."""

    label: str
    index: int
    score: float
    trained: bool
    compute_ms: float


@dataclass(eq=False, slots=True)
class _Copy:
    """One loaded network; `cost_mb` is what loading it took."""

    model: InstalledModel
    spec: ModelSpec
    classifier: Classifier
    cost_mb: float
    busy: bool = True
    last_used: int = 0


class ModelPool:
    """Classifies photographs with any of `names`. Safe to call from several threads at once."""

    def __init__(
        self,
        directory: Path | None,
        names: Sequence[ModelName],
        memory_limit_mb: float,
        threads: int = 1,
        manifest: Manifest | None = None,
    ) -> None:
        """`manifest` tells how each takes its pixels; by default the shipped one and the folder's local one.

        Raises ConfigError when the latter cannot be read.
        """
        self.directory = directory or models_directory()
        self.manifest = manifest or site_manifest(directory=self.directory)
        self._names = tuple(names)
        self._limit_mb = memory_limit_mb
        self._threads = threads
        self._copies: list[_Copy] = []
        self._known_cost_mb: dict[str, float] = {}
        self._labels: dict[ModelName, tuple[str, ...]] = {}
        self._uses = 0
        self._present: dict[ModelName, InstalledModel] = {}
        self._index_stamp = (0, 0)
        self._looked_at: dict[ModelName, tuple[tuple[int | str, ...], bool]] = {}
        self._changed = threading.Condition()

    def available(self) -> dict[ModelName, str]:
        """sha256 by name of what is asked for, installed whole, and what the manifest describes.

        Empty without a runtime. A file is read again only when it has changed. Raises IndexUnusable.
        """
        if not runtime_found():
            return {}
        return {
            name: model.sha256
            for name, model in installed(self.directory).items()
            if name in self._names and self._described(model) and self._whole(model)
        }

    def faults(self) -> dict[ModelName, ZooError]:
        """Why a model of the pool cannot be run, by name; none of those that can. Raises IndexUnusable."""
        faults: dict[ModelName, ZooError] = {}
        for name in self._names:
            try:
                if not self._whole(model := self.described(name)):
                    check(model)
                    raise ModelUnusable(model.path, "the runtime refused it before")
            except IndexUnusable:
                raise
            except ZooError as error:
                faults[name] = error
        return faults

    def _whole(self, model: InstalledModel) -> bool:
        """Whether the file is what the index says, and was not refused by the runtime."""
        if (stamp := _stamp(model)) is None:
            return False
        known = self._looked_at.get(model.name)
        if known is None or known[0] != stamp:
            try:
                check(model)
                known = stamp, True
            except ModelCorrupt:
                known = stamp, False
            self._looked_at[model.name] = known
        return known[1]

    def loaded(self) -> dict[ModelName, int]:
        """How many copies of each network are in memory."""
        with self._changed:
            names = [copy.model.name for copy in self._copies]
        return {name: names.count(name) for name in sorted(set(names))}

    def loaded_mb(self) -> float:
        """What the loaded networks cost, by estimate."""
        with self._changed:
            return sum(copy.cost_mb for copy in self._copies)

    def classify(self, model: ModelName, image: bytes) -> Classified:
        """What `model` says about a JPEG or PNG.

        Raises UnknownModel, ModelMissing, ModelCorrupt, BadImage, RuntimeMissing, IndexUnusable.
        """
        started = time.perf_counter()
        with self._borrowed(model) as copy:
            classifier, trained = copy.classifier, copy.model.trained
            index, score = classifier.classify(decode(image, classifier.size_px))
            names = self._names_of_classes(copy.spec)
        label = label_of(index, names, trained=trained)
        return Classified(label, index, score, trained, (time.perf_counter() - started) * 1000)

    def preload(self, model: ModelName) -> None:
        """Load a network before its first photograph. Raises like `classify`."""
        with self._borrowed(model):
            pass

    @contextmanager
    def borrowed(self, model: ModelName) -> Iterator[Classifier]:
        """A loaded network for one's own use, until the block ends. Raises like `classify`."""
        with self._borrowed(model) as copy:
            yield copy.classifier

    def close(self) -> None:
        """Forget every network; what is being used goes when its call ends."""
        with self._changed:
            self._copies.clear()
            self._changed.notify_all()

    @contextmanager
    def _borrowed(self, name: ModelName) -> Iterator[_Copy]:
        copy = self._idle_or_loaded(name)
        try:
            yield copy
        finally:
            with self._changed:
                copy.busy = False
                self._uses += 1
                copy.last_used = self._uses
                self._forget_replaced()
                self._changed.notify_all()

    def _idle_or_loaded(self, name: ModelName) -> _Copy:
        if name not in self._names:
            raise UnknownModel(name, self._names)
        with self._changed:
            while True:
                self._look_for_replaced()
                if (idle := self._idle(name)) is not None:
                    idle.busy = True
                    return idle
                model = self.described(name)
                if self._make_room(model):
                    # Under the lock: loads one at a time, so that each one's growth of memory is its own.
                    return self._loaded(model)
                self._changed.wait()

    def _idle(self, name: ModelName) -> _Copy | None:
        return next((copy for copy in self._copies if copy.model.name == name and not copy.busy), None)

    def _look_for_replaced(self) -> None:
        """Read the index again if it is another file now; a broken or absent one changes nothing that is loaded."""
        try:
            status = (self.directory / INDEX).stat()
            if (stamp := (status.st_ino, status.st_mtime_ns)) == self._index_stamp:
                return
            self._present, self._index_stamp = installed(self.directory), stamp
        except (OSError, IndexUnusable):
            return
        self._forget_replaced()

    def _forget_replaced(self) -> None:
        self._copies = [
            copy for copy in self._copies if copy.busy or copy.model == self._present.get(copy.model.name, copy.model)
        ]

    def described(self, name: ModelName) -> InstalledModel:
        """What is installed under that name, if the manifest is about it; the file itself is not looked at.

        Raises ModelMissing, UnknownModel, ModelCorrupt, IndexUnusable.
        """
        model, spec = installed(self.directory).get(name), self.manifest.models.get(name)
        if model is None:
            raise ModelMissing(name, self.directory, added=spec is None or spec.added)
        if spec is None:
            raise UnknownModel(name, list(self.manifest.models))
        if not self._described(model):
            hint = node_fix(name, added=True)
            raise ModelCorrupt(model.path, str(spec.sha256), model.sha256, model.mend_command, hint)
        return model

    def _described(self, model: InstalledModel) -> bool:
        """Whether the manifest is about this file: another network of that name may want its pixels otherwise."""
        spec = self.manifest.models.get(model.name)
        return spec is not None and not (spec.added and spec.sha256 != model.sha256)

    def _make_room(self, model: InstalledModel) -> bool:
        """Evict until `model` fits; False if that must wait for a busy one. Alone, a model fits always."""
        needed = self._known_cost_mb.get(model.sha256, memory.expected_cost_mb(model.bytes))
        while self._copies and sum(copy.cost_mb for copy in self._copies) + needed > self._limit_mb:
            idle = [copy for copy in self._copies if not copy.busy]
            if not idle:
                return False
            oldest = min(idle, key=lambda copy: copy.last_used)
            self._copies.remove(oldest)
            event(log, logging.INFO, "model_evicted", model=oldest.model.name, freed_mb=oldest.cost_mb)
            del oldest
        return True

    def _loaded(self, model: InstalledModel) -> _Copy:
        started = time.perf_counter()
        check(model)
        interpreter_class()  # the first import of the runtime grows the process too, once
        before_mb = memory.resident_mb()
        spec = self.manifest.models[model.name]
        try:
            classifier = Classifier(model.path, self._threads, spec.preprocessing, spec.output)
        except ModelUnusable:
            if (stamp := _stamp(model)) is not None:
                self._looked_at[model.name] = stamp, False  # not announced again
            raise
        measured_mb = memory.cost_mb(model.bytes, memory.resident_mb() - before_mb)
        # A later load may fill what an evicted network left, without growth: the largest growth seen counts.
        cost_mb = max(measured_mb, self._known_cost_mb.get(model.sha256, 0.0))
        self._known_cost_mb[model.sha256] = cost_mb
        copy = _Copy(model, spec, classifier, cost_mb)
        self._copies.append(copy)
        event(
            log,
            logging.INFO,
            "model_loaded",
            model=model.name,
            load_ms=(time.perf_counter() - started) * 1000,
            cost_mb=cost_mb,
        )
        return copy

    def _names_of_classes(self, spec: ModelSpec) -> tuple[str, ...]:
        if spec.name not in self._labels:
            self._labels[spec.name] = labels_of(self.directory, spec)
        return self._labels[spec.name]


def _stamp(model: InstalledModel) -> tuple[int | str, ...] | None:
    """What changes when the file or its entry in the index does; None where there is no file."""
    try:
        status = model.path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, model.sha256
