"""The bench, on a clock of its own: what it times, in which order, and who is dominated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.vocabulary import Metric, ModelName
from model_zoo import bench as bench_module
from model_zoo.bench import Timed, bench, dominated, front
from model_zoo.errors import ModelMissing
from model_zoo.fitting import SiteTask
from model_zoo.intake import Wish, add
from model_zoo.local_manifest import site_manifest
from model_zoo.preprocessing import Preprocessing
from tests.graphs import colours

A, B = ModelName("a"), ModelName("b")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small networks, which nobody changes."""
    tmp_path = tmp_path_factory.mktemp("zoo")
    for name in (A, B):
        site = SiteTask("rgb", Metric.TOP1)
        raw = Preprocessing.RAW
        wish = Wish(name, top1=80.0, preprocessing=raw, trained=name == A, label_set="rgb", site=site)
        add(colours(tmp_path / f"{name}.tflite"), wish, tmp_path / "models")
    return tmp_path / "models"


class Clock:
    """Moves by what a run of the model takes: a the number of its run in ms, b ten times that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.order: list[str] = []
        self.runs: Iterator[int] = iter(range(1, 10**6))
        real = bench_module._Candidate.run

        def run(candidate: bench_module._Candidate) -> None:
            real(candidate)
            self.order.append(candidate.spec.name)
            number = self.order.count(candidate.spec.name) - bench_module.WARM_UP_RUNS
            self.now_s += max(number, 0) * (1 if candidate.spec.name == A else 10) / 1000

        monkeypatch.setattr(bench_module._Candidate, "run", run)

    def __call__(self) -> float:
        return self.now_s


def test_percentiles_are_of_the_timed_runs_and_not_of_the_warm_up(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1 to 200 ms: 100, 190 and 198; of ten times that, ten times as much."""
    clock = Clock(monkeypatch)
    told: list[tuple[int, int]] = []
    rows = bench(
        site_manifest(directory=zoo), (), zoo, runs=200, progress=lambda *at: told.append(at), clock_s=clock
    ).rows

    for row, factor, trained in zip(rows, (1, 10), (True, False), strict=True):
        assert (200, trained, None) == (row.runs, row.trained, row.top5_tenths)
        assert [100 * factor, 190 * factor, 198 * factor] == pytest.approx([row.median_ms, row.p95_ms, row.p99_ms])
    assert [(1, 200), (200, 200)] == [told[0], told[-1]]


def test_each_round_runs_every_model_once_in_changing_order(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that noise hits all alike."""
    clock = Clock(monkeypatch)
    bench(site_manifest(directory=zoo), (), zoo, runs=20, clock_s=clock)
    timed = clock.order[2 * bench_module.WARM_UP_RUNS :]
    rounds = [tuple(timed[place : place + 2]) for place in range(0, len(timed), 2)]

    assert 20 == len(rounds)
    assert {("a", "b"), ("b", "a")} == set(rounds)


def test_each_number_of_threads_is_timed_on_its_own(zoo: Path) -> None:
    """A row for each model and number."""
    rows = bench(site_manifest(directory=zoo), ["a"], zoo, threads=(1, 2), runs=3).rows

    assert [("a", 1, 3), ("a", 2, 3)] == [(row.model, row.threads, row.runs) for row in rows]
    assert all(0 < row.median_ms <= row.p95_ms <= row.p99_ms for row in rows)


def test_an_interruption_gives_the_runs_until_then(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the third round."""

    def interrupt(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    found = bench(site_manifest(directory=zoo), (), zoo, threads=(1, 2), runs=9, progress=interrupt)
    assert (True, [(1, 3), (1, 3)]) == (found.interrupted, [(row.threads, row.runs) for row in found.rows])


def test_an_interruption_while_networks_are_loaded_keeps_what_was_timed(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread all were timed when loading for two is interrupted."""
    load = bench_module.Classifier

    def interrupted(path: Path, threads: int, *how: Any) -> Any:
        if threads == 2:
            raise KeyboardInterrupt
        return load(path, threads, *how)

    monkeypatch.setattr(bench_module, "Classifier", interrupted)
    found = bench(site_manifest(directory=zoo), (), zoo, threads=(1, 2), runs=3)

    assert (True, [(1, 3), (1, 3)]) == (found.interrupted, [(row.threads, row.runs) for row in found.rows])


def test_a_model_that_is_not_there_is_told(zoo: Path, tmp_path: Path) -> None:
    """By name; without names, what is there is timed, and nothing at all is told."""
    with pytest.raises(ModelMissing, match="model d0 is not in"):
        bench(site_manifest(directory=zoo), ["d0"], zoo)
    with pytest.raises(ModelMissing, match="model d0 is not in"):
        bench(site_manifest(directory=tmp_path), (), tmp_path)


def _row(model: str, median_ms: float, top5_tenths: int | None, threads: int = 1) -> Timed:
    return Timed(ModelName(model), threads, 1, median_ms, 0, 0, 0, 0, top5_tenths, True)


def test_who_is_no_slower_and_no_less_accurate_dominates() -> None:
    """Equals do not dominate each other, other numbers of threads and unknown accuracies are left alone."""
    fast, slow = _row("d3", 1.0, 742), _row("d7", 1.5, 728)
    best, twin, other, unknown = (
        _row("d0", 9.0, 899),
        _row("twin", 1.0, 742),
        _row("x", 0.5, 950, 2),
        _row("y", 0.1, None),
    )
    rows = [best, slow, fast, twin, other, unknown]

    assert [["d3", "twin"], [], [], [], []] == [dominated(row, rows) for row in (slow, best, fast, other, unknown)]
    assert ["d3", "twin", "d0"] == [row.model for row in front(rows, 1)]
    assert ["x"] == [row.model for row in front(rows, 2)]
    assert ["d3"] == dominated(replace(fast, model=ModelName("z"), median_ms=1.1), [fast, best])
