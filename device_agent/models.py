"""`tierwise-agent models`: the model cache from a node, in plain text, on `model_zoo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from model_zoo.cache import LABELS, check, installed, models_directory
from model_zoo.errors import FetchFailed, ModelCorrupt, ModelMissing
from model_zoo.fetch import fetch_labels, fetch_one
from model_zoo.manifest import load_manifest
from model_zoo.progress import Step


def list_models(names: Sequence[str], directory: Path | None) -> int:
    """One line for each model: its Top-5 by the manifest, and what lies in the cache."""
    where = directory or models_directory()
    present = installed(where)
    print(where)
    for spec in load_manifest().select(names):
        model = present.get(spec.name)
        what = "not installed" if model is None else f"{model.origin}, {'trained' if model.trained else 'untrained'}"
        size = f"{model.bytes / 1e6:.1f} MB" if model is not None else ""
        print(f"{spec.name}  width {spec.width:.2f}  {spec.dtype}  Top-5 {spec.top5_tenths / 10:.1f} %  {what}  {size}")
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
            print(f"tierwise-agent: labels stay numbers: {error}", file=sys.stderr)
    return 0


def verify_models(names: Sequence[str], directory: Path | None) -> int:
    """Compare what is installed (or named) with the index; 1 if a file is missing or corrupt."""
    where = directory or models_directory()
    present = installed(where)
    specs = load_manifest().select(names)
    wrong = 0
    for spec in specs if names else [spec for spec in specs if spec.name in present]:
        try:
            if (model := present.get(spec.name)) is None:
                raise ModelMissing(spec.name, where)
            check(model)
        except (ModelMissing, ModelCorrupt) as error:
            wrong += 1
            print(f"tierwise-agent: {error}", file=sys.stderr)
        else:
            print(f"{spec.name}  ok  {model.sha256}")
    if not names and not present:
        print(f"tierwise-agent: no model in {where}; get them with: tierwise-agent models fetch", file=sys.stderr)
        return 1
    return 1 if wrong else 0


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
