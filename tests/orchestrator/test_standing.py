"""What all hold as sums, and what one more may be told: the floor in a few steps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.laps import Part
from orchestrator.standing import Beside, Standing, fit

EDGE = Action(Tier.EDGE, ModelName("d0"))
D0, D3, D4, D5 = (Action(Tier.END, ModelName(name)) for name in ("d0", "d3", "d4", "d5"))
NOBODY = Beside(0, 0, 0)
places = some.integers(0, 4)
models = some.sampled_from([f"d{number}" for number in range(8)])


@given(told=some.lists(some.tuples(places, some.booleans(), models, models), max_size=30), asks=places)
def test_the_sums_are_those_of_all_that_was_told_last(
    accuracies: Accuracies, told: list[tuple[int, bool, str, str]], asks: int
) -> None:
    """Counted anew from what each other device was told last, on the edge or locally, with its fallback."""
    standing, last = Standing(accuracies), {}
    for place, on_edge, model, fallback in told:
        action = Action(Tier.EDGE if on_edge else Tier.END, ModelName(model))
        standing.tell(NodeId(f"s{place}"), action, ModelName(fallback))
        last[place] = (accuracies.tenths[ModelName(model)], accuracies.tenths[ModelName(fallback)])
    others = [pair for place, pair in last.items() if place != asks]

    expected = Beside(len(others), sum(pair[0] for pair in others), sum(min(pair) for pair in others))
    assert expected == standing.beside(NodeId(f"s{asks}"))


def test_who_is_gone_or_can_no_longer_do_it_holds_nothing(accuracies: Accuracies) -> None:
    """Two of three are left, and the edge is not: one counts."""
    standing = Standing(accuracies)
    for name, action in (("s1", D4), ("s2", EDGE), ("s3", D0)):
        standing.tell(NodeId(name), action, ModelName("d0"))
    online, offered = object(), object()
    standing.of_site(online, offered, [(NodeId("s1"), (D0, D4)), (NodeId("s2"), (D0, D4))])

    assert Beside(1, accuracies.tenths[D4.model], accuracies.tenths[D4.model]) == standing.beside(NodeId("s9"))
    assert [True, False] == [standing.is_of(online, offered), standing.is_of(online, object())]


@pytest.mark.parametrize(
    ("planned", "held", "beside", "told"),
    [
        (D4, None, NOBODY, (D4, "d4", True)),
        (D3, None, NOBODY, (D5, "d5", False)),
        (D3, D4, NOBODY, (D4, "d4", False)),
        (D3, None, Beside(3, 3 * 899, 3 * 899), (D3, "d3", True)),
        (None, D3, NOBODY, (D5, "d5", False)),
        (D4, D5, Beside(1, 780, 780), (D0, "d0", False)),
        (EDGE, None, NOBODY, (EDGE, "d5", True)),
        (EDGE, None, Beside(1, 899, 842), (EDGE, "d5", True)),
        (EDGE, None, Beside(1, 899, 811), (EDGE, "d4", True)),
        (D5, None, Beside(1, 899, 811), (D4, "d4", False)),
    ],
)
def test_a_device_is_told_what_the_floor_allows_beside_the_others(
    accuracies: Accuracies, ten_actions: Any, planned: Any, held: Any, beside: Beside, told: Any
) -> None:
    """At 85 % each may lose 49 tenths: its part, else what it holds, else the cheapest local model within its share.
    Fallbacks and local models leave room for the others to fall back: to 811, of which 10 tenths are left, for d4."""
    part = None if planned is None else Part(planned, ModelName("d5"), None)

    assert told == fit(part, held, ten_actions, beside, 850, accuracies)


def test_a_device_without_local_models_is_told_what_it_can_do(accuracies: Accuracies) -> None:
    """Its fallback is named all the same."""
    assert (EDGE, "d0", False) == fit(None, None, (EDGE,), NOBODY, 850, accuracies)
