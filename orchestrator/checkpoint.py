"""The checkpoint of one agent: arrays and JSON in one .npz file, written atomically, read without pickle."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.durable_file import replace_durably
from orchestrator.errors import CheckpointRefused

ABOUT = "about"  # the member that holds the JSON

# What zip, NumPy and JSON raise for a file that is torn, foreign or made to harm.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
    RuntimeError,  # an encrypted member; NotImplementedError for another compression
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an agent saved: whose it is, the version of its form, JSON `about` it, and its arrays."""

    agent: str
    version: int
    about: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def expect(self, agent: str, version: int, models: Mapping[Any, int] | None = None) -> None:
        """Raise CheckpointRefused unless it is that agent's, of that version and, if given, of those `models`."""
        if (self.agent, self.version) != (agent, version):
            raise CheckpointRefused(
                f"the checkpoint is of {self.agent!r} version {self.version}, not of {agent!r} version {version}; move "
                "it away to start without it"
            )
        if models is not None and self.about.get("models") != models:
            raise CheckpointRefused(
                "the checkpoint is of another set of models or accuracies; move it away to start without it"
            )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace `path` durably. Raises OSError."""
    head = {"agent": checkpoint.agent, "version": checkpoint.version, "about": checkpoint.about}
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    arrays: dict[str, Any] = {ABOUT: text, **checkpoint.arrays}
    replace_durably(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def read_checkpoint(path: Path) -> Checkpoint:
    """What `write_checkpoint` wrote. Raises CheckpointRefused when it is anything else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        head = json.loads(arrays.pop(ABOUT).tobytes().decode())
        return Checkpoint(str(head["agent"]), int(head["version"]), dict(head["about"]), arrays)
    except UNREADABLE as error:
        raise CheckpointRefused(
            f"{path} is not a readable checkpoint ({error}); move it away to start without it"
        ) from error
