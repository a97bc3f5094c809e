"""The file of a scenario: background load, own load, events."""

from __future__ import annotations

import pytest

from broker.vocabulary import Link
from configs.loader import ConfigError, loads
from configs.scenario import EventKind, ScenarioConfig

HEAD = "version: 1\nname: test\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(HEAD + text, ScenarioConfig, "s.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_nothing_happens_by_default() -> None:
    """A name is enough."""
    scenario = loads(HEAD, ScenarioConfig, "s.yaml")

    assert ({}, (), 0.0) == (scenario.background, scenario.events, scenario.own_load.edge)


def test_everything_that_can_happen_is_read() -> None:
    """Each kind of event with what it needs, background load of any node, own load of every tier."""
    scenario = loads(
        HEAD + "background: {s1: {start: 0.2, stop: 0.5}, end: {start: 0, stop: 1}}\n"
        "own_load: {end: 0.1, edge: 1, cloud: 0.5}\n"
        "events:\n"
        "- {round: 1, kind: slow, nodes: [s1, edge], factor: 1.5}\n"
        "- {round: 2, kind: delay, nodes: [edge, cloud], ms: 20}\n"
        "- {round: 3, kind: link, nodes: [end], link: weak}\n"
        "- {round: 4, kind: down, nodes: [cloud]}\n"
        "- {round: 5, kind: restore, nodes: [end, edge, cloud]}\n",
        ScenarioConfig,
        "s.yaml",
    )

    assert list(EventKind) == [event.kind for event in scenario.events]
    assert (1.5, 20.0, Link.WEAK) == (scenario.events[0].factor, scenario.events[1].ms, scenario.events[2].link)
    assert {"s1", "end"} == set(scenario.background)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("kind: slow", "slow takes factor, not nothing"),
        ("kind: slow, ms: 3", "slow takes factor, not ['ms']"),
        ("kind: slow, factor: 2, ms: 3", "slow takes factor, not ['factor', 'ms']"),
        ("kind: link", "link takes link, not nothing"),
        ("kind: delay, link: weak", "delay takes ms, not ['link']"),
        ("kind: down, factor: 2", "down takes none of factor, ms and link, not ['factor']"),
        ("kind: restore, ms: 0", "restore takes none of factor, ms and link, not ['ms']"),
        ("kind: delay, ms: 3", "delay is for edge and cloud"),
    ],
)
def test_an_event_has_what_its_kind_needs_and_nothing_else(event: str, told: str) -> None:
    """The place is the event's."""
    text = f"events:\n- {{round: 2, kind: down, nodes: [edge]}}\n- {{round: 1, nodes: [s1], {event}}}\n"

    assert [f"s.yaml:5:33 events.1.kind: {told}"] == problems_of(text)


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("round: 0, kind: down, nodes: [s1]", "events.0.round: must be a whole number at least 1, not 0"),
        ("kind: down, nodes: [s1]", "events.0.round: is required"),
        ("round: 1, kind: down, nodes: []", "events.0.nodes: "),
        ("round: 1, kind: down", "events.0.nodes: is required"),
        ("round: 1, kind: slow, nodes: [s1], factor: 0", "events.0.factor: must be a number above 0 and up to 1000"),
        ("round: 1, kind: slow, nodes: [s1], factor: -2", "events.0.factor: must be a number above 0 and up to 1000"),
        ("round: 1, kind: delay, nodes: [edge], ms: -1", "events.0.ms: must be a number from 0 to 86400000, not -1"),
        (
            "round: 1, kind: restart, nodes: [s1]",
            "events.0.kind: must be slow, delay, link, down or restore, not 'restart'",
        ),
        (
            "round: 1, kind: link, nodes: [s1], link: week",
            "events.0.link: must be regular or weak, not 'week', did you mean weak?",
        ),
        ("round: 1, kind: down, nodes: [s1], node: s1", "events.0.node: is not a known key, did you mean nodes?"),
        ("round: 1, kind: down, nodes: ['s 1']", "events.0.nodes.0: 's 1' is not a node id"),
    ],
)
def test_a_mistake_in_an_event_has_its_place(event: str, problem: str) -> None:
    """Line 4, with the key."""
    found = problems_of(f"events:\n- {{{event}}}\n")

    assert any(told.startswith("s.yaml:4:") and problem in told for told in found), found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "background: {s1: {start: 1.1, stop: 0}}",
            "s.yaml:3:26 background.s1.start: must be a number from 0 to 1, not 1.1",
        ),
        ("background: {s1: {start: 0.1}}", "s.yaml:3:18 background.s1.stop: is required"),
        ("background: {S 1: {start: 0, stop: 0}}", "s.yaml:3:19 background.S 1: 'S 1' is not a node id"),
        ("own_load: {edge: 2}", "s.yaml:3:18 own_load.edge: must be a number from 0 to 1, not 2"),
        ("own_load: {edges: 1}", "s.yaml:3:12 own_load.edges: is not a known key, did you mean edge?"),
        ("event: []", "s.yaml:3:1 event: is not a known key, did you mean events?"),
    ],
)
def test_a_mistake_elsewhere_has_its_place(text: str, problem: str) -> None:
    """Probabilities, names and keys."""
    assert any(told.startswith(problem) for told in problems_of(text + "\n")), problems_of(text + "\n")
