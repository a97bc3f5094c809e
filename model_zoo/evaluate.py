"""How often networks are right on photographs whose classes are known: Top-1 and Top-5, with how sure that is.

The photographs go through what a node does with them: decoded, squeezed to the network's size without cutting
anything off, and prepared as its manifest says.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from broker.vocabulary import IMAGENET, Metric, ModelName
from model_zoo.cache import InstalledModel, check, installed
from model_zoo.errors import BadImage, CannotEvaluate, ModelMissing
from model_zoo.fitting import (
    IMAGENET_CLASSES,
    SAID,
    SIGNIFICANCE,
    better_than_chance,
    chance_p,
    chance_percent,
    has_top5,
    other_labels,
)
from model_zoo.ground_truth import Labelled, class_indices
from model_zoo.labels import labels_of
from model_zoo.local_manifest import MeasuredModel
from model_zoo.manifest import Manifest, ModelSpec
from model_zoo.photograph import LARGEST_IMAGE_BYTES, decode
from model_zoo.runtime import Classifier

Z_95 = 1.959964  # of the normal distribution, two-sided 95 %
TOP = 5


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to be evaluated, and the index of each photograph's class in its output."""

    spec: ModelSpec
    model: InstalledModel
    wanted: Sequence[int]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often one network was right. Intervals are Wilson's, 95 %. `labels`: how many classes it tells apart."""

    name: ModelName
    sha256: str
    images: int
    top1_hits: int
    top5_hits: int
    labels: int = IMAGENET_CLASSES

    @property
    def top1_percent(self) -> float:
        """Share of photographs whose class came first."""
        return 100 * self.top1_hits / self.images

    @property
    def top5_percent(self) -> float | None:
        """Share of photographs whose class was among the first five; None of too few classes."""
        return 100 * self.top5_hits / self.images if has_top5(self.labels) else None

    @property
    def top1_interval(self) -> tuple[float, float]:
        """In which the true Top-1 lies, in %."""
        return wilson_percent(self.top1_hits, self.images)

    @property
    def top5_interval(self) -> tuple[float, float] | None:
        """In which the true Top-5 lies, in %; None of too few classes."""
        return wilson_percent(self.top5_hits, self.images) if has_top5(self.labels) else None

    def at_chance(self, metric: Metric) -> str | None:
        """Why it is not better than chance: by Top-1 alone where there is no Top-5. None where it is."""
        judged = metric if has_top5(self.labels) else Metric.TOP1
        hits = self.top5_hits if judged is Metric.TOP5 else self.top1_hits
        if better_than_chance(hits, self.images, self.labels, judged):
            return None
        return (
            f"{self.name} has a {SAID[judged]} of {100 * hits / self.images:.1f} % on {self.images} photographs, "
            f"not better than chance: {chance_percent(self.labels, judged):.3g} % of {self.labels} classes "
            f"(p = {chance_p(hits, self.images, self.labels, judged):.2g}, needed: below {SIGNIFICANCE:g})"
        )

    def measured(self, today: date, *, forced: bool = False) -> MeasuredModel:
        """For the local manifest: to a tenth of a point, the intervals rounded outwards."""
        top5, top5_interval = self.top5_percent, self.top5_interval
        return MeasuredModel(
            sha256=self.sha256,
            top1=round(self.top1_percent, 1),
            top5=None if top5 is None else round(top5, 1),
            top1_interval=_outwards(self.top1_interval),
            top5_interval=None if top5_interval is None else _outwards(top5_interval),
            images=self.images,
            date=today,
            forced=forced,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`unreadable`: photographs that could not be decoded, each with why; they count for no network."""

    accuracies: tuple[Accuracy, ...]
    wanted: int
    unreadable: tuple[tuple[str, str], ...]
    interrupted: bool = False


@dataclass(slots=True)
class _Tally:
    """Mutable, the main thread's."""

    top1: list[int]
    top5: list[int]
    images: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def note(self, ranks: Sequence[int | None]) -> None:
        self.images += 1
        for place, rank in enumerate(ranks):
            self.top1[place] += rank == 0
            self.top5[place] += rank is not None


def wilson_percent(hits: int, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, in %. It holds for few images and near 0 and 100 % too."""
    share, z2 = hits / images, Z_95**2
    centre = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = Z_95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2)) / (1 + z2 / images)
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def subjects(
    manifest: Manifest,
    names: Sequence[str],
    directory: Path,
    labelled: Sequence[Labelled],
    count_from: int = 0,
    label_set: str = IMAGENET,
) -> list[Subject]:
    """What is to be evaluated; without names all trained networks of this label set that are there.

    Raises CannotEvaluate (other classes, untrained weights, none at all, a class that a network lacks), UnknownModel,
    ModelMissing, ModelCorrupt, IndexUnusable.
    """
    present = installed(directory)
    found = []
    for spec in manifest.select(names):
        model = present.get(spec.name)
        why = other_labels(spec, label_set)
        if not names and (model is None or not model.trained or why):
            continue
        if why:
            raise CannotEvaluate(f"{spec.name}: {why}; name the orchestrator.yaml of its site: --config")
        if model is None:
            raise ModelMissing(spec.name, directory, added=spec.added)
        if not model.trained:
            raise CannotEvaluate(
                f"the weights of {spec.name} are untrained: what it says of a photograph means nothing"
            )
        check(model)
        if spec.added and spec.sha256 != model.sha256:
            raise CannotEvaluate(f"{model.path} is not the file that was added as {spec.name}; {model.mend_command}")
        wanted = class_indices(labelled, spec, labels_of(directory, spec), count_from)
        found.append(Subject(spec, model, wanted))
    if not found:
        raise CannotEvaluate(
            f"no trained model is in {directory}; get the official ones with tierwise zoo fetch, or add one with "
            "tierwise zoo add"
        )
    return found


def evaluate(
    what: Sequence[Subject],
    labelled: Sequence[Labelled],
    images: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Show every photograph to every network. Ctrl-C ends it early, with what was seen until then.

    Raises CannotEvaluate when no photograph could be decoded, and ModelUnusable.
    """
    tally, stop, interrupted = _Tally([0] * len(what), [0] * len(what)), threading.Event(), False
    worker = _Worker(what, labelled, images, stop)
    with ThreadPoolExecutor(workers, thread_name_prefix="evaluate") as pool:
        futures: dict[Future[list[int | None] | str], str] = {}
        try:
            for place, each in enumerate(labelled):
                futures[pool.submit(worker.ranks, place)] = each.file
            for done, future in enumerate(as_completed(futures), start=1):
                answer = future.result()
                if isinstance(answer, str):
                    tally.unreadable.append((futures[future], answer))
                else:
                    tally.note(answer)
                progress(done, len(labelled))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    if not tally.images and not interrupted:
        file, why = min(tally.unreadable)
        raise CannotEvaluate(f"none of {len(labelled)} photographs in {images} can be decoded; {file}: {why}")
    return Evaluation(
        accuracies=tuple(
            Accuracy(
                each.spec.name, each.model.sha256, tally.images, tally.top1[place], tally.top5[place], each.spec.labels
            )
            for place, each in enumerate(what)
            if tally.images
        ),
        wanted=len(labelled),
        unreadable=tuple(sorted(tally.unreadable)),
        interrupted=interrupted,
    )


class _Worker:
    """What the threads share; each thread has networks of its own."""

    def __init__(
        self, what: Sequence[Subject], labelled: Sequence[Labelled], images: Path, stop: threading.Event
    ) -> None:
        self._what = what
        self._labelled = labelled
        self._images = images
        self._stop = stop
        self._own = threading.local()

    def ranks(self, place: int) -> list[int | None] | str:
        """The place of the right class among the first five of each network, None if it is not; or why not."""
        if self._stop.is_set():
            return "not looked at"
        path = self._images / self._labelled[place].file
        try:
            if path.stat().st_size > LARGEST_IMAGE_BYTES:
                return f"{path.stat().st_size} bytes, at most {LARGEST_IMAGE_BYTES}"
            content = path.read_bytes()
            sizes = {each.spec.input_px for each in self._what}
            pixels = {size_px: decode(content, size_px) for size_px in sizes}
        except (OSError, ValueError) as error:  # a name with a NUL in it
            return str(getattr(error, "strerror", None) or error)
        except BadImage as error:
            return str(error)
        found: list[int | None] = []
        for each, classifier in zip(self._what, self._classifiers(), strict=True):
            ranked = classifier.ranked(pixels[each.spec.input_px], TOP)
            wanted = each.wanted[place]
            found.append(ranked.index(wanted) if wanted in ranked else None)
        return found

    def _classifiers(self) -> list[Classifier]:
        own: list[Classifier] | None = getattr(self._own, "classifiers", None)
        if own is None:
            own = self._own.classifiers = [
                Classifier(each.model.path, 1, each.spec.preprocessing, each.spec.output) for each in self._what
            ]
        return own


def _outwards(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    return math.floor(low * 10) / 10, math.ceil(high * 10) / 10
