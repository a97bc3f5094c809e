"""Files of earlier versions: what turns a file of version N into one of N + 1, step by step.

Each kind of file counts its own versions: the number that its schema takes for `version`. A step is a pure function
from text to text, so that comments stay; `configs.editing` has what it needs (rename, move, drop, put). Steps that keep
the number of lines let mistakes be told at their place in the file as it is. The version line itself is put in here.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping

from configs.problems import ConfigError, Problem
from configs.section import Section

Step = Callable[[str], str]

# By kind, and by the version that the step starts from. All files are of version 1 so far.
STEPS: dict[type[Section], Mapping[int, Step]] = {}

VERSION_LINE = re.compile(r"^version:[ ]*(\d{1,9})(?=[ \t]*(?:#.*)?$)", re.MULTILINE)


def current_version(schema: type[Section]) -> int:
    """The version that this Tierwise writes. A schema without the field has 1."""
    field = schema.model_fields.get("version")
    stated = typing.get_args(field.annotation) if field is not None else ()
    return int(stated[0]) if stated else 1


def stated_version(text: str, schema: type[Section], file: str) -> int:
    """The version that `text` says it is of; the present one where it says nothing that can be read.

    Raises ConfigError for one that this Tierwise does not know.
    """
    current, found = current_version(schema), VERSION_LINE.search(text)
    if found is None:
        return current
    version = int(found[1])
    line, column = text.count("\n", 0, found.start()) + 1, found.start(1) - found.start() + 1
    if version > current:
        what = (
            f"is {version}, and this Tierwise knows versions up to {current}: the file is of a newer one; update this"
        )
        raise ConfigError([Problem(file, line, column, "version", what)])
    if any(number not in STEPS.get(schema, {}) for number in range(version, current)):
        what = f"is {version}, which no Tierwise reads: write version: {current}"
        raise ConfigError([Problem(file, line, column, "version", what)])
    return version


def upgraded(text: str, schema: type[Section], version: int) -> str:
    """`text` of `version` as one of the present version; the same text if it is that already."""
    for number in range(version, current_version(schema)):
        text = STEPS[schema][number](text)
        text = VERSION_LINE.sub(f"version: {number + 1}", text, count=1)
    return text
