"""How long edge and cloud take: for a job alone, and for each further one of the same round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from broker.vocabulary import Tier
from configs.calibration import TierSection
from orchestrator.calibration.coefficient import LEAST_ROWS, Coefficient, Coefficients, fitted
from orchestrator.calibration.reading import TIERS, Measured
from orchestrator.calibration.robust import Floats, Ints, centre, fit_non_negative
from orchestrator.errors import TooLittleLogged

LEAST_ROUNDS = 5  # with each of two numbers of sharers; of fewer, hiccups can be the majority
MOST_CONTENTION = 1000  # of the schema; more than that is no fit


@dataclass(frozen=True, slots=True)
class Sharing:
    """G rounds of one tier in which all that were sent to a node were delivered. Arrays are (G,), times in ms.

    `sharers`: devices that shared the node; `model`: the place of what all of them ran in `Measured.models`, -1 if it
    was not one; the rest are means over the sharers. First in, first out, a job's time depends on its place in the
    queue, but the mean on their number alone. `group` (R,): to which of the G each row belongs, -1: to none.
    """

    sharers: Ints
    model: Ints
    compute_ms: Floats
    group: Ints

    def mean(self, values: Floats) -> Floats:
        """(G,): means over the sharers of what is (R,)."""
        rows = self.group >= 0
        return np.bincount(self.group[rows], values[rows], len(self.sharers)) / self.sharers


def sharing(measured: Measured, tier: Tier) -> Sharing:
    """The rounds of `tier`."""
    rows = (measured.tier == TIERS.index(tier)) & (measured.sharers > 0)
    keys = np.column_stack([measured.round[rows], measured.serving[rows]])
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    sharers = measured.sharers[rows][first]
    compute_ms = np.bincount(inverse, measured.compute_ms[rows], len(first)) / sharers
    model = measured.model[rows][first]
    mixed = np.zeros(len(first), dtype=bool)
    np.logical_or.at(mixed, inverse, measured.model[rows] != model[inverse])
    group = np.full(len(rows), -1, dtype=np.int64)
    group[rows] = inverse
    return Sharing(sharers, np.where(mixed, -1, model), compute_ms, group)


def serving_times(measured: Measured, tier: Tier, vcpus: int | None, assumed: TierSection) -> Coefficients:
    """`edge.*` or `cloud.*`. Raises TooLittleLogged.

    k jobs take alone_ms + (k - 1) step_ms on average, in units of the median for that k; contention is step/alone times
    vCPUs, from the model that ran most, and holds for all. If only one k was seen often enough, it cannot be known.
    """
    shared = sharing(measured, tier)
    counts = np.bincount(shared.model[shared.model >= 0], minlength=len(measured.models))
    if counts.max(initial=0) < LEAST_ROWS:
        raise TooLittleLogged(_too_little(measured, tier))
    main = shared.model == int(counts.argmax())
    cpus = assumed.vcpus if vcpus is None else vcpus
    whose = "assumed, a1-paper's; the log does not tell" if vcpus is None else "given on the command line"
    contention = _contention(shared.sharers[main], shared.compute_ms[main], cpus)
    if contention is None:
        seen = ", ".join(map(str, np.unique(shared.sharers[main])))
        told = f"a1-paper's: not to be told from rounds with {seen} at a time"
        contention = Coefficient(assumed.contention, 0, told)
    slowed = 1.0 + contention.number * (shared.sharers - 1) / cpus
    coefficients = {f"{tier}.vcpus": Coefficient(cpus, 0, whose)}
    for place, model in enumerate(measured.models):
        if counts[place] >= LEAST_ROWS:
            alike = shared.model == place
            rows = int(shared.sharers[alike].sum())
            origin = f"means of {int(alike.sum())} rounds with {_span(shared.sharers[alike])}"
            if contention.rows == 0 and shared.sharers[alike].max() > 1:
                origin += ", with a1-paper's contention"
            alone_ms = centre(shared.compute_ms[alike] / slowed[alike])
            coefficients[f"{tier}.compute_ms.{model}"] = fitted(alone_ms, rows, origin)
    return coefficients | {f"{tier}.contention": contention}


def _contention(sharers: Ints, compute_ms: Floats, vcpus: int) -> Coefficient | None:
    """None if it cannot be told."""
    numbers, place, rounds = np.unique(sharers, return_inverse=True, return_counts=True)
    if (rounds >= LEAST_ROUNDS).sum() < 2:
        return None
    typical_ms = np.array([np.median(compute_ms[place == number]) for number in range(len(numbers))])[place]
    columns = np.column_stack([np.ones(len(sharers)), sharers - 1.0])
    alone_ms, step_ms = fit_non_negative(columns / typical_ms[:, None], compute_ms / typical_ms)
    if not 0 <= step_ms * vcpus <= MOST_CONTENTION * alone_ms or alone_ms == 0:
        return None
    origin = f"means of {len(sharers)} rounds with {_span(sharers)}"
    return fitted(step_ms / alone_ms * vcpus, int(sharers.sum()), origin)


def _span(sharers: Ints) -> str:
    least, most = int(sharers.min()), int(sharers.max())
    return f"{least} at a time" if least == most else f"{least} to {most} at a time"


def _too_little(measured: Measured, tier: Tier) -> str:
    rows = int((measured.tier == TIERS.index(tier)).sum())
    found = "no delivered request" if rows == 0 else f"{rows} delivered requests, but hardly a round without a failure,"
    return (
        f"{found} on the {tier} in this log; set the policy {tier}_only for some rounds: "
        f"tierwise orchestrator goal --config orchestrator.yaml --policy {tier}_only"
    )
