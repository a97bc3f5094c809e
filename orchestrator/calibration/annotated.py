"""Writes a calibration as a person reads it: YAML with the origin of each coefficient behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import yaml

from configs.calibration import CalibrationConfig


def as_yaml(calibration: CalibrationConfig, heading: Sequence[str]) -> str:
    """An annotated file: each coefficient in a line of its own, with its origin behind it."""
    lines = [*(f"# {line}" for line in heading), f"version: {calibration.version}", f"name: {_text(calibration.name)}"]
    body = calibration.model_dump(mode="json", exclude={"version", "name", "origin"})
    _write(body, calibration, "", lines)
    lines += ["origin:", *(f"  {path}: {json.dumps(text)}" for path, text in calibration.origin.items())]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """As it is where YAML reads it back as the same text (`on`, `1.5` and `a: b` it would not), else in quotes."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _write(values: dict[str, object], calibration: CalibrationConfig, prefix: str, lines: list[str]) -> None:
    for key, value in values.items():
        path = f"{prefix}{key}"
        indent = "  " * path.count(".")
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{key}:")
            _write(value, calibration, f"{path}.", lines)
        else:
            text = "{}" if value == {} else str(value)
            lines.append(f"{indent}{key}: {text}".ljust(28) + f"# {calibration.origin_of(path)}")
