"""What an editor accepts and what the loader accepts are the same, but for what JSON Schema cannot say."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.expected import keys_of
from configs.json_schema import as_text, file_name, json_schema
from configs.kinds import ALSO, KINDS, kind_of, schema_of
from configs.loader import ConfigError, loads

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
JUDGES = {kind: jsonschema.Draft202012Validator(json_schema(kind)) for kind in KINDS}
PARSED = {file: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES}

# Rules over several keys, and over digits: the loader's alone.
BEYOND = (
    "lacks", "must be none on tier", "must be above rounds.deadline_ms", "at most one decimal", "stands here twice",
    "is a name of the broker's own", "must be less than certificate_days", "takes", "is for edge and cloud",
    "have the same name", "above fastest", "is loopback", "above",
    "lack one on tier",
)  # fmt: skip
NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 7, 0.5, 1e300, "", "x", "1", "yes", "min", "A b", "end", "d0", [], ["x"], {}, {"x": 1},
    [None], {"d0": -1}, {"D0": 1}, "a" * 300,
]  # fmt: skip


def test_every_kind_has_a_schema_of_the_2020_draft_with_an_id_of_its_own() -> None:
    """Each is a valid schema, named, and closed to unknown keys."""
    schemas = [json_schema(kind) for kind in KINDS]

    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False
    assert len(KINDS) == len({schema["$id"] for schema in schemas})
    assert {"https://json-schema.org/draft/2020-12/schema"} == {schema["$schema"] for schema in schemas}


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_fresh(kind: str) -> None:
    """If not: `tierwise config schema --output configs/schemas` writes them anew."""
    assert as_text(json_schema(kind)) == (CONFIGS / "schemas" / file_name(kind)).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_first_line_of_a_shipped_file_names_its_schema(file: Path) -> None:
    """Editors look there; the path is relative to the file."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    named = (file.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve()

    assert (CONFIGS / "schemas" / file_name(kind_of(first))).resolve() == named
    assert named.is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_file_is_what_its_schema_says(file: Path) -> None:
    """As the loader says too."""
    JUDGES[kind_of(file.read_text(encoding="utf-8"))].validate(PARSED[file])


@pytest.mark.parametrize("kind", [*KINDS, *ALSO])
def test_every_key_has_a_title_in_words_with_its_unit(kind: str) -> None:
    """An editor shows it while one types; patterns are in the language of editors."""
    schema = json_schema(kind)
    sections = [schema, *schema.get("$defs", {}).values()]
    titles = {key: value["title"] for section in sections for key, value in section.get("properties", {}).items()}

    assert {key.split(".")[0] for key, _ in keys_of(schema_of(kind))} <= set(titles)
    assert all(title.endswith("(milliseconds)") for key, title in titles.items() if key.endswith("_ms"))
    assert "\\\\Z" not in json.dumps(schema)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    here = [path]
    if isinstance(value, dict):
        return here + [place for key, inner in value.items() for place in _places(inner, (*path, key))]
    if isinstance(value, list):
        return here + [place for at, inner in enumerate(value) for place in _places(inner, (*path, at))]
    return here


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, Any]:
    """A shipped file as data, with up to three values replaced, removed, or added."""
    file = draw(st.sampled_from(FILES))
    data = copy.deepcopy(PARSED[file])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([place for place in _places(data) if place]))
        parent = data
        for part in place[:-1]:
            parent = parent[part]
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "replace":
            parent[place[-1]] = copy.deepcopy(draw(st.sampled_from(NASTY)))
        elif action == "remove":
            del parent[place[-1]]
        elif isinstance(parent, dict):
            parent["unknown"] = 1
        if not data:
            break
    return kind_of(file.read_text(encoding="utf-8")), data


@settings(max_examples=300)
@given(mutants())
def test_the_schema_refuses_what_the_loader_refuses_for_its_shape_and_nothing_else(mutant: tuple[str, Any]) -> None:
    """Mutated shipped files: both say the same, unless a rule that JSON Schema cannot say is all that is broken."""
    kind, data = mutant
    told: list[str] = []
    try:
        loads(yaml.safe_dump(data), schema_of(kind), "f")
    except ConfigError as error:
        told = [problem.what for problem in error.problems]
    shape = [what for what in told if not any(rule in what for rule in BEYOND)]
    refused = [error.message for error in JUDGES[kind].iter_errors(data)]

    if shape:
        assert refused, (shape, data)
    if not told:
        assert not refused, (refused, data)
