"""When a broker is asked, and when it is given up: at which moment, and after how many bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.silence import LOOK_S, SILENT_S, SLOWEST_BYTES_PER_S, Silence

IMAGE_BYTES = 100_000
GOAL_S = 3.0


def given_up_s(silence: Silence, now_s: float, sent_bytes: int, until_s: float) -> float | None:
    """When the broker is given up if nothing more comes from it; None if not by `until_s`."""
    while now_s < until_s:
        now_s += LOOK_S
        silence.asks(now_s, sent_bytes)
        if silence.gives_up(now_s, sent_bytes):
            return now_s
    return None


@given(st.floats(0, 1), st.booleans())
def test_a_broker_that_freezes_at_any_moment_is_given_up_within_the_goal(phase_s: float, asked_before: bool) -> None:
    """Whether it owes an answer or not; but for what was sent meanwhile."""
    silence = Silence(5, 0.0)
    if asked_before:
        assert silence.asks(0.6, 10)
    silence.heard(0.6 + phase_s * LOOK_S)

    gave_up_s = given_up_s(silence, 0.6 + LOOK_S, 100, 60.0)

    assert gave_up_s is not None
    assert SILENT_S <= gave_up_s - (0.6 + phase_s * LOOK_S) <= GOAL_S


def test_an_image_on_a_weak_link_is_no_silence_though_others_were_heard_meanwhile() -> None:
    """A heartbeat of another node says nothing about how much of the image has left."""
    silence = Silence(5, 0.0)
    silence.published(IMAGE_BYTES)
    silence.heard(0.3)

    leaves_s = IMAGE_BYTES / SLOWEST_BYTES_PER_S

    assert given_up_s(silence, 0.3, IMAGE_BYTES, leaves_s) is None
    assert given_up_s(silence, leaves_s, IMAGE_BYTES, leaves_s + GOAL_S) is not None


def test_an_image_that_was_acknowledged_gives_no_more_time() -> None:
    """A frozen broker is known as soon as if nothing had been sent."""
    silence = Silence(5, 0.0)
    silence.published(IMAGE_BYTES)
    silence.acknowledged()
    silence.heard(1.0)

    assert given_up_s(silence, 1.0, IMAGE_BYTES, 1.0 + GOAL_S) is not None


def test_a_talkative_broker_is_asked_too_and_what_was_sent_does_not_add_up() -> None:
    """Telemetry is never acknowledged; after an hour of it a frozen broker is known as soon as at first."""
    silence, sent_bytes, questions = Silence(5, 0.0), 0, 0
    for look in range(7200):
        sent_bytes += 150
        silence.heard(look * LOOK_S)
        if silence.asks(look * LOOK_S, sent_bytes):
            questions += 1
            silence.answered()

    assert questions > 360  # each keep-alive of 5 s at least once
    assert given_up_s(silence, 3599.5, sent_bytes, 3599.5 + GOAL_S) is not None


def test_one_question_at_a_time() -> None:
    """A second one would wait behind the same image."""
    silence = Silence(5, 0.0)

    assert [True, False, False] == [silence.asks(now_s, 0) for now_s in (0.5, 1.0, 1.5)]


def test_an_answer_to_no_question_changes_nothing() -> None:
    """Nor a PUBACK for nothing."""
    silence = Silence(5, 0.0)
    silence.answered()
    silence.acknowledged()

    assert not silence.gives_up(0.0, 0)
