"""What is odd about the models that a node offers. Such a model never stops a site; somebody should hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_zoo.manifest import Manifest

COPY = "copy the node's local manifest to the orchestrator (files.manifest) and start it again"


@dataclass(frozen=True, slots=True)
class Fault:
    """One event: its name, the models that it is about, and what mends it."""

    name: str
    models: tuple[str, ...]
    mend: str


def faults_of(offered: Mapping[str, str], manifest: Manifest) -> list[Fault]:
    """What to say about the names and sha256 of a birth.

    `models_unknown` and `models_without_accuracy` are not used. `models_differ` are used, under accuracies that were
    stated or measured for another file. Of the eight any file counts, unless it was measured: those that are built
    without internet differ from the official ones on purpose.
    """
    known = {name: manifest.models.get(name) for name in sorted(offered)}  # type: ignore[call-overload]
    unknown = [name for name, spec in known.items() if spec is None]
    blind = [name for name, spec in known.items() if spec is not None and spec.top5_tenths is None]
    other = [name for name, spec in known.items() if spec is not None and spec.sha256 not in (None, offered[name])]
    return [
        Fault(name, tuple(models), mend)
        for name, models, mend in (
            ("models_unknown", unknown, COPY),
            ("models_without_accuracy", blind, f"tierwise zoo evaluate --write, then {COPY}"),
            ("models_differ", other, f"tierwise zoo evaluate --write with the node's file, then {COPY}"),
        )
        if models
    ]
