"""The golden files of `tests/wire`: what every message looks like, and what is not one, with the reason."""

from __future__ import annotations

import typing
from pathlib import Path

import msgspec
import pytest

from broker.codec import CARRIAGE, decode, encode
from broker.errors import Refused
from broker.messages import Message
from broker.topics import Channel

WIRE = Path(__file__).parents[1] / "wire"
VALID = sorted((WIRE / "valid").glob("*.json"))
INVALID = sorted((WIRE / "invalid").glob("*.json"))
CHANNELS = {carriage.message.__name__: channel for channel, carriage in CARRIAGE.items() if carriage.message}


def channel_of(file: Path) -> Channel:
    return CHANNELS[file.name.split(".")[0]]


def test_every_message_type_has_its_channel_and_files():
    """No message comes without examples of what is right and what is wrong."""
    types = {kind.__name__ for kind in typing.get_args(Message)}

    assert types == set(CHANNELS)
    for kind in types:
        names = {file.name for file in VALID}
        assert {f"{kind}.full.json", f"{kind}.minimal.json", f"{kind}.from_the_future.json"} <= names
        assert any(file.name.startswith(f"{kind}.") for file in INVALID)


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_a_valid_file_decodes_and_survives_encoding(file):
    """Decoded, encoded and decoded again it is the same message."""
    channel = channel_of(file)
    message = decode(channel, file.read_bytes())

    assert isinstance(message, CARRIAGE[channel].message)
    assert message == decode(channel, encode(message))


@pytest.mark.parametrize("file", [file for file in VALID if ".full." in file.name], ids=lambda file: file.stem)
def test_a_full_file_leaves_no_field_out(file):
    """The full example has every field, and what we send has the same."""
    message = decode(channel_of(file), file.read_bytes())

    assert msgspec.json.decode(file.read_bytes()) == msgspec.json.decode(encode(message))


@pytest.mark.parametrize("file", [file for file in VALID if "future" in file.name], ids=lambda file: file.stem)
def test_a_field_of_a_later_version_is_ignored(file):
    """Old and new nodes mix: a message with a field that we do not know is the message without it."""
    minimal = file.with_name(file.name.replace("from_the_future", "minimal"))

    assert decode(channel_of(file), minimal.read_bytes()) == decode(channel_of(file), file.read_bytes())


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_an_invalid_file_is_refused_with_its_reason(file):
    """The text beside the file: our reason, the channel, and the field at fault. The library's words are not ours."""
    reason, channel, *field = file.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n").split(": ")
    with pytest.raises(Refused, match=f"^{reason}: .*{channel}") as refused:
        decode(channel_of(file), file.read_bytes())

    assert reason == refused.value.reason
    assert all(name in str(refused.value).partition(channel)[2] for name in field)


def test_every_expected_error_has_its_file():
    """No text without the message that it is about."""
    assert {file.stem for file in INVALID} == {file.stem for file in (WIRE / "invalid").glob("*.txt")}
