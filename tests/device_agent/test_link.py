"""The link's class, from measured round trips and uploads."""

from __future__ import annotations

from broker.vocabulary import Link
from device_agent.monitoring.link import SAMPLE_LIFE_S, SAMPLES, LinkEstimator


def estimator(*round_trips_ms: float) -> LinkEstimator:
    link = LinkEstimator(weak_rtt_ms=15.0, weak_uplink_mbit_s=1.0)
    for at_s, rtt_ms in enumerate(round_trips_ms):
        link.round_trip(float(at_s), rtt_ms)
    return link


def test_nothing_measured_is_regular_and_says_so() -> None:
    """Before the first measurement there is no round trip and no throughput to report."""
    link = estimator()

    assert (Link.REGULAR, None, None) == (link.link(0.0), link.rtt_ms(0.0), link.uplink_mbit_s(0.0))


def test_a_delayed_link_is_weak() -> None:
    """20 ms on each outgoing message show in every round trip."""
    assert Link.WEAK is estimator(20.5, 20.6, 20.4).link(3.0)


def test_one_hiccup_does_not_make_a_link_weak() -> None:
    """The median is compared."""
    link = estimator(0.5, 0.6, 300.0, 0.5)

    assert (Link.REGULAR, 0.55) == (link.link(4.0), link.rtt_ms(4.0))


def test_the_first_samples_of_a_start_do_not_make_a_link_weak() -> None:
    """Birth and state are acknowledged late while a loaded machine starts; two samples are no evidence."""
    assert Link.REGULAR is estimator(70.0, 40.0).link(2.0)


def test_a_weak_link_must_be_clearly_better_to_be_regular_again() -> None:
    """Around the threshold the class does not flip to and fro."""
    link = estimator(*[16.0] * SAMPLES)
    for at_s in range(SAMPLES):
        link.round_trip(10.0 + at_s, 14.0)
    assert Link.WEAK is link.link(20.0)
    for at_s in range(SAMPLES):
        link.round_trip(20.0 + at_s, 11.0)

    assert Link.REGULAR is link.link(30.0)


def test_slow_uploads_make_a_link_weak() -> None:
    """10 kB in 0.16 s are 0.5 Mbit/s, below the threshold, however short the round trip is."""
    link = estimator(0.5, 0.5, 0.5)
    for _ in range(3):
        link.upload(1.0, 10_000, 0.16)

    assert (Link.WEAK, 0.5) == (link.link(1.0), link.uplink_mbit_s(1.0))


def test_old_uploads_do_not_keep_a_link_weak() -> None:
    """A device that was sent nothing up any more because its link was weak gets another chance."""
    link = estimator()
    for _ in range(3):
        link.upload(0.0, 10_000, 0.16)
    for _ in range(3):
        link.round_trip(SAMPLE_LIFE_S + 1, 0.5)

    assert (Link.REGULAR, None) == (link.link(SAMPLE_LIFE_S + 1), link.uplink_mbit_s(SAMPLE_LIFE_S + 1))


def test_a_link_that_is_no_longer_measured_keeps_its_class() -> None:
    """Without a broker nothing is measured, and nothing is known to have changed."""
    link = estimator(30.0, 30.0, 30.0)

    assert (Link.WEAK, None) == (link.link(1000.0), link.rtt_ms(1000.0))


def test_settled_after_enough_round_trips() -> None:
    """A median of fewer samples could be one hiccup."""
    few, enough = estimator(*[1.0] * (SAMPLES - 1)), estimator(*[1.0] * SAMPLES)

    assert (False, True) == (few.settled(SAMPLES), enough.settled(SAMPLES))
