"""From a row of the response log to a point in line protocol, and back. Pure; docs/influxdb.md has it as tables.

A NULL is no field. Accuracies are whole tenths of a point in the log and % here: one decimal, so the tenths come back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import compress
from typing import Any

from broker.vocabulary import Outcome

MOST_KEPT_KEYS = 10_000  # tags are few; a log of ever new node names must not grow the memory for ever


class Kind(StrEnum):
    """The type of a field. It never changes: InfluxDB refuses a point whose field has another type."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"
    PERCENT = "percent"  # a float; whole tenths in the log


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """Which column becomes which field, and what it means."""

    column: str
    name: str
    kind: Kind
    about: str


@dataclass(frozen=True, slots=True)
class Flag:
    """A field that is 1 where the outcome is that, else 0: InfluxQL averages numbers, so its mean is a share."""

    name: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Measurement:
    """One table of the log as InfluxDB has it."""

    name: str
    tags: tuple[str, ...]
    fields: tuple[FieldSpec, ...]
    flags: tuple[Flag, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that become tags and fields, the time before them."""
        return ("time_ns", *self.tags, *(spec.column for spec in self.fields))

    @property
    def selection(self) -> str:
        """What to select for `line_builder`: id, time, tags, and fields as SQLite can prepare them, in C."""
        prepared = [_PREPARED[spec.kind].format(spec.column) for spec in self.fields]
        flags = [f"outcome = '{flag.outcome}'" for flag in self.flags]
        return ", ".join(["id", "time_ns", *self.tags, *prepared, *flags])


def _fields(kind: Kind, **abouts: str) -> tuple[FieldSpec, ...]:
    return tuple(FieldSpec(name, name, kind, about) for name, about in abouts.items())


_WHO = ("site", "node", "tier", "model", "policy")
_REQUEST = _fields(Kind.STRING, request_id="of the request")

RESPONSE = Measurement(
    "response",
    _WHO,
    (
        *_REQUEST,
        *_fields(
            Kind.INTEGER,
            round="of the decision; absent: the device was never told one",
            policy_version="of the goal in force",
        ),
        *_fields(Kind.BOOLEAN, explored="the decision was an exploration"),
        FieldSpec("floor_tenths", "floor_percent", Kind.PERCENT, "accuracy floor in force, Top-5"),
        *_fields(Kind.STRING, outcome="done, fallen_back or failed", serving_node="who ran the model"),
        FieldSpec("accuracy_tenths", "accuracy_percent", Kind.PERCENT, "of the model that was run, Top-5"),
        *_fields(
            Kind.FLOAT,
            response_ms="issue of the request to its result, on the device's clock",
            decide_ms="of that: wait for the decision",
            encode_ms="encoding the image",
            uplink_ms="image on its way",
            queue_ms="waiting at the serving node",
            compute_ms="inference",
            downlink_ms="result on its way",
        ),
        *_fields(Kind.STRING, label="what was recognised"),
        *_fields(Kind.BOOLEAN, trained="the label comes from trained weights", emulated="times are emulated"),
        *_fields(Kind.STRING, reason="why it fell back or failed"),
    ),
    (Flag("fallen_back", Outcome.FALLEN_BACK), Flag("failed", Outcome.FAILED)),
)
DECISION = Measurement(
    "decision",
    _WHO,
    (
        *_REQUEST,
        *_fields(Kind.INTEGER, round="it belongs to", policy_version="of the goal in force"),
        *_fields(Kind.BOOLEAN, explored="an exploration"),
        FieldSpec("floor_tenths", "floor_percent", Kind.PERCENT, "accuracy floor in force, Top-5"),
        *_fields(Kind.STRING, serving_node="who shall run the model", fallback_model="if no result comes"),
        *_fields(
            Kind.FLOAT,
            deadline_ms="from the decision to the fallback",
            predicted_ms="response time that the agent expected; absent with all below: it did not say why",
            predicted_sd_ms="standard deviation of that",
        ),
        *_fields(Kind.STRING, runner_up="the next best action, as in d0@edge"),
        *_fields(Kind.FLOAT, runner_up_ms="expected of that", runner_up_sd_ms="standard deviation of that"),
        *_fields(Kind.STRING, bounds="what held: floor, load, entry", reason="best, uncertain, probe or held"),
    ),
)
TELEMETRY = Measurement(
    "telemetry",
    ("site", "node", "tier"),
    (
        *_fields(Kind.INTEGER, seq="sequence number of the node's session"),
        *_fields(Kind.FLOAT, cpu_percent="CPU in use", memory_percent="memory in use"),
        *_fields(Kind.STRING, link="regular or weak"),
        *_fields(Kind.FLOAT, rtt_ms="round trip to the broker", uplink_mbit_s="throughput of recent uploads"),
        *_fields(
            Kind.INTEGER,
            queue_length="jobs that wait or run",
            overruns="periods that monitoring missed",
            refused="jobs that were refused",
        ),
        *_fields(Kind.BOOLEAN, emulated="times are emulated"),
    ),
)
MEASUREMENTS: Mapping[str, Measurement] = {each.name: each for each in (RESPONSE, DECISION, TELEMETRY)}
CHECK = "tierwise_check"  # the measurement of test points

Row = Sequence[Any]


def line_builder(measurement: Measurement) -> Callable[[Row], str]:
    """What makes a line of a row of `measurement.selection`. Values that no InfluxDB takes become a line all the same.

    One formatting by a template per row, not one step per field: a template for each set of fields that are there.
    """
    first = 2 + len(measurement.tags)
    forms = [f"{spec.name}={_FORMS[spec.kind]}" for spec in measurement.fields]
    forms += [f"{flag.name}={_FORMS[Kind.INTEGER]}" for flag in measurement.flags]
    whole = f"%s {','.join(forms)} %s"
    keys: dict[Row, str] = {}
    templates: dict[tuple[bool, ...], str] = {}

    def line(row: Row) -> str:
        tags = row[2:first]
        key = keys.get(tags)
        if key is None:
            if len(keys) >= MOST_KEPT_KEYS:
                keys.clear()
            key = keys[tags] = series_key(measurement.name, dict(zip(measurement.tags, tags, strict=True)))
        values = row[first:]
        if None not in values:
            return whole % (key, *values, row[1])
        there = tuple([value is not None for value in values])
        template = templates.get(there)
        if template is None:
            template = templates[there] = f"%s {','.join(compress(forms, there))} %s"
        return template % (key, *compress(values, there), row[1])

    return line


def series_key(measurement: str, tags: Mapping[str, str | None]) -> str:
    """Measurement and tags; a tag without a value is left out."""
    return ",".join([measurement, *(f"{name}={_tag(value)}" for name, value in tags.items() if value)])


def row_of(measurement: Measurement, found: Mapping[str, Any]) -> tuple[Any, ...]:
    """`found` by name, as InfluxQL answers with times in ns, as the row of `measurement.columns`."""
    tags = (found.get(tag) or None for tag in measurement.tags)
    return (found["time"], *tags, *(_stored(spec.kind, found.get(spec.name)) for spec in measurement.fields))


def _stored(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind is Kind.PERCENT:
        return round(value * 10)
    if kind is Kind.BOOLEAN:
        return int(value)
    return float(value) if kind is Kind.FLOAT else value


def _tag(value: str) -> str:
    # A line feed would begin another point. A backslash has no escape in a tag; at the end it would eat the comma.
    plain = value.replace("\n", r"\n").replace("\r", r"\r").replace("\t", r"\t").rstrip("\\")
    return plain.replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ")


# Floats as the shortest text that gives the same number again.
_FORMS = {Kind.FLOAT: "%r", Kind.PERCENT: "%r", Kind.INTEGER: "%si", Kind.BOOLEAN: "%s", Kind.STRING: '"%s"'}
_PREPARED = {
    Kind.FLOAT: "{}",
    Kind.PERCENT: "{} / 10.0",
    Kind.INTEGER: "{}",
    Kind.BOOLEAN: "CASE WHEN {0} = 0 THEN 'false' WHEN {0} THEN 'true' END",
    Kind.STRING: r"""replace(replace({}, '\', '\\'), '"', '\"')""",
}
