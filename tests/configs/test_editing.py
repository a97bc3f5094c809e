"""One key of a text is changed, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.editing import NoSuchPlace, drop, put, rename
from configs.expected import keys_of
from configs.kinds import schema_of

TEXT = """\
# About the file.
version: 1                  # never mind
site: home                  # a-z
broker: {host: a, port: 1}  # where
models:
  # directory: /x           # default: the cache
  pool: [d0, d1]            # all
service:
  # workers: 4              # default: one per vCPU
  queue_length: 8
empty:

# seed: 1                   # of exploration
level: info
"""


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("site", "lab", "site: lab                   # a-z"),
        ("site", "a-much-longer-name-than-before-this", "site: a-much-longer-name-than-before-this # a-z"),
        ("site", "123", "site: '123'                 # a-z"),
        ("broker.port", 20, "broker: {host: a, port: 20}  # where"),
        ("broker.tls", True, "broker: {host: a, port: 1, tls: true}  # where"),
        ("models.pool", ["d0"], "  pool: [d0]                # all"),
        ("models.directory", "/y", "  directory: /y           # default: the cache"),
        ("service.workers", 2, "  workers: 2              # default: one per vCPU"),
        ("service.more", 3, "  more: 3"),
        ("seed", 7, "seed: 7                   # of exploration"),
        ("empty", 5, "empty: 5"),
        ("empty.deep.er", 5, "empty: {deep: {er: 5}}"),
        ("new.key", 1, "  key: 1"),
    ],
)
def test_a_value_is_put_in_its_place_and_comments_stay(key: str, value: Any, line: str) -> None:
    """In place, in the place of a line that has it commented out, or at its section's end."""
    changed = put(TEXT, key, value)

    found: Any = yaml.safe_load(changed)
    for part in key.split("."):
        found = found[part]
    assert value == found
    assert line in [have.replace("   # ", "   # ") for have in changed.splitlines()] or line.split() in [
        have.split() for have in changed.splitlines()
    ]
    assert {"# About the file.", "# never mind"} <= {part.strip() for part in changed.replace("1  ", "\n").splitlines()}


def test_only_the_line_of_the_key_changes() -> None:
    """All others are as they were, byte for byte."""
    before, after = TEXT.splitlines(), put(TEXT, "models.pool", ["d3"]).splitlines()

    assert [6] == [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def test_a_key_cannot_be_put_into_what_is_no_mapping() -> None:
    """The message names both."""
    with pytest.raises(NoSuchPlace, match=r"site is no mapping, so site\.x cannot be put into it"):
        put(TEXT, "site.x", 1)


def test_a_key_is_renamed_with_its_value_and_comment() -> None:
    """One that is not there leaves the text alone."""
    assert "  pond: [d0, d1]            # all" in rename(TEXT, "models.pool", "pond").splitlines()
    assert TEXT == rename(TEXT, "models.none", "x")


@pytest.mark.parametrize(
    "key", ["site", "broker", "broker.host", "broker.port", "models", "service.queue_length", "level"]
)
def test_a_dropped_key_is_gone_and_the_lines_of_others_stay(key: str) -> None:
    """So that mistakes in a text that was brought up to date are told at their lines in the file."""
    changed = drop(TEXT, key)

    found: Any = yaml.safe_load(changed)
    for part in key.split(".")[:-1]:
        found = found[part]
    assert key.rsplit(".", maxsplit=1)[-1] not in (found or {})
    assert TEXT.count("\n") == changed.count("\n")
    assert TEXT == drop(TEXT, "none.such")


VALUES = st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.lists(st.text(max_size=5), max_size=3))
KEYS = sorted(key for key, _ in keys_of(schema_of("node")))


@settings(max_examples=50)
@given(st.sampled_from(["device", "edge"]), st.sampled_from(KEYS), VALUES)
def test_whatever_is_put_into_a_shipped_file_is_read_back_and_the_rest_is_as_before(
    kind: str, key: str, value: Any
) -> None:
    """Any value at any key of a node, in both layouts of a section."""
    from tierwise.settings_files.templates import NewFile

    text = NewFile(kind).text
    found = yaml.safe_load(put(text, key, value))
    before = yaml.safe_load(text)
    *sections, name = key.split(".")
    place, former = found, before
    for section in sections:
        place, former = place[section], former.get(section) or {} if isinstance(former, dict) else {}

    assert value == place.pop(name)
    if isinstance(former, dict):
        former.pop(name, None)
        assert former == place
