"""`docs/protocol.md` says what the code does: channels, fields, bounds, defaults and examples."""

from __future__ import annotations

import json
import re
import typing
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from broker.codec import CARRIAGE, decode
from broker.messages import Message, RoundSummary, Stages, SummaryAlarm, SummaryNode
from broker.topics import Channel
from broker.vocabulary import (
    LABEL_SET_PATTERN,
    MODEL_PATTERN,
    NAME_PATTERN,
    REQUEST_ID_PATTERN,
    NodeState,
    Outcome,
    Tier,
)
from device_agent.service.job import Refusal
from orchestrator.agent import Bound, Reason
from orchestrator.lag import PING_PERIOD_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
WIRE = ROOT / "tests" / "wire" / "valid"
NAMED = {
    NAME_PATTERN: "node id",
    REQUEST_ID_PATTERN: "request id",
    MODEL_PATTERN: "model name",
    LABEL_SET_PATTERN: "label set",
    r"^[0-9a-f]{64}\Z": "64 of 0-9 and a-f",
    r"^[0-9a-f]{32}\Z": "32 of 0-9 and a-f",
}
CHANNELS = {carriage.message: channel for channel, carriage in CARRIAGE.items() if carriage.message}
STRUCTS = [*typing.get_args(Message), Stages, RoundSummary, SummaryNode, SummaryAlarm]


def section(title: str) -> str:
    """What stands under the heading `title`, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"docs/protocol.md has no heading {title!r}")
    return found[1]


def heading_of(kind: type) -> str:
    """Messages stand under their channel, the parts of a message under their own name."""
    return f"`{CHANNELS[kind]}`: {kind.__name__}" if kind in CHANNELS else f"{kind.__name__}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _words(values: typing.Iterable[str]) -> str:
    *most, last = [f"`{value}`" for value in values]
    return f"{', '.join(most)} or {last}"


def _nullable(kind: inspect.UnionType) -> str:
    others = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
    return f"{type_text(others[0])}, or null"


def _bounded(word: str, kind: inspect.IntType | inspect.FloatType) -> str:
    return word if kind.ge is None else f"{word} {_number(kind.ge)} to {_number(kind.le)}"


def _text(kind: inspect.StrType) -> str:
    return f"text, at most {kind.max_length} characters" if kind.pattern is None else NAMED[kind.pattern]


WORDING = {
    inspect.IntType: lambda kind: _bounded("integer", kind),
    inspect.FloatType: lambda kind: _bounded("number", kind),
    inspect.BoolType: lambda _kind: "true or false",
    inspect.StrType: _text,
    inspect.EnumType: lambda kind: _words(kind.cls),
    inspect.ListType: lambda kind: f"list of at most {kind.max_length}: {type_text(kind.item_type)}",
    inspect.DictType: lambda kind: (
        f"object of at most {kind.max_length}: {type_text(kind.key_type)} to {type_text(kind.value_type)}"
    ),
    inspect.StructType: lambda kind: kind.cls.__name__,
    inspect.UnionType: _nullable,
}


def type_text(kind: inspect.Type) -> str:
    """How the page names a type."""
    return WORDING[type(kind)](kind)


def expected_rows(kind: type[msgspec.Struct]) -> list[str]:
    """The first three columns of the table of `kind`."""
    rows = []
    for field in inspect.type_info(kind).fields:
        value = field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        default = "required" if field.required else f"`{json.dumps(value)}`"
        rows.append(f"| `{field.name}` | {type_text(field.type)} | {default} |")
    return rows


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
def test_the_table_of_each_message_has_its_fields_types_bounds_and_defaults(kind):
    """Row by row, in the order of the fields; the last column is for people."""
    rows = [line for line in section(heading_of(kind)).splitlines() if line.startswith("| `")]

    assert expected_rows(kind) == [row[: row.rindex("|", 0, row.rindex("|")) + 1] for row in rows]
    assert all(row.split("|")[-2].strip() for row in rows)


def test_the_table_of_channels_is_the_codecs():
    """Quality of service, retain flag, expiry and size limit of every channel."""
    table = section("Channels")
    for channel, carriage in CARRIAGE.items():
        retained = "yes" if carriage.retain else "no"
        expiry = f"{carriage.expiry_s} s" if carriage.expiry_s else "none"
        tail = "/{device}" if channel is Channel.INFER else ""
        row = f"| `{channel}{tail}` | {carriage.qos} | {retained} | {expiry} | {carriage.limit_bytes} |"
        assert row in table


@pytest.mark.parametrize("kind", list(CHANNELS), ids=lambda kind: kind.__name__)
def test_every_example_is_a_golden_file_of_its_message(kind):
    """Each message has at least one example; it decodes, and `tests/wire/valid` holds the same."""
    golden = [json.loads(file.read_bytes()) for file in WIRE.glob(f"{kind.__name__}.*.json")]
    examples = re.findall(r"```json\n(.*?)```", section(heading_of(kind)), re.DOTALL)

    assert examples
    for example in examples:
        assert isinstance(decode(CHANNELS[kind], example.encode()), kind)
        assert json.loads(example) in golden


@pytest.mark.parametrize("pattern", [NAME_PATTERN, REQUEST_ID_PATTERN, MODEL_PATTERN, LABEL_SET_PATTERN])
def test_every_pattern_is_on_the_page(pattern):
    """The rule for a name is given as a regular expression, without Python's end mark."""
    assert f"`{pattern.replace(chr(92) + 'Z', '$')}`" in PAGE


@pytest.mark.parametrize("words", [Tier, NodeState, Outcome, Refusal, Bound, Reason], ids=lambda words: words.__name__)
def test_every_word_that_may_be_sent_is_explained(words: type[StrEnum]):
    """Each has a row or an item of its own somewhere on the page."""
    for word in words:
        assert re.search(rf"^[|-] `{word}`( \||:)", PAGE, re.MULTILINE), word


def test_the_rate_of_the_orchestrators_own_pings_is_on_the_page():
    """As the code has it."""
    assert f"{1 / PING_PERIOD_S:g} times a second" in PAGE


def test_every_link_within_the_page_has_its_heading():
    """As GitHub makes anchors: lower case, spaces to hyphens, other marks dropped."""
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors
