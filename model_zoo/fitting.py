"""Whether a network fits a site: the same classes, an accuracy under the site's metric, and better than chance.

Accuracies are comparable only within one label set. Of few classes the right one is nearly always among the first
five, so networks of fewer than MIN_TOP5_CLASSES have no Top-5.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.vocabulary import IMAGENET, Metric
from model_zoo.manifest import ModelSpec

MIN_TOP5_CLASSES = 20
IMAGENET_CLASSES = 1000
SAME_NAMES = 0.95  # share of names that agree with ImageNet's: lists differ in a few, as in `crane`
SIGNIFICANCE = 0.01
TOP_OF = {Metric.TOP1: 1, Metric.TOP5: 5}
SAID = {Metric.TOP1: "Top-1", Metric.TOP5: "Top-5"}
WORDNET_ID = re.compile(r"^n\d{8}\s+")


@dataclass(frozen=True, slots=True)
class SiteTask:
    """What all networks of one site do: tell these classes apart, judged by this metric."""

    label_set: str = IMAGENET
    metric: Metric = Metric.TOP5


DEFAULT_TASK = SiteTask()


def label_set_of(names: Sequence[str], imagenet: Sequence[str] = ()) -> str:
    """The label set that consists of these names, in any order: `imagenet-1000`, or their number and a digest.

    `names` and `imagenet` are without the background; the latter is empty where that list is not at hand.
    """
    if len(names) == IMAGENET_CLASSES:
        agreeing = {_normal(name) for name in names} & {_normal(name) for name in imagenet}
        if not imagenet or len(agreeing) >= SAME_NAMES * len({_normal(name) for name in imagenet}):
            return IMAGENET
    return f"labels-{len(names)}-{digest_of(names)[:12]}"


def digest_of(names: Sequence[str]) -> str:
    """The sha256 of these names in normal form, in alphabetical order."""
    return hashlib.sha256("\n".join(sorted(_normal(name) for name in names)).encode()).hexdigest()


def _normal(name: str) -> str:
    """The first synonym in lower case, without a WordNet id."""
    first = WORDNET_ID.sub("", name.strip()).partition(",")[0]
    return " ".join(first.replace("_", " ").casefold().split())


def has_top5(labels: int) -> bool:
    """Whether a Top-5 of so many classes means anything."""
    return labels >= MIN_TOP5_CLASSES


def chance_p(hits: int, images: int, labels: int, metric: Metric) -> float:
    """The probability that guessing is right at least so often: the upper tail of the binomial distribution, exact."""
    share = min(1.0, TOP_OF[metric] / labels)
    if hits <= 0 or share >= 1.0:
        return 1.0
    log_odds, total = math.log(share) - math.log1p(-share), 0.0
    log_term = (
        math.lgamma(images + 1) - math.lgamma(hits + 1) - math.lgamma(images - hits + 1)
        + hits * math.log(share) + (images - hits) * math.log1p(-share)
    )  # fmt: skip
    for successes in range(hits, images + 1):
        total += math.exp(log_term)
        if successes < images:
            log_term += math.log(images - successes) - math.log(successes + 1) + log_odds
    return min(1.0, total)


def better_than_chance(hits: int, images: int, labels: int, metric: Metric) -> bool:
    """Whether guessing is as often right with a probability below SIGNIFICANCE only."""
    return chance_p(hits, images, labels, metric) < SIGNIFICANCE


def other_labels(spec: ModelSpec, label_set: str) -> str | None:
    """Why the classes of a network are not a site's; None where they are."""
    if spec.label_set is None:
        return "its label set was never stated: add it again with --class-names or --label-set, and --replace"
    if spec.label_set != label_set:
        return f"its label set is {spec.label_set}, the site's is {label_set}"
    return None


def no_top5(spec: ModelSpec, metric: Metric) -> str | None:
    """Why a network can have no accuracy under a metric; None where it can."""
    if metric is Metric.TOP5 and not has_top5(spec.labels):
        return f"it has {spec.labels} classes, and fewer than {MIN_TOP5_CLASSES} have no Top-5: set goal.metric: top1"
    return None


def no_accuracy(spec: ModelSpec, metric: Metric) -> str | None:
    """Why a network has no accuracy under a metric; None where it has one."""
    if why := no_top5(spec, metric):
        return why
    if spec.accuracy_tenths(metric) is None:
        return f"its {SAID[metric]} is unknown: tierwise zoo evaluate --write measures it"
    return None


def at_chance(spec: ModelSpec, metric: Metric) -> str | None:
    """Why the accuracy of a network is no better than chance; None where it is, is forced, or is not known."""
    tenths = spec.accuracy_tenths(metric)
    if spec.forced or tenths is None:
        return None
    if spec.images is not None:
        hits = round(tenths * spec.images / 1000)
        if better_than_chance(hits, spec.images, spec.labels, metric):
            return None
        rests_on = f" on {spec.images} photographs"
    elif tenths > chance_percent(spec.labels, metric) * 10:
        return None
    else:
        rests_on = ""
    return (
        f"its {SAID[metric]} of {tenths / 10:g} %{rests_on} is not better than chance "
        f"({chance_percent(spec.labels, metric):.3g} % of {spec.labels} classes)"
    )


def chance_percent(labels: int, metric: Metric) -> float:
    """How often guessing is right, in %."""
    return min(100.0, 100 * TOP_OF[metric] / labels)


def misfit(spec: ModelSpec, site: SiteTask) -> str | None:
    """Why a site does not use a network; None where it does."""
    return other_labels(spec, site.label_set) or no_accuracy(spec, site.metric) or at_chance(spec, site.metric)


def cannot_fit(spec: ModelSpec, site: SiteTask) -> str | None:
    """As `misfit`, but an accuracy that is only not known yet is no reason."""
    return other_labels(spec, site.label_set) or no_top5(spec, site.metric) or at_chance(spec, site.metric)
