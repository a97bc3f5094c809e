"""Background load, own load and events do what configs/scenario.py says of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import SimulationRefused

EDGE, CLOUD = 8, 9
ALL_D0_ON = np.array([[0, EDGE, CLOUD]])
STILL_MS = [402.0, 112.0, 92.0]


@pytest.mark.parametrize(("start", "stop"), [(0.2, 0.2), (0.1, 0.3), (0.5, 1.0), (1.0, 0.5)])
def test_a_node_is_busy_its_share_of_the_time(make_simulation: Any, start: float, stop: float) -> None:
    """In the long run start / (start + stop), and 1 / stop rounds on end on average; the other nodes never are."""
    happening = {"background": {"s2": {"start": start, "stop": stop}}}
    simulation = make_simulation(2, happening=happening, batch=200)
    local = np.zeros((200, 2), dtype=np.int64)
    busy = []
    for _ in range(400):
        simulation.play(local)
        busy.append(simulation.busy.copy())
    seen = np.array(busy)[50:]  # it begins with nobody busy
    begun = (~seen[:-1, :, 3] & seen[1:, :, 3]).sum()

    assert start / (start + stop) == pytest.approx(seen[:, :, 3].mean(), abs=0.01)
    assert 1 / stop == pytest.approx(seen[:, :, 3].sum() / begun, rel=0.05)
    assert not seen[:, :, :3].any()


def test_a_devices_own_chain_counts_more_than_the_one_for_all(make_simulation: Any) -> None:
    """`end` makes everybody busy, but for s2, which has an entry of its own, wherever in the file it stands."""
    always, never = {"start": 1.0, "stop": 0.0}, {"start": 0.0, "stop": 1.0}
    for background in ({"s2": never, "end": always}, {"end": always, "s2": never}):
        simulation = make_simulation(3, happening={"background": background})
        simulation.play(ALL_D0_ON)

        assert [[False, False, True, False, True]] == simulation.busy.tolist()


def test_a_busy_node_tells_so_before_the_round_in_which_it_is_slow(make_simulation: Any) -> None:
    """The state of round 2 shows 95 % CPU, and round 2 takes twice as long."""
    simulation = make_simulation(3, happening={"background": {"s1": {"start": 1.0, "stop": 1.0}}})
    told, took_ms = [], []
    for _ in range(4):
        told.append(float(simulation.state()[0, 6]))
        took_ms.append(float(simulation.play(ALL_D0_ON).response_ms[0, 0]))

    assert [5.0, 95.0, 5.0, 95.0] == told
    assert [402.0, 802.0, 402.0, 802.0] == took_ms


def test_own_load_is_told_in_the_next_observation_only(make_simulation: Any) -> None:
    """One job keeps half of the edge's two vCPUs busy, a quarter of the cloud's four, and a device all of it."""
    simulation = make_simulation(3, happening={"own_load": {"end": 0.5, "edge": 1.0, "cloud": 1.0}})
    told = [simulation.cpu_percent()[0].tolist()]
    for actions in ([0, EDGE, CLOUD], [EDGE, EDGE, EDGE], [0, 0, 0], [0, 0, EDGE]):
        simulation.play(np.array([actions]))
        told.append(simulation.cpu_percent()[0].tolist())

    assert [
        [5.0, 5.0, 5.0, 5.0, 5.0],
        [55.0, 30.0, 55.0, 5.0, 5.0],
        [100.0, 5.0, 5.0, 5.0, 5.0],  # three jobs on two vCPUs are 100 %, and 105 are told as 100
        [5.0, 5.0, 55.0, 55.0, 55.0],
        [55.0, 5.0, 55.0, 55.0, 5.0],
    ] == told


def test_own_load_changes_no_response_time(make_simulation: Any) -> None:
    """It is in the telemetry alone: the round that caused it is over."""
    plain = make_simulation(3)
    loaded = make_simulation(3, happening={"own_load": {"end": 1.0, "edge": 1.0, "cloud": 1.0}})

    for _ in range(3):
        assert plain.play(ALL_D0_ON).response_ms.tolist() == loaded.play(ALL_D0_ON).response_ms.tolist()


def _played_ms(simulation: Any, rounds: int) -> list[list[float]]:
    return [simulation.play(ALL_D0_ON).response_ms[0].tolist() for _ in range(rounds)]


@pytest.mark.parametrize(
    ("event", "after_ms"),
    [
        ({"kind": "slow", "nodes": ["s1"], "factor": 3}, [1202, 112, 92]),
        ({"kind": "slow", "nodes": ["edge", "cloud"], "factor": 2}, [402, 212, 172]),
        ({"kind": "slow", "nodes": ["end"], "factor": 0.5}, [202, 112, 92]),
        ({"kind": "delay", "nodes": ["edge"], "ms": 40}, [402, 152, 92]),
        ({"kind": "delay", "nodes": ["edge", "cloud"], "ms": 40}, [402, 152, 132]),
        ({"kind": "link", "nodes": ["s1"], "link": "weak"}, [430, 112, 92]),
        ({"kind": "link", "nodes": ["end"], "link": "weak"}, [430, 180, 160]),
        ({"kind": "link", "nodes": ["edge"], "link": "weak"}, [407, 124, 104]),
        ({"kind": "down", "nodes": ["edge"]}, [402, 3000, 92]),
        ({"kind": "down", "nodes": ["s1", "cloud"]}, [3000, 112, 3000]),
        ({"kind": "down", "nodes": ["end"]}, [3000, 3000, 3000]),
    ],
)
def test_an_event_changes_its_nodes_from_its_round_on(
    make_simulation: Any, event: dict[str, Any], after_ms: list[float]
) -> None:
    """Round 3 is the first that is different."""
    simulation = make_simulation(3, happening={"events": [{"round": 3, **event}]})

    assert [STILL_MS, STILL_MS, after_ms, after_ms] == _played_ms(simulation, 4)


def test_restore_brings_back_exactly_the_start(make_simulation: Any) -> None:
    """After everything has happened to every node, each field of the site is what it was."""
    nodes = ["edge", "cloud", "end"]
    happening = {
        "events": [
            {"round": 2, "kind": "slow", "nodes": nodes, "factor": 1.7},
            {"round": 2, "kind": "delay", "nodes": ["edge", "cloud"], "ms": 33.3},
            {"round": 2, "kind": "link", "nodes": ["edge", "s1", "s3"], "link": "weak"},
            {"round": 2, "kind": "link", "nodes": ["s2"], "link": "regular"},
            {"round": 2, "kind": "down", "nodes": nodes},
            {"round": 4, "kind": "restore", "nodes": nodes},
        ]
    }
    simulation = make_simulation(3, {"s2": "weak"}, happening)
    start, state = simulation.site, simulation.state()
    simulation.play(ALL_D0_ON)
    assert not np.array_equal(state, simulation.state())
    _played_ms(simulation, 2)

    for field in fields(start):
        assert np.array_equal(getattr(start, field.name), getattr(simulation.site, field.name)), field.name
    assert np.array_equal(state, simulation.state())


def test_restore_is_for_the_nodes_named(make_simulation: Any) -> None:
    """The edge is as at the start, the cloud stays slow."""
    happening = {
        "events": [
            {"round": 1, "kind": "slow", "nodes": ["edge", "cloud"], "factor": 2},
            {"round": 2, "kind": "restore", "nodes": ["edge"]},
        ]
    }

    assert [[402, 212, 172], [402, 112, 172]] == _played_ms(make_simulation(3, happening=happening), 2)


def test_slow_and_delay_add_up(make_simulation: Any) -> None:
    """In either order: 100 x 2 + 40 ms; a second factor replaces the first and leaves the delay."""
    slow = {"kind": "slow", "nodes": ["edge"], "factor": 2}
    delay = {"kind": "delay", "nodes": ["edge"], "ms": 40}
    for first, second in ((slow, delay), (delay, slow)):
        events = [{"round": 1, **first}, {"round": 2, **second}, {"round": 3, **slow, "factor": 3}]

        assert [252, 352] == [ms for _, ms, _ in _played_ms(make_simulation(3, happening={"events": events}), 3)[1:]]


def test_events_happen_in_the_order_of_rounds_then_of_the_file(make_simulation: Any) -> None:
    """The later line of one round wins; a file need not be sorted."""
    slow = {"kind": "slow", "nodes": ["s1"]}
    events = [{"round": 2, **slow, "factor": 4}, {"round": 1, **slow, "factor": 2}, {"round": 1, **slow, "factor": 3}]

    assert [1202, 1602] == [ms for ms, _, _ in _played_ms(make_simulation(3, happening={"events": events}), 2)]


def test_the_state_before_a_round_shows_its_events(make_simulation: Any) -> None:
    """The link that becomes weak in round 2 is told before round 2 is decided, and in round 1 from the reset on."""
    events = [{"round": number, "kind": "link", "nodes": [f"s{number}"], "link": "weak"} for number in (1, 2)]
    simulation = make_simulation(3, happening={"events": events})
    told = [simulation.weak_links().tolist()]
    simulation.play(ALL_D0_ON)
    told.append(simulation.weak_links().tolist())
    simulation.reset(1)

    assert [[0, 0, 1, 0, 0], [0, 0, 1, 1, 0]] == told
    assert [0, 0, 1, 0, 0] == simulation.weak_links().tolist()


def test_a_node_that_is_down_is_told_as_missing(make_simulation: Any) -> None:
    """The deadline counts, without noise and without stages; the others are measured."""
    simulation = make_simulation(3, happening={"events": [{"round": 1, "kind": "down", "nodes": ["edge"]}]})
    played = simulation.play(ALL_D0_ON)

    assert [[False, True, False]] == played.missing.tolist()
    assert 0.0 == played.stages_ms[0, 1].sum()
    assert (402 + 3000 + 92) / 3 == pytest.approx(played.expected_ms[0])


def test_the_constant_is_above_what_events_bring(make_simulation: Any) -> None:
    """A third above the slowest of all that will be: 802, 2402 for thrice as slow devices, 3000 for a missing one."""
    slow = {"round": 5, "kind": "slow", "nodes": ["s1"], "factor": 3}
    down = {"round": 5, "kind": "down", "nodes": ["edge"]}
    events: list[list[dict[str, Any]]] = [[], [slow], [down], [slow, {**slow, "round": 6, "kind": "restore"}]]
    del events[3][1]["factor"]

    assert [1100, 3300, 4000, 3300] == [make_simulation(3, happening={"events": e}).maximum_ms() for e in events]


@pytest.mark.parametrize(
    ("happening", "told"),
    [
        ({"background": {"s4": {"start": 0.1, "stop": 0.1}}}, "background names s4"),
        ({"background": {"s1": {"start": 0, "stop": 0}, "egde": {"start": 1, "stop": 1}}}, "background names egde"),
        ({"events": [{"round": 7, "kind": "down", "nodes": ["s1", "s9", "x"]}]}, "the event of round 7 names s9, x"),
        ({"events": [{"round": 7, "kind": "link", "nodes": ["s1", "cloud"], "link": "weak"}]}, "cloud has no link"),
    ],
)
def test_an_unknown_node_is_refused_by_name(make_simulation: Any, happening: dict[str, Any], told: str) -> None:
    """At once, not when its round comes; the message says which nodes there are."""
    with pytest.raises(SimulationRefused, match=told) as caught:
        make_simulation(3, happening=happening)

    assert "s1 to s3" in str(caught.value) or "edge or devices" in str(caught.value)


def test_devices_are_known_by_number(make_simulation: Any) -> None:
    """Of ten devices the first is called s01, and a scenario's, an experiment's or a calibration's s1 is it too."""
    happening = {"background": {"s1": {"start": 1, "stop": 0}, "s010": {"start": 1, "stop": 0}}}
    simulation = make_simulation(10, {"s3": "weak", "s9": "regular"}, happening)
    simulation.play(np.full((1, 10), 7))

    assert ("s01", "s10") == (simulation.site.devices[0], simulation.site.devices[-1])
    assert [0, 9] == np.flatnonzero(simulation.busy[0, 2:]).tolist()
    assert [2, 7] == np.flatnonzero(simulation.site.weak).tolist()  # s8 repeats s3
    assert [50.0, 25.0, 50.0] == simulation.site.local_ms[:3, 7].tolist()
