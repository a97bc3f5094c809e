"""docs/configuration.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from configs.json_schema import modeline
from configs.kinds import ALSO, KINDS, schema_of
from configs.reloading import live_keys

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_table_of_live_keys_is_the_schemas() -> None:
    """Each key that is marked live, and no other."""
    rows = re.findall(r"^\| (\w+) \| `([\w.]+)` \|", PAGE, re.MULTILINE)

    assert {(kind, key) for kind in KINDS for key in live_keys(schema_of(kind))} == set(rows)


def test_every_kind_of_file_is_named() -> None:
    """In the first table."""
    table = PAGE.partition("## ")[0]

    assert [] == [kind for kind in (*KINDS, *ALSO) if f"`{kind}`" not in table]


def test_the_line_that_names_a_schema_is_shown_as_it_is_written() -> None:
    """As in the shipped files."""
    assert modeline("node") in PAGE
