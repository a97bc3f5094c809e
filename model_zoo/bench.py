"""How long networks take on this node, and what they cost in memory.

Rounds go over all networks in a new order each, so that whatever else the machine does hits all alike. Timed is what
a node does with a decoded photograph: preparing it and running the network.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.vocabulary import ModelName
from model_zoo import memory
from model_zoo.cache import check, installed
from model_zoo.errors import ModelMissing
from model_zoo.manifest import Manifest, ModelSpec
from model_zoo.runtime import Classifier, interpreter_class

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WARM_UP_RUNS = 5


@dataclass(frozen=True, slots=True)
class Timed:
    """One network with one number of threads. Percentiles are times that were measured (nearest rank).

    `top5_tenths`: the manifest's, None if unknown. `trained`: of the file that was timed. `memory_mb`: by what loading
    it grew the process.
    """

    model: ModelName
    threads: int
    runs: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    load_ms: float
    memory_mb: float
    top5_tenths: int | None
    trained: bool


@dataclass(frozen=True, slots=True)
class Benched:
    """All of them; `interrupted`: with fewer runs than were wanted."""

    rows: tuple[Timed, ...]
    interrupted: bool = False


@dataclass(eq=False, slots=True)
class _Candidate:
    """Mutable: its times in ms."""

    spec: ModelSpec
    trained: bool
    classifier: Classifier
    image: NDArray[np.uint8]
    load_ms: float
    memory_mb: float
    times_ms: list[float]

    def run(self) -> None:
        self.classifier.classify(self.image)


def bench(
    manifest: Manifest,
    names: Sequence[str],
    directory: Path,
    threads: Sequence[int] = (1,),
    runs: int = 200,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    clock_s: Callable[[], float] = time.perf_counter,
) -> Benched:
    """Time `names` (default: all that are installed) with each number of threads. Ctrl-C gives what there is.

    Raises UnknownModel, ModelMissing, ModelCorrupt, ModelUnusable, RuntimeMissing, IndexUnusable.
    """
    interpreter_class()  # its import grows the process, once
    rows: list[Timed] = []
    for place, count in enumerate(threads):
        candidates: list[_Candidate] = []
        interrupted = False
        try:
            candidates = _loaded(manifest, names, directory, count, clock_s)
            for candidate in candidates * WARM_UP_RUNS:
                candidate.run()
            for number in range(runs):
                _one_round(candidates, count, number, clock_s)
                progress(place * runs + number + 1, len(threads) * runs)
        except KeyboardInterrupt:
            interrupted = True
        rows += [_timed(each, count) for each in candidates if each.times_ms]
        if interrupted:
            return Benched(tuple(rows), interrupted=True)
    return Benched(tuple(rows))


def dominated(row: Timed, rows: Sequence[Timed]) -> list[ModelName]:
    """Who is no slower and no less accurate with as many threads, and better in one; the fastest first."""
    if row.top5_tenths is None:
        return []
    better = [
        other
        for other in rows
        if other.threads == row.threads
        and other.top5_tenths is not None
        and (other.median_ms <= row.median_ms and other.top5_tenths >= row.top5_tenths)
        and (other.median_ms, other.top5_tenths) != (row.median_ms, row.top5_tenths)
    ]
    return [other.model for other in sorted(better, key=lambda other: other.median_ms)]


def front(rows: Sequence[Timed], threads: int) -> list[Timed]:
    """The Pareto front with that many threads, the fastest first: whom nobody dominates."""
    here = [row for row in rows if row.threads == threads and row.top5_tenths is not None]
    return sorted((row for row in here if not dominated(row, here)), key=lambda row: row.median_ms)


def _loaded(
    manifest: Manifest, names: Sequence[str], directory: Path, threads: int, clock_s: Callable[[], float]
) -> list[_Candidate]:
    import numpy as np

    present = installed(directory)
    pixels = np.random.default_rng(1)
    candidates = []
    for spec in manifest.select(names):
        model = present.get(spec.name)
        if model is None:
            if names:
                raise ModelMissing(spec.name, directory, added=spec.added)
            continue
        check(model)
        before_mb, started_s = memory.resident_mb(), clock_s()
        classifier = Classifier(model.path, threads, spec.preprocessing, spec.output)
        load_ms = (clock_s() - started_s) * 1000
        image = pixels.integers(0, 256, (*classifier.size_px, 3), dtype=np.uint8)
        classifier.classify(image)  # some of the memory is taken by the first run
        cost_mb = memory.cost_mb(model.bytes, memory.resident_mb() - before_mb)
        candidates.append(_Candidate(spec, model.trained, classifier, image, load_ms, cost_mb, []))
    if not candidates:
        raise ModelMissing("d0", directory)
    return candidates


def _one_round(candidates: Sequence[_Candidate], threads: int, number: int, clock_s: Callable[[], float]) -> None:
    for candidate in random.Random(number).sample(candidates, len(candidates)):
        if threads > 1:
            candidate.run()  # the threads of the one before still spin for a moment; this one's must be awake
        started_s = clock_s()
        candidate.run()
        candidate.times_ms.append((clock_s() - started_s) * 1000)


def _timed(candidate: _Candidate, threads: int) -> Timed:
    import numpy as np

    at = [50, 95, 99]
    median_ms, p95_ms, p99_ms = np.percentile(candidate.times_ms, at, method="inverted_cdf").tolist()
    return Timed(
        model=candidate.spec.name,
        threads=threads,
        runs=len(candidate.times_ms),
        median_ms=median_ms,
        p95_ms=p95_ms,
        p99_ms=p99_ms,
        load_ms=candidate.load_ms,
        memory_mb=candidate.memory_mb,
        top5_tenths=candidate.spec.top5_tenths,
        trained=candidate.trained,
    )
