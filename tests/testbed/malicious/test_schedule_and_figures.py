"""The pure parts of the trial with malicious devices: who attacks when, and what came of it."""

from __future__ import annotations

from testbed.malicious.figures import Answer, by_attack, faults_of, window
from testbed.malicious.schedule import Attack, fingerprint, schedule

ATTACKERS = ("bad1", "bad2", "bad3")


def test_a_seed_gives_the_same_schedule_and_another_one_another() -> None:
    """On every machine."""
    assert schedule(7, ATTACKERS, 600, 20) == schedule(7, ATTACKERS, 600, 20)
    assert fingerprint(schedule(7, ATTACKERS, 600, 20)) != fingerprint(schedule(8, ATTACKERS, 600, 20))


def test_each_attack_comes_alone_and_then_one_to_three_devices_at_a_time() -> None:
    """Nothing is left out, nobody attacks in two ways at once, and the time is filled."""
    segments = schedule(7, ATTACKERS, 600, 20)
    attacks = [segment for segment in segments if segment.attacks]
    alone = [one for segment in attacks[: len(Attack)] for one in segment.attacks]
    mixed = [dict(segment.attacks) for segment in attacks[len(Attack) :]]

    assert [("bad1", attack) for attack in Attack] == alone
    assert {1, 2, 3} == {len(active) for active in mixed}
    assert 600 == sum(segment.lasts_s for segment in attacks)


def test_after_each_three_attacks_there_is_a_rest() -> None:
    """One segment follows the other without a gap."""
    segments = schedule(7, ATTACKERS, 600, 20)
    ends_s = [segment.at_s + segment.lasts_s for segment in segments]

    assert [3, 7, 11] == [number for number, segment in enumerate(segments) if not segment.attacks][:3]
    assert [segment.at_s for segment in segments[1:]] == ends_s[:-1]


def _answer(at_s: float, node: str = "s1", outcome: str = "done", tenths: int = 850) -> Answer:
    return Answer(at_s, node, outcome, "edge", tenths, 100.0)


def test_a_window_counts_what_was_stored_in_its_spans() -> None:
    """Rates are over all spans together; the slowest device has none of its own here."""
    answers = [_answer(0.5), _answer(1.5), _answer(2.5, outcome="fallen_back", tenths=870), _answer(9.0)]
    found = window(answers, ["s1", "s2"], [(0.0, 1.0), (2.0, 4.0)])

    assert (2, 3.0, 2 / 3, 0.0) == (found.answers, found.seconds, found.per_s, found.slowest_per_s)
    assert (86.0, 50.0, 100.0) == (found.accuracy_percent, found.fallen_back_percent, found.offloaded_percent)


def test_spans_with_one_attack_are_told_by_its_name() -> None:
    """Those with several are mixed, those with none are rest."""
    spans: list[tuple[float, float, tuple[str, ...]]] = [
        (0.0, 1.0, ("a",)), (1.0, 2.0, ("a", "b")), (2.0, 3.0, ("a",)), (3.0, 4.0, ()),
    ]  # fmt: skip

    assert {"a": [(0.0, 1.0), (2.0, 3.0)], "mixed": [(1.0, 2.0)], "rest": [(3.0, 4.0)]} == by_attack(spans)


def test_a_run_fails_for_a_low_rate_a_broken_floor_and_every_lost_id() -> None:
    """And for nothing else."""
    before = window([_answer(at / 10) for at in range(100)], ["s1"], [(0.0, 10.0)])
    slow = window([_answer(at / 7.9, tenths=849) for at in range(79)], ["s1"], [(0.0, 10.0)])
    good = window([_answer(at / 8) for at in range(80)], ["s1"], [(0.0, 10.0)])

    assert [] == faults_of(before, good, 85.0, 0, 0, 0)
    assert 5 == len(faults_of(before, slow, 85.0, 1, 1, 1))
