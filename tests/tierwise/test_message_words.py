"""What messages say to a person, and that nothing in them reaches the terminal raw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.codec import CARRIAGE, decode
from broker.messages import Result
from broker.publish_packet import Publish
from broker.topics import Channel
from broker.vocabulary import SiteId
from tierwise.commands.watch import line
from tierwise.message_words import WORDS, image_format, printable, words
from tierwise.watching import seen

VALID = sorted((Path(__file__).parents[1] / "wire" / "valid").glob("*.json"))
CHANNELS = {carriage.message.__name__: channel for channel, carriage in CARRIAGE.items() if carriage.message}
LAB = SiteId("lab")


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_every_valid_message_is_said_in_one_line(file):
    """Something is said of each, on one line."""
    channel = CHANNELS[file.name.split(".")[0]]
    said = words(decode(channel, file.read_bytes()))

    assert said
    assert "\n" not in said


def test_every_message_type_has_words():
    """A new message cannot come without them."""
    assert {carriage.message for carriage in CARRIAGE.values() if carriage.message} == set(WORDS)


@given(st.text())
@example("\x1b]0;title\x07\x1b[2J\r\n\u202eevil\u2028")
def test_printable_text_has_nothing_that_a_terminal_obeys(text):
    """No control character, no direction mark, no line break is left; ordinary text stays as it is."""
    shown = printable(text)

    assert shown.isprintable()
    assert not text.isprintable() or text == shown


@given(
    st.sampled_from([b"tierwise/v1/lab/s1/state", b"tierwise/v1/lab/e/infer/s1", b"\xff", b"x/\x1b[2J", b""]),
    st.binary(max_size=200),
    st.booleans(),
)
@example(
    b"tierwise/v1/lab/s1/result", b'{"request_id":"12345678","model":"d0","detail":"\\u001b[2J","refused":"x"}', False
)
def test_whatever_arrives_is_one_printable_line_and_one_json_object(topic, payload, retain):
    """Of any topic and any bytes: shown, and never raw."""
    message = seen(Publish(topic, payload, retain, 5, None, (), 10), LAB, 1_700_000_000.0)

    assert line(message, verbose=True).plain.isprintable()
    assert "\n" not in json.dumps(message.as_json())
    assert (message.body is None) != (message.refused is None)


def test_an_untrained_label_says_so():
    """Weights that mean nothing give labels that mean nothing."""
    result = Result(request_id="12345678", model="d0", label="tabby cat", trained=False)

    assert "untrained: tabby cat" in words(result)


def test_an_image_is_shown_as_format_and_size():
    """Its bytes are nobody's business."""
    message = seen(Publish(b"tierwise/v1/lab/e/infer/s1", b"\xff\xd8\xff" + bytes(13_397), False, 1), LAB, 0.0)

    assert "JPEG, 13.4 kB from s1" == message.says()
    assert "JPEG" == message.as_json()["image"]
    assert ["PNG", "unknown format"] == [image_format(b"\x89PNG\r\n\x1a\n..."), image_format(b"GIF89a")]


def test_a_retained_decision_is_shown_as_refused():
    """No device would obey it, and the reason is said."""
    message = seen(Publish(b"tierwise/v1/lab/s1/decision", b"{}", True, 1), LAB, 0.0)

    assert ("retained", Channel.DECISION) == (message.refused.reason, message.address.channel)
    assert "refused, retained: decision is never retained" == message.says()
