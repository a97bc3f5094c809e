"""Checkpoints: read back as written, refused when they are anything else."""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.orchestrator import OrchestratorConfig, Policy
from orchestrator.accuracy import Accuracies
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.errors import CheckpointImplausible, CheckpointRefused
from orchestrator.goal import read_memory
from orchestrator.policies import Policies

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


@pytest.mark.timeout(30)
def test_a_fifo_in_its_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Whoever opened it to read would wait for a writer for ever; the orchestrator's own memory is read alike."""
    for name, read in (("agent.npz", read_checkpoint), ("orchestrator.json", read_memory)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(CheckpointRefused, match="not a regular file"):
            read(tmp_path / name)


@pytest.mark.parametrize("value", [1e300, -1e300, math.inf, math.nan])
def test_numbers_that_nobody_can_have_learned_are_refused_with_their_name(tmp_path: Path, value: float) -> None:
    """In JSON and in arrays."""
    path = tmp_path / "agent.npz"
    write_checkpoint(path, Checkpoint("some_agent", 3, {"tiers": [{"level_ms": value}]}, {}))
    with pytest.raises(CheckpointImplausible, match=r"agent\.npz: tiers\.level_ms is"):
        read_checkpoint(path)
    write_checkpoint(path, Checkpoint("some_agent", 3, {}, {"values": np.array([1.0, value])}))
    with pytest.raises(CheckpointImplausible, match=r"agent\.npz: values has a value"):
        read_checkpoint(path)


def test_a_checkpoint_of_impossible_numbers_is_kept_aside_and_the_agent_begins_anew(
    accuracies: Accuracies, observe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second one gets a name of its own; the log says where each is, and there are decisions."""
    config = OrchestratorConfig(version=1, site="home", files={"directory": tmp_path})
    path = tmp_path / "factored.npz"
    for number in (1, 2):
        path.write_bytes(b"")
        write_checkpoint(path, Checkpoint("factored", 1, {"requests": 1e300}, {}))
        content = path.read_bytes()
        agent = Policies(config, accuracies).agent(Policy.FACTORED)

        assert 3 == len(agent.act(observe(3, 850)).actions)
        assert not path.exists()
        assert content == (tmp_path / f"factored.npz.refused-{number}").read_bytes()
        assert f"factored.npz.refused-{number}" in caplog.text
