"""JSON Schema (draft 2020-12) of each kind of file, for editors that complete and check YAML while one types.

It is generated from the schema that the loader uses. What the loader refuses for its shape, the JSON Schema refuses
too; rules over several keys, and that a floor has one decimal, are the loader's alone: JSON Schema cannot say them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from configs.expected import UNITS
from configs.kinds import ALSO, schema_of
from configs.migration import current_version

FOLDER = "schemas"


class _Generator(GenerateJsonSchema):
    """Checks the keys of mappings too."""

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        patterns = made.pop("patternProperties", None)
        if patterns is not None:
            ((pattern, values),) = patterns.items()
            made |= {"additionalProperties": values, "propertyNames": {"pattern": pattern}}
        return made


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of one of `configs.kinds.KINDS`."""
    kind = ALSO.get(kind, kind)
    schema = schema_of(kind)
    made = schema.model_json_schema(schema_generator=_Generator)
    for properties in _properties(made):
        for key, value in properties.items():
            _name(key, value)
    _as_ecma(made)
    head = {
        "$schema": _Generator.schema_dialect,
        "$id": f"urn:tierwise:config:{kind}:{current_version(schema)}",
        "title": f"Tierwise: {kind}",
    }
    return head | {key: value for key, value in made.items() if key not in head}


def as_text(schema: dict[str, Any]) -> str:
    """As it is written to a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def file_name(kind: str) -> str:
    """`node.schema.json`."""
    return f"{ALSO.get(kind, kind)}.schema.json"


def modeline(kind: str) -> str:
    """The line that names the schema to editors, for a file beside the folder of schemas."""
    return f"# yaml-language-server: $schema={FOLDER}/{file_name(kind)}"


def _properties(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in (schema, *schema.get("$defs", {}).values()):
        yield part.get("properties", {})


def _name(key: str, value: dict[str, Any]) -> None:
    """Title and description as an editor shows them: with the unit, and without what pydantic makes of names."""
    end = next((end for end in UNITS if key.endswith(end)), "")
    words = key.removesuffix(end).replace("_", " ").capitalize()
    value["title"] = f"{words} ({UNITS[end][0]})" if end else words
    if isinstance(value.get("default"), dict):
        del value["default"]  # that of a section says what those of its keys say


def _as_ecma(part: Any) -> None:
    """Editors know no \\Z."""
    if isinstance(part, dict) and isinstance(pattern := part.get("pattern"), str):
        part["pattern"] = pattern.replace(r"\Z", "$")
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _as_ecma(inner)
