"""What strangers may send: named and generated bad input for every decoder, and for a running site."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
from PIL import Image

from broker.codec import decode
from broker.errors import Refused
from broker.topics import Channel
from model_zoo.errors import BadImage
from model_zoo.photograph import decode as decode_image
from model_zoo.strangers import MOST_PIXELS, MOST_SCANS, check_stranger
from testbed.hostile.images import hostile_images
from testbed.hostile.messages import BadMessage, bad_messages
from testbed.hostile.mutants import Tally, Target, run, targets
from testbed.hostile.through_broker import endure

EXAMPLES = Path(__file__).parents[1] / "wire" / "valid"
IMAGES = dict(hostile_images())


def taken(message: BadMessage) -> bool:
    """Whether our decoder accepts it; anything but a named refusal is raised."""
    try:
        decode(message.channel, message.payload)
    except Refused:
        return False
    return True


def test_every_named_message_is_judged_as_its_schema_judges_it() -> None:
    """At least 2,000 bad ones, refused without exception; what is right among them is taken."""
    messages = list(bad_messages(EXAMPLES))

    assert [] == [message.name for message in messages if taken(message) != message.valid]
    assert sum(not message.valid for message in messages) >= 2000
    assert len(messages) == len({message.name for message in messages})


def test_bytes_that_are_not_utf_8_are_refused_in_a_field_that_nobody_reads_too() -> None:
    """Unknown fields are ignored, but the whole message is text."""
    with pytest.raises(Refused, match="malformed"):
        decode(Channel.GOAL_SET, b'{"later": "\xe4"}')


def test_generated_input_is_read_or_refused_by_every_decoder() -> None:
    """Thirty thousand mutants: no decoder raises anything but its named errors, and most are refused."""
    tally = run(targets(EXAMPLES), 30_000, seed=5)

    assert ({}, []) == (dict(tally.unhandled), tally.findings)
    assert (30_000, True) == (tally.inputs, tally.refused > tally.taken)


def test_an_exception_that_a_decoder_does_not_name_is_found() -> None:
    """The trial itself can fail: an error of another kind is counted and told with its input."""

    def careless(data: bytes) -> int:
        return 1 // (data[0] - 7)

    tally = Tally()
    tally.add(Target("careless", [b"\x07"], (IndexError,), careless), b"\x07")
    tally.add(Target("careless", [b"\x07"], (IndexError,), careless), b"")

    assert ({"careless: ZeroDivisionError": 1}, 1) == (dict(tally.unhandled), tally.refused)
    assert "b'\\x07'" in tally.findings[0]


def test_there_are_fifty_hostile_images() -> None:
    """Each under a name of its own."""
    assert len(IMAGES) == len(list(hostile_images())) >= 50


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_a_hostile_image_is_refused_or_decoded(name: str) -> None:
    """As a serving node takes it: a named refusal, or pixels of the right shape; never another error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's about broken metadata
        try:
            check_stranger(IMAGES[name])
            pixels = decode_image(IMAGES[name], 32)
        except BadImage:
            return

    assert (32, 32, 3) == pixels.shape


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("png_of_16_megapixels", f"at most {MOST_PIXELS} from another node"),
        ("jpeg_of_16_megapixels", f"at most {MOST_PIXELS} from another node"),
        ("png_that_is_one_line", f"at most {MOST_PIXELS} from another node"),
        ("png_of_400_megapixels", "more than 50000000 pixels"),
        ("jpeg_with_hundreds_of_scans", f"at most {MOST_SCANS} are decoded"),
        ("gif_in_place_of_a_jpeg", "cannot be decoded"),
    ],
)
def test_what_would_take_a_nodes_time_or_memory_is_refused_before_it_is_decoded(name: str, said: str) -> None:
    """By what its header says, with the bound in the message."""
    with pytest.raises(BadImage, match=said):
        check_stranger(IMAGES[name])


def test_the_largest_image_that_a_device_may_send_is_taken() -> None:
    """A progressive JPEG of 1900 x 1900 pixels is no attack."""
    check_stranger(IMAGES["jpeg_progressive_of_the_largest_size"])


@pytest.mark.system
@pytest.mark.models
@pytest.mark.slow
def test_a_site_endures_bad_messages(tmp_path: Path) -> None:
    """Through the broker, on every channel of every node: no handler, link or job fails."""
    endured = endure(tmp_path, 1500, EXAMPLES)

    assert (0, 0, 0) == (endured.tracebacks, endured.links_lost, endured.failed_responses)
    assert {"malformed", "empty", "oversized"} <= set(endured.refused_by_the_orchestrator)


def test_scans_are_counted_in_a_jpeg_that_says_to_hold_several_pictures() -> None:
    """To Pillow that is another format, decoded by the same code."""
    image, file = Image.new("RGB", (64, 64)), io.BytesIO()
    image.save(file, "MPO", save_all=True, append_images=[image])

    with pytest.raises(BadImage, match="scans"):
        check_stranger(file.getvalue() + b"\xff\xda" * (MOST_SCANS + 1))
