"""Whether a network fits a site: classes, metric, and better than chance."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.vocabulary import IMAGENET, Metric, ModelName
from model_zoo.fitting import SiteTask, better_than_chance, chance_p, label_set_of, misfit
from model_zoo.manifest import load_manifest

D4 = load_manifest().models[ModelName("d4")]
FOUR = replace(D4, classes=4, background=False, label_set="flowers-4", added=True, top1_tenths=900, top5_tenths=None)


def test_a_label_set_does_not_depend_on_order_case_or_synonyms() -> None:
    """Other names, or fewer, are another one."""
    names = ["great white shark", "Tench", "goldfish"]
    same = ["n01440764 tench, Tinca tinca", "goldfish, Carassius auratus", "great_white_shark"]

    assert label_set_of(names) == label_set_of(same)
    assert label_set_of(names).startswith("labels-3-")
    assert 3 == len({label_set_of(names), label_set_of(names[:2]), label_set_of(["tench", "goldfish", "cock"])})


def test_a_thousand_names_are_imagenets_if_they_agree_with_its_list() -> None:
    """Where that list is not at hand their number has to do; 51 other names are too many."""
    names = [f"class {number}" for number in range(1000)]
    other = [*names[:949], *(f"other {number}" for number in range(51))]

    assert [IMAGENET, IMAGENET] == [label_set_of(names, names), label_set_of(names)]
    assert label_set_of(other, names).startswith("labels-1000-")


@given(images=st.integers(1, 60), labels=st.integers(2, 1000), data=st.data())
def test_the_tail_of_the_binomial_distribution_is_exact(images: int, labels: int, data: st.DataObject) -> None:
    """As the sum of its terms in whole numbers gives it."""
    hits = data.draw(st.integers(0, images))
    ways = sum(comb(images, each) * (labels - 1) ** (images - each) for each in range(hits, images + 1))

    assert chance_p(hits, images, labels, Metric.TOP1) == pytest.approx(ways / labels**images, rel=1e-9)


@pytest.mark.parametrize(
    ("hits", "images", "labels", "metric", "better"),
    [
        (10, 40, 4, Metric.TOP1, False),  # a quarter of four classes
        (16, 40, 4, Metric.TOP1, False),  # 40 %: p = 0.026
        (18, 40, 4, Metric.TOP1, True),  # 45 %: p = 0.0047
        (40, 40, 4, Metric.TOP5, False),  # of four classes all are among the first five
        (1, 100, 1000, Metric.TOP5, False),
        (5, 100, 1000, Metric.TOP5, True),
        (44_600, 50_000, 1000, Metric.TOP5, True),
        (0, 5, 1000, Metric.TOP1, False),
    ],
)
def test_better_than_chance_is_a_binomial_test(
    hits: int, images: int, labels: int, metric: Metric, better: bool
) -> None:
    """At one percent."""
    assert better is better_than_chance(hits, images, labels, metric)


@pytest.mark.parametrize(
    ("changed", "site", "why"),
    [
        ({}, SiteTask(), "its label set is flowers-4, the site's is imagenet-1000"),
        ({"label_set": None}, SiteTask(), "its label set was never stated"),
        ({}, SiteTask("flowers-4"), "it has 4 classes, and fewer than 20 have no Top-5: set goal.metric: top1"),
        ({"top1_tenths": None}, SiteTask("flowers-4", Metric.TOP1), "its Top-1 is unknown"),
        ({"top1_tenths": 250}, SiteTask("flowers-4", Metric.TOP1), "its Top-1 of 25 % is not better than chance"),
        ({"top1_tenths": 350, "images": 40}, SiteTask("flowers-4", Metric.TOP1), "of 35 % on 40 photographs is not"),
    ],
)
def test_what_does_not_fit_is_said_with_the_reason(changed: dict[str, object], site: SiteTask, why: str) -> None:
    """In the order: classes, metric, chance."""
    assert why in str(misfit(replace(FOUR, **changed), site))  # type: ignore[arg-type]


def test_what_fits_or_was_forced_is_used() -> None:
    """The eight at a site of the default, under either metric; a network at chance that somebody forced."""
    own = SiteTask("flowers-4", Metric.TOP1)

    assert [None] * 16 == [
        misfit(spec, SiteTask(IMAGENET, metric)) for metric in Metric for spec in load_manifest().models.values()
    ]
    assert misfit(FOUR, own) is misfit(replace(FOUR, top1_tenths=250, forced=True), own) is None
