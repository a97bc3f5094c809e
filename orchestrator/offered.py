"""What is odd about the models that a node offers. Such a model never stops a site; somebody should hear of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from broker.clock import Clock
from broker.events import event
from broker.messages import Birth
from broker.rate_limit import RateLimit, RefusalLog
from broker.vocabulary import NodeId
from model_zoo.fitting import DEFAULT_TASK, SiteTask, at_chance, no_accuracy, other_labels
from model_zoo.manifest import Manifest, ModelSpec

log = logging.getLogger(__name__)

MAX_NAMES = 10  # of models in one line; a birth may have 256
REPEAT_S = 3600.0
MAX_LINES_PER_S = 5  # of all nodes together

UNUSED = ("models_unknown", "models_of_other_labels", "models_without_accuracy", "models_at_chance")
COPY = "copy the node's local manifest to the orchestrator (files.manifest) and start it again"


@dataclass(frozen=True, slots=True)
class Fault:
    """One event: its name, the models that it is about, and what mends it."""

    name: str
    models: tuple[str, ...]
    mend: str


def faults_of(birth: Birth, manifest: Manifest, site: SiteTask = DEFAULT_TASK) -> list[Fault]:
    """What to say about the models of a birth.

    Those of UNUSED faults are not used. `models_differ` are used, under accuracies that were stated or measured for
    another file. Of the eight any file counts, unless it was measured: those that are built without internet differ
    from the official ones on purpose.
    """
    offered = birth.models
    known = {name: manifest.models.get(name) for name in sorted(offered)}  # type: ignore[call-overload]
    specs = {name: spec for name, spec in known.items() if spec is not None}
    foreign = [
        name
        for name, spec in specs.items()
        if other_labels(spec, site.label_set) or birth.label_sets.get(name, site.label_set) != site.label_set
    ]
    rest = {name: spec for name, spec in specs.items() if name not in foreign}
    blind = [name for name, spec in rest.items() if no_accuracy(spec, site.metric)]
    guessing = [name for name, spec in rest.items() if at_chance(spec, site.metric)]
    other = [name for name, spec in specs.items() if spec.sha256 not in (None, offered[name])]
    return [
        Fault(name, tuple(models), mend)
        for name, models, mend in (
            ("models_unknown", [name for name, spec in known.items() if spec is None], COPY),
            ("models_of_other_labels", foreign, _about_labels(foreign, birth, specs, site)),
            ("models_without_accuracy", blind, _about_accuracy(blind, specs, site)),
            (
                "models_at_chance",
                guessing,
                f"tierwise zoo remove, or zoo evaluate --write --force, then {COPY}",
            ),
            ("models_differ", other, f"tierwise zoo evaluate --write with the node's file, then {COPY}"),
        )
        if models
    ]


def fitting_part(birth: Birth, faults: Iterable[Fault]) -> Birth:
    """The birth without the models that this site does not use."""
    unused = {name for fault in faults if fault.name in UNUSED for name in fault.models}
    if not unused:
        return birth
    return msgspec.structs.replace(
        birth, models={name: sha for name, sha in birth.models.items() if name not in unused}
    )


def _about_labels(names: list[str], birth: Birth, specs: Mapping[str, ModelSpec], site: SiteTask) -> str:
    if not names:
        return ""
    reason = other_labels(specs[names[0]], site.label_set)
    reason = reason or f"the node says {birth.label_sets[names[0]]}, the site's is {site.label_set}"
    return f"{names[0]}: {reason}; take them out of models.pool, or set goal.label_set"


def _about_accuracy(names: list[str], specs: Mapping[str, ModelSpec], site: SiteTask) -> str:
    return f"{names[0]}: {no_accuracy(specs[names[0]], site.metric)}, then {COPY}" if names else ""


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
