"""One mistake that pydantic found, in words that help: what may stand there, what stands there, and how to mend it.

Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticUndefined

from configs.expected import UNITS, Expected, Location, choices_of, default_in_words, expected_at, in_words, paths_of

LONGEST_SHOWN = 40
MOST_LISTED = 14
NUMBER = re.compile(r"[-+]?[\d_]+(\.\d*)?")
WITH_UNIT = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*([a-zA-Zµ%/]+)")
# What people write behind a number: the base unit, and how many of it.
WRITTEN_UNITS = {
    "us": ("s", 1e-6), "ms": ("s", 1e-3), "s": ("s", 1.0), "sec": ("s", 1.0), "min": ("s", 60.0), "m": ("s", 60.0),
    "h": ("s", 3600.0), "d": ("s", 86_400.0), "b": ("byte", 1.0), "kb": ("byte", 1e3), "mb": ("byte", 1e6),
    "gb": ("byte", 1e9), "kib": ("byte", 1024.0), "mib": ("byte", 2.0**20), "gib": ("byte", 2.0**30),
    "px": ("px", 1.0), "%": ("%", 1.0), "kbit/s": ("bit/s", 1e3), "mbit/s": ("bit/s", 1e6), "gbit/s": ("bit/s", 1e9),
}  # fmt: skip
TEXT_AS = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}


def explain(schema: type[BaseModel], location: Location, detail: ErrorDetails, node: yaml.Node | None) -> str:
    """What is wrong at `location`, where `node` stands; None where nothing does."""
    kind, expected = detail["type"], expected_at(schema, location)
    if kind == "extra_forbidden":
        return "is not a known key" + unknown_key(schema, location)
    if kind == "missing":
        return "is required" + (f": {in_words(expected)}" if expected is not None and _says(expected) else "")
    if kind in ("value_error", "assertion_error") or expected is None:
        return _lowered(detail["msg"].removeprefix("Value error, ")) + _quoted_number(node)
    if kind in ("enum", "literal_error"):
        return _choice(expected, node, detail)
    sized = _size(detail)
    what = sized or f"must be {in_words(expected)}"
    shown = "" if sized else f", not {_shown(node, detail['input'])}"
    hint = _hint(expected, node)
    return what + shown + (f": {hint}" if hint else "") + _about(expected)


def unknown_key(schema: type[BaseModel], location: Location) -> str:
    """What may have been meant by the last part of `location`."""
    word, parent = str(location[-1]), expected_at(schema, location[:-1])
    keys = list(parent.section.model_fields) if parent is not None and parent.section is not None else []
    stem = _stem(word)
    same_thing = [key for key in keys if _stem(key) == stem]
    near = same_thing or difflib.get_close_matches(word, keys, n=1, cutoff=0.5)
    elsewhere = [path for path in paths_of(schema) if path.rpartition(".")[2] == word]
    if elsewhere and not same_thing:
        section = elsewhere[0].rpartition(".")[0]
        where = f"under {section}:" if section else "at the left margin"
        return f" here, did you mean {elsewhere[0]}? It stands {where}"
    if near:
        field = expected_at(schema, (*location[:-1], near[0]))
        unit = f" It is in {field.unit}" if field and field.unit and _stem(word) != word and near[0] != word else ""
        return f", did you mean {near[0]}?{unit}"
    return f"; known here: {', '.join(keys)}" if 0 < len(keys) <= MOST_LISTED else ""


def suggestion(word: str, candidates: Sequence[str]) -> str:
    """`, did you mean edge?`, or nothing."""
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    near = [candidate for candidate in candidates if candidate.lower() == word.lower()] or near
    return f", did you mean {near[0]}?" if near else ""


def _stem(key: str) -> str:
    """The key without its unit."""
    return next((key.removesuffix(end) for end in UNITS if key.endswith(end)), key)


def _says(expected: Expected) -> bool:
    return bool(choices_of(expected.annotation)) or expected.annotation in (int, float)


def _choice(expected: Expected, node: yaml.Node | None, detail: ErrorDetails) -> str:
    choices = choices_of(expected.annotation)
    written = node.value if isinstance(node, yaml.ScalarNode) else str(detail["input"])
    quoted = isinstance(node, yaml.ScalarNode) and node.style is not None and written in choices
    near = f": remove the quotes: {written}" if quoted else suggestion(str(written), choices)
    return f"must be {in_words(expected)}, not {_shown(node, detail['input'])}" + near + _about(expected)


def _size(detail: ErrorDetails) -> str:
    """For what is too long or too short."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "string_too_short" if context.get("min_length") == 1:
            return "must not be empty"
        case "too_short" | "too_long":
            least, most = context.get("min_length"), context.get("max_length")
            return f"must have at least {least} entries" if least is not None else f"must have at most {most} entries"
        case "string_too_short" | "string_too_long":
            least, most = context.get("min_length"), context.get("max_length")
            return (
                f"must have at least {least} characters"
                if least is not None
                else f"must have at most {most} characters"
            )
        case "string_pattern_mismatch":
            return f"must match {context.get('pattern')}"
    return ""


def _hint(expected: Expected, node: yaml.Node | None) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return ""
    written, tag = node.value.strip(), node.tag.rpartition(":")[2]
    if tag == "null":
        return "give it a value" + ("" if expected.default is PydanticUndefined else ", or leave the key out")
    if expected.annotation in (int, float):
        if tag == "str":
            return _number_hint(expected, written, quoted=node.style is not None)
        return "leave out the part after the point" if tag == "float" and expected.annotation is int else ""
    if tag in TEXT_AS and (expected.annotation is str or hasattr(expected.annotation, "__fspath__")):
        return f"YAML reads {written} as {TEXT_AS[tag]}; put it in quotes: '{written}'"
    return _unfinished(written) if tag == "str" and expected.section is not None else ""


def _unfinished(written: str) -> str:
    """For text where keys with values are expected."""
    if squeezed := re.match(r"([a-z_]+:)\S", written):
        return f"is a blank missing after {squeezed[1]}?"
    return f"is a colon missing after {written.split(maxsplit=1)[0]}?" if " " in written else ""


def _quoted_number(node: yaml.Node | None) -> str:
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"') and NUMBER.fullmatch(node.value)
    return f": remove the quotes: {quoted[0]}" if quoted else ""


def _number_hint(expected: Expected, written: str, quoted: bool) -> str:
    if NUMBER.fullmatch(written) and quoted:
        return f"remove the quotes: {written}"
    if re.fullmatch(r"[-+]?\d+,\d+", written):
        return f"write a point: {written.replace(',', '.')}"
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", written):
        return f"YAML takes {written} for text; write {float(written):.15g}"
    match = WITH_UNIT.fullmatch(written)
    own = next((unit for end, unit in UNITS.items() if expected.key.endswith(end)), None)
    if match is None or own is None:
        return ""
    base, factor = WRITTEN_UNITS.get(match[2].lower(), ("", 1.0))
    if base != own[1]:
        return f"write the number alone, in {own[0]}"
    value = float(match[1]) * factor / own[2]
    return f"write the number alone, in {own[0]}: {value:.12g}"


def _shown(node: yaml.Node | None, given: Any) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith(":null"):
            return "empty" if not node.value else "null"
        text = node.value if len(node.value) <= LONGEST_SHOWN else node.value[: LONGEST_SHOWN - 3] + "..."
        return repr(text) if node.tag.endswith(":str") else text
    return type(given).__name__


def _about(expected: Expected) -> str:
    """The default and what the key means, in brackets."""
    default = default_in_words(expected)
    parts = [f"default {default}" if default else "", expected.description.removeprefix("default: ")]
    said = "; ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _lowered(what: str) -> str:
    return what[:1].lower() + what[1:]
