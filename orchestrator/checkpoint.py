"""The checkpoint of one agent: arrays and JSON in one .npz file, written atomically, read without pickle."""

from __future__ import annotations

import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from broker.durable_file import replace_durably
from orchestrator.errors import CheckpointRefused

ABOUT = "about"  # the member that holds the JSON
LARGEST_BYTES = 1_000_000_000  # a Q-table of 10^6 joint actions in a hundred states is 400 MB

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
    OverflowError,  # a shape or version beyond what a machine's integer holds
    struct.error,
    tokenize.TokenError,  # NumPy's second try at a header
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
        with path.open("rb") as file:
            _check_sizes(file)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        head = json.loads(arrays.pop(ABOUT).tobytes().decode())
        return Checkpoint(str(head["agent"]), int(head["version"]), dict(head["about"]), arrays)
    except UNREADABLE as error:
        raise CheckpointRefused(
            f"{path} is not a readable checkpoint ({error}); move it away to start without it"
        ) from error


def _check_sizes(file: IO[bytes]) -> None:
    """Raise ValueError for a file whose members are packed, or more than a checkpoint's: they could fill the memory."""
    with zipfile.ZipFile(file) as members:
        infos = members.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise ValueError("its members are compressed; a checkpoint's never are")
    if sum(info.file_size for info in infos) > LARGEST_BYTES:
        raise ValueError(f"it says to hold more than {LARGEST_BYTES} bytes")
    file.seek(0)
