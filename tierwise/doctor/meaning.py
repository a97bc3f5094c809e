"""Whether each YAML file can be used at all, as `tierwise config check` tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from configs.kinds import kind_of, schema_of
from configs.loader import ConfigError, load
from tierwise.doctor.examine import files_at, settings_in
from tierwise.doctor.finding import Finding, Severity


def unusable(places: Sequence[Path]) -> Iterator[Finding]:
    """One finding for each mistake in a YAML file of ours: one that has a `version`."""
    for path in files_at(places):
        content = settings_in(path)
        if content is None or "version" not in content:
            continue
        try:
            load(path, schema_of(kind_of(path.read_text(encoding="utf-8"))))
        except ConfigError as error:
            for problem in error.problems:
                place, what = f"{path}:{problem.line}", f"{problem.key} {problem.what}".strip()
                yield Finding("unusable", Severity.ERROR, place, what, "Correct it; tierwise config check knows more")
