"""What is odd about the models that a node offers. Such a model never stops a site; somebody should hear of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.clock import Clock
from broker.events import event
from broker.rate_limit import RateLimit, RefusalLog
from broker.vocabulary import NodeId
from model_zoo.manifest import Manifest

log = logging.getLogger(__name__)

MAX_NAMES = 10  # of models in one line; a birth may have 256
REPEAT_S = 3600.0
MAX_LINES_PER_S = 5  # of all nodes together

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


class FaultLog:
    """Logs each fault of a node once, again after an hour, and of all nodes together only so much."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._each = RateLimit(1.0 / REPEAT_S, 1.0)  # bounded, so no node that ever was fills the memory
        self._all = RefusalLog(MAX_LINES_PER_S)

    def note(self, node: NodeId, faults: Iterable[Fault]) -> None:
        """Log what is new, with at most MAX_NAMES names."""
        now_s = self._clock.monotonic()
        for fault in faults:
            if not self._each.takes(f"{node} {fault.name}", now_s):
                continue
            says, unsaid = self._all.says(now_s)
            if says:
                names = ", ".join(fault.models[:MAX_NAMES])
                if (more := len(fault.models) - MAX_NAMES) > 0:
                    names += f" and {more} more"
                event(log, logging.WARNING, fault.name, node=node, models=names, mend=fault.mend, not_logged=unsaid)
