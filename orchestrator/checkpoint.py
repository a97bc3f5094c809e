"""The checkpoint of one agent: arrays and JSON in one .npz file, written atomically, read without pickle."""

from __future__ import annotations

import json
import math
import os
import stat
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
from broker.private_files import PRIVATE
from orchestrator.errors import CheckpointImplausible, CheckpointRefused, ModelsChanged

ABOUT = "about"  # the member that holds the JSON
LARGEST_BYTES = 1_000_000_000  # a Q-table of 10^6 joint actions in a hundred states is 400 MB
MAX_VALUE = 1e12  # of a real number: response times end at 10^8 ms, and nothing learned is a product of two
MAX_DEPTH = 64  # of JSON; ours has 8

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
        """Raise CheckpointRefused unless it is that agent's and of that version, ModelsChanged unless of `models`."""
        if (self.agent, self.version) != (agent, version):
            raise CheckpointRefused(
                f"the checkpoint is of {self.agent!r} version {self.version}, not of {agent!r} version {version}; move "
                "it away to start without it"
            )
        if models is not None and self.about.get("models") != models:
            raise ModelsChanged("the checkpoint is of another set of models or accuracies")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace `path` durably. Raises OSError."""
    head = {"agent": checkpoint.agent, "version": checkpoint.version, "about": checkpoint.about}
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    arrays: dict[str, Any] = {ABOUT: text, **checkpoint.arrays}
    replace_durably(path, lambda file: np.savez(file, allow_pickle=False, **arrays), PRIVATE)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what `write_checkpoint` wrote.

    Raises CheckpointRefused when it is anything else, its subclass CheckpointImplausible when it is one with numbers
    that no agent can have learned.
    """
    checkpoint = _read(path)
    try:
        check_numbers(checkpoint.about)
        for name, array in checkpoint.arrays.items():
            _check_array(name, array)
    except ValueError as error:
        raise CheckpointImplausible(f"{path}: {error}; move it away to start without it") from error
    return checkpoint


def _read(path: Path) -> Checkpoint:
    try:
        with open_regular(path) as file:
            _check_sizes(file)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        head = json.loads(arrays.pop(ABOUT).tobytes().decode())
        return Checkpoint(str(head["agent"]), int(head["version"]), dict(head["about"]), arrays)
    except UNREADABLE as error:
        raise CheckpointRefused(
            f"{path} is not a readable checkpoint ({error}); move it away to start without it"
        ) from error


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading. Raises OSError, also for what is no regular file: a FIFO would wait for its writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return os.fdopen(descriptor, "rb")


def check_numbers(value: Any, name: str = "", depth: int = 0) -> None:
    """Raise ValueError for a real number in JSON that is not finite or beyond MAX_VALUE; integers are their agent's."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            check_numbers(item, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_numbers(item, name, depth + 1)
    elif isinstance(value, float) and not (math.isfinite(value) and abs(value) <= MAX_VALUE):
        raise ValueError(f"{name} is {value}")


def _check_array(name: str, array: npt.NDArray[Any]) -> None:
    if np.issubdtype(array.dtype, np.floating) and array.size and not bool((np.abs(array) <= MAX_VALUE).all()):
        raise ValueError(f"{name} has a value that is not finite or beyond {MAX_VALUE:g}")


def _check_sizes(file: IO[bytes]) -> None:
    """Raise ValueError for a file whose members are packed, or more than a checkpoint's: they could fill the memory."""
    with zipfile.ZipFile(file) as members:
        infos = members.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise ValueError("its members are compressed; a checkpoint's never are")
    if sum(info.file_size for info in infos) > LARGEST_BYTES:
        raise ValueError(f"it says to hold more than {LARGEST_BYTES} bytes")
    file.seek(0)
