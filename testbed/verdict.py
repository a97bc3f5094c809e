"""How a trial ends: its result printed, kept where one asked for it, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def told(result: Mapping[str, Any], faults: list[str], file: Path | None) -> int:
    """Print `result` with its `faults` as JSON, write it to `file` too; 1 if there are faults, else 0."""
    text = json.dumps({**result, "faults": faults}, indent=1)
    print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return 1 if faults else 0
