"""`tierwise-agent models`: the model cache from a node, in plain text, on `model_zoo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from model_zoo.bench import Timed, bench, dominated
from model_zoo.cache import LABELS, check, installed, models_directory
from model_zoo.errors import FetchFailed, ModelCorrupt, ModelMissing, on_node
from model_zoo.fetch import fetch_labels, fetch_one
from model_zoo.local_manifest import site_manifest
from model_zoo.manifest import load_manifest
from model_zoo.progress import Step

BENCH_RUNS = 200
INTERRUPTED = 130


def list_models(names: Sequence[str], directory: Path | None) -> int:
    """One line for each model: its Top-5 by the manifest, and what lies in the cache."""
    where = directory or models_directory()
    present = installed(where)
    print(where)
    for spec in site_manifest(directory=where).select(names):
        model = present.get(spec.name)
        what = "not installed" if model is None else f"{model.origin}, {'trained' if model.trained else 'untrained'}"
        size = f"{model.bytes / 1e6:.1f} MB" if model is not None else ""
        accuracy = "unknown" if spec.top5_tenths is None else f"{spec.top5_tenths / 10:.1f} %"
        width = "" if spec.width is None else f"  width {spec.width:.2f}"
        print(f"{spec.name}{width}  {spec.dtype}  Top-5 {accuracy}  {what}  {size}")
    return 0


def fetch_models(names: Sequence[str], directory: Path | None) -> int:
    """Official files from the internet. Raises Unreachable, FetchFailed, UnknownModel, IndexUnusable."""
    manifest, where = load_manifest(), directory or models_directory()
    show = _Lines()
    for spec in manifest.select(names):
        model = fetch_one(manifest, spec, where, show)
        print(f"{spec.name}  {model.sha256}  {model.path}")
    if not (where / LABELS).is_file():
        try:
            fetch_labels(manifest, where, show)
        except FetchFailed as error:
            print(f"tierwise-agent: labels stay numbers: {on_node(error)}", file=sys.stderr)
    return 0


def verify_models(names: Sequence[str], directory: Path | None) -> int:
    """Compare what is installed (or named) with the index; 1 if a file is missing or corrupt."""
    where = directory or models_directory()
    present = installed(where)
    specs = site_manifest(directory=where).select(names)
    wrong = 0
    for spec in specs if names else [spec for spec in specs if spec.name in present]:
        try:
            if (model := present.get(spec.name)) is None:
                raise ModelMissing(spec.name, where, added=spec.added)
            check(model)
        except (ModelMissing, ModelCorrupt) as error:
            wrong += 1
            print(f"tierwise-agent: {on_node(error)}", file=sys.stderr)
        else:
            print(f"{spec.name}  ok  {model.sha256}")
    if not names and not present:
        print(f"tierwise-agent: no model in {where}; get them with: tierwise-agent models fetch", file=sys.stderr)
        return 1
    return 1 if wrong else 0


def bench_models(names: Sequence[str], directory: Path | None) -> int:
    """Time what is installed (or named), one thread; 130 when it is interrupted, with what there is until then."""
    where = directory or models_directory()
    found = bench(site_manifest(directory=where), names, where, runs=BENCH_RUNS)
    for row in sorted(found.rows, key=lambda row: row.median_ms):
        times = "  ".join(f"{name} {ms:.2f} ms" for name, ms in _times(row).items())
        beaten = dominated(row, found.rows)
        better = f"  no better than {beaten[0]} in anything" if beaten else ""
        print(f"{row.model}  {times}  {row.memory_mb:.0f} MB  {row.runs} runs{better}")
    return INTERRUPTED if found.interrupted else 0


def _times(row: Timed) -> dict[str, float]:
    return {"median": row.median_ms, "p95": row.p95_ms, "p99": row.p99_ms}


class _Lines:
    """One line on standard error for each tenth of a download: logs of service managers show no progress bars."""

    def __init__(self) -> None:
        self._shown = ""

    def __call__(self, step: Step) -> None:
        tenth = f" {10 * (10 * step.done // step.total)} %" if step.total else ""
        line = f"{step.item}: {step.stage}{tenth}"
        if line != self._shown:
            self._shown = line
            print(line, file=sys.stderr)
