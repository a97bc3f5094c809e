"""Named bad messages: every field of every message with every kind of wrong value, and texts that are no message.

What is right is judged independently of our decoder: by `jsonschema`, on the JSON Schema of the message's type and the
JSON as Python's own parser reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import msgspec

from broker.codec import CARRIAGE
from broker.topics import Channel

WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "minus_one": -1,
    "minus_tiny": -1e-9,
    "fraction": 0.5,
    "huge_integer": 10**40,
    "beyond_53_bits": 2**53,
    "huge_float": 1e308,
    "empty_text": "",
    "text": "no such word",
    "number_as_text": "12",
    "wildcard": "+",
    "all_wildcard": "#",
    "path": "../../etc/passwd",
    "separator": "a/b",
    "line_feed": "s1\n",
    "nul": "s1\x00",
    "escape": "\x1b[2J",
    "right_to_left": "s1\u202e",
    "capital": "S1",
    "long_text": "x" * 5000,
    "list": [],
    "list_of_lists": [[[[]]]],
    "object": {},
    "object_with_wildcard": {"#": "0" * 64},
}


@dataclass(frozen=True, slots=True)
class BadMessage:
    """One payload on one channel; `valid` by the independent judge."""

    name: str
    channel: Channel
    payload: bytes
    valid: bool


class Judge:
    """What the schema of each channel's message says of a payload."""

    def __init__(self) -> None:
        self._validators = {
            channel: jsonschema.Draft202012Validator(msgspec.json.schema(carriage.message))
            for channel, carriage in CARRIAGE.items()
            if carriage.message is not None
        }

    def valid(self, channel: Channel, payload: bytes) -> bool:
        """Whether the payload is such a message, within the channel's size."""
        if not payload or len(payload) > CARRIAGE[channel].limit_bytes:
            return False
        try:
            value = json.loads(payload.decode("utf-8"), parse_constant=_no_constant, parse_int=_integer)
        except (ValueError, RecursionError):
            return False
        return not _lone_surrogate(value) and bool(self._validators[channel].is_valid(value))


def bad_messages(examples: Path) -> Iterator[BadMessage]:
    """All of them; `examples` is the folder with a full example of each message (`tests/wire/valid`)."""
    judge = Judge()
    for channel, carriage in CARRIAGE.items():
        if carriage.message is None:
            continue
        kind = carriage.message.__name__
        example = (examples / f"{kind}.full.json").read_bytes()
        texts = {**_wrong_fields(json.loads(example)), **_wrong_texts(example)}
        for what, payload in texts.items():
            yield BadMessage(f"{kind}.{what}", channel, payload, judge.valid(channel, payload))


def _wrong_fields(example: Any) -> dict[str, bytes]:
    texts = {}
    for path in _paths(example):
        name = ".".join(str(part) for part in path)
        texts[f"{name}.missing"] = json.dumps(_without(example, path)).encode()
        for what, value in WRONG.items():
            texts[f"{name}.{what}"] = json.dumps(_with(example, path, value)).encode()
    return texts


def _wrong_texts(example: bytes) -> dict[str, bytes]:
    """What is not JSON, not UTF-8, not an object, or too much."""
    return {
        "empty": b"",
        "space": b" ",
        "nul": b"\x00",
        "array": b"[]",
        "number": b"1",
        "text": b'"s1"',
        "null": b"null",
        "array_of_it": b"[" + example + b"]",
        "twice": example + example,
        "with_rubbish_behind": example + b"x",
        "with_a_byte_order_mark": b"\xef\xbb\xbf" + example,
        "utf_16": example.decode().encode("utf-16"),
        "latin_1": b'{"label": "\xe4"}',
        "lone_surrogate": example.replace(b'"', b'"\\ud800', 1),
        "overlong_slash": example.replace(b"{", b'{"\xc0\xaf": 1, ', 1),
        "not_a_number": example.replace(b": 0", b": NaN", 1).replace(b": 1", b": NaN", 1),
        "infinity": b'{"response_ms": Infinity}',
        "many_digits": b'{"session": ' + b"9" * 5000 + b"}",
        "many_zeros": b'{"session": 1' + b"0" * 5000 + b".0}",
        "exponent": b'{"session": 1e999999999}',
        "deep_arrays": b"[" * 8000 + b"]" * 8000,
        "deep_objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
        "deep_unknown_field": b'{"unknown": ' + b"[" * 8000 + b"]" * 8000 + b", " + example[1:],
        "many_keys": b"{" + b",".join(b'"k%d": 1' % number for number in range(1000)) + b"}",
        "python": b"{'session': 1}",
        "pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
        "yaml_tag": b"!!python/object/apply:os.system ['true']",
        "msgpack": b"\x81\xa7session\x01",
        "comment": b"/* */ " + example,
        "trailing_comma": example.rstrip()[:-1] + b",}",
        "oversized": b'{"unknown": "' + b"x" * 200_000 + b'", ' + example[1:],
        **{f"cut_at_{at}": example[:at] for at in range(1, len(example) - 1, max(1, len(example) // 12))},
    }


def _paths(value: Any, to: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*to, key)
        yield from _paths(part, (*to, key))


def _with(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = _with(value[path[0]], path[1:], new)
    return changed


def _without(value: Any, path: tuple[str | int, ...]) -> Any:
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        del changed[path[0]]
    else:
        changed[path[0]] = _without(value[path[0]], path[1:])
    return changed


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < 400 else float(digits)  # Python's own limit is 4300


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _lone_surrogate(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
