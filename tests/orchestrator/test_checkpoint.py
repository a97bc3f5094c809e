"""Checkpoints: read back as written, refused when they are anything else."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointRefused

SAVED = Checkpoint("some_agent", 3, {"random": {"state": 2**127 + 1}}, {"values": np.array([1.5, -2.5], np.float32)})


def test_a_checkpoint_is_read_back_as_written(tmp_path: Path) -> None:
    """Integers beyond 64 bits and float32 included."""
    write_checkpoint(tmp_path / "agent.npz", SAVED)
    read = read_checkpoint(tmp_path / "agent.npz")

    assert ("some_agent", 3, SAVED.about) == (read.agent, read.version, read.about)
    assert [1.5, -2.5] == read.arrays["values"].tolist()
    assert np.float32 == read.arrays["values"].dtype


def test_a_failed_write_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    """What cannot be written does not replace what was."""
    path = tmp_path / "agent.npz"
    write_checkpoint(path, SAVED)
    with pytest.raises(ValueError, match="Object arrays"):
        write_checkpoint(path, Checkpoint("other", 1, {}, {"code": np.array([object()])}))

    assert "some_agent" == read_checkpoint(path).agent


class Evil:
    """Would run on unpickling."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 torn", pickle.dumps(Evil())])
def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """Empty, foreign, torn, or a pickle, which is never run."""
    path = tmp_path / "agent.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointRefused, match=r"agent\.npz"):
        read_checkpoint(path)


def test_pickled_arrays_inside_are_refused(tmp_path: Path) -> None:
    """An .npz with an object array holds code."""
    path = tmp_path / "agent.npz"
    np.savez(path, about=np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointRefused, match="allow_pickle"):
        read_checkpoint(path)


def test_a_torn_checkpoint_is_refused_at_every_length(tmp_path: Path) -> None:
    """Cut off anywhere."""
    path = tmp_path / "agent.npz"
    write_checkpoint(path, SAVED)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointRefused):
            read_checkpoint(path)


def test_a_checkpoint_that_would_unpack_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    """Members are stored as they are; a packed one could fill the memory from a few kilobytes."""
    path = tmp_path / "packed.npz"
    np.savez_compressed(path, about=np.zeros(10_000_000, dtype=np.uint8))

    with pytest.raises(CheckpointRefused, match="compressed"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1180591620717411303424,), }",
        b"{'descr': (",
    ],
)
def test_a_checkpoint_whose_array_claims_what_cannot_be_is_refused(tmp_path: Path, header: bytes) -> None:
    """A header that promises terabytes which are not there, more than an integer holds, or that has no end."""
    path = tmp_path / "claims.npz"
    member = b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + b"\0" * 80
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("about.npy", member)

    with pytest.raises(CheckpointRefused):
        read_checkpoint(path)


def test_a_checkpoint_of_an_endless_version_is_refused(tmp_path: Path) -> None:
    """JSON can say numbers that no integer is."""
    path = tmp_path / "endless.npz"
    about = np.frombuffer(b'{"agent": "a", "version": 1e999, "about": {}}', dtype=np.uint8)
    np.savez(path, about=about)

    with pytest.raises(CheckpointRefused):
        read_checkpoint(path)
