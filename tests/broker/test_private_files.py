"""Locks, temporary files and private folders: closed to other users, and never written through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker import private_files
from broker.durable_file import LEFTOVER_S, remove_leftovers, replace_durably
from broker.errors import TierwiseError
from broker.identity.files import only_one as only_one_command
from broker.vocabulary import NodeId
from device_agent.outbox_file import OutboxRefused, open_outbox
from model_zoo.locking import only_one
from orchestrator.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from orchestrator.directory import held
from orchestrator.errors import DirectoryInUse, LogRefused
from orchestrator.finishing import MEMORY_NAME
from orchestrator.goal import Memory, write_memory
from orchestrator.response_log import LOG_NAME, open_for_writing
from orchestrator.shipping.running import LOCK_NAME, alone

PRECIOUS = b"precious"
MEMORY = Memory(
    form=1,
    next_round=1,
    policy_version=1,
    floor_tenths=890,
    policy="factored",
    configured_floor_tenths=890,
    configured_policy="factored",
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def enter(context: Any) -> None:
    with context:
        pass


LOCKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "orchestrator": ("lock", lambda folder: enter(held(folder))),
    "shipper": (LOCK_NAME, lambda folder: enter(alone(folder))),
    "models": ("lock", lambda folder: enter(only_one(folder / "lock"))),
    "accounts": ("lock", lambda folder: enter(only_one_command(folder / "lock"))),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of this user that somebody wants emptied."""
    file = tmp_path / "victim"
    file.write_bytes(PRECIOUS)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that other users may read."""
    made = tmp_path / "folder"
    made.mkdir(mode=0o755)
    return made


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_that_is_a_link_is_refused_and_what_it_names_stays(folder: Path, victim: Path, name: str) -> None:
    """The error names the link and the fix."""
    lock, take = LOCKS[name]
    (folder / lock).symlink_to(victim)

    with pytest.raises(TierwiseError, match="is a symbolic link: remove it"):
        take(folder)

    assert PRECIOUS == victim.read_bytes()


@pytest.mark.parametrize("name", LOCKS)
def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its owner could replace every file in it."""
    owner = os.geteuid()
    monkeypatch.setattr(private_files.os, "geteuid", lambda: owner + 4321)
    if owner == 0:  # locks also trust folders of root
        os.chown(folder, 1234, -1)

    with pytest.raises(TierwiseError, match=r"it belongs to .*name another folder, or chown it"):
        LOCKS[name][1](folder)


def test_a_link_under_the_old_temporary_name_is_not_followed(folder: Path, victim: Path) -> None:
    """The temporary file has a random name and is made anew, so no link can wait for it."""
    for name in ("d1.npz.tmp", "orchestrator.json.tmp", ".index.json.new"):
        (folder / name).symlink_to(victim)

    write_checkpoint(folder / "d1.npz", Checkpoint("a", 1))
    write_memory(folder / MEMORY_NAME, MEMORY)

    assert PRECIOUS == victim.read_bytes()
    assert "a" == read_checkpoint(folder / "d1.npz").agent


def test_what_the_orchestrator_keeps_is_closed_to_other_users(tmp_path: Path) -> None:
    """Folder, database, what SQLite keeps beside it, checkpoints and memory, whatever the umask is."""
    former = os.umask(0o000)
    try:
        with held(tmp_path / "run" / "files") as directory:
            log = open_for_writing(directory / LOG_NAME)
            log.execute("INSERT INTO shipping_target (target) VALUES ('t')")
            write_checkpoint(directory / "factored.npz", Checkpoint("a", 1))
            write_memory(directory / MEMORY_NAME, MEMORY)
            modes = {file.name: mode(file) for file in directory.iterdir()}
            log.close()
    finally:
        os.umask(former)

    assert 0o700 == mode(directory) == mode(directory.parent)
    assert {LOG_NAME, f"{LOG_NAME}-wal", f"{LOG_NAME}-shm", "factored.npz", MEMORY_NAME, "lock"} == set(modes)
    assert {0o600} == set(modes.values())


def test_existing_files_are_closed_at_the_start(folder: Path) -> None:
    """Those of an older Tierwise, which left them readable; another program's files beside them stay as they are."""
    own = [LOG_NAME, f"{LOG_NAME}-wal", f"{LOG_NAME}-shm", "factored.npz", MEMORY_NAME, "lock"]
    for name in [*own, "notes.txt"]:
        (folder / name).touch()
        (folder / name).chmod(0o644)

    with held(folder):
        modes = {file.name: mode(file) for file in folder.iterdir()}

    assert 0o700 == mode(folder)
    assert {**dict.fromkeys(own, 0o600), "notes.txt": 0o644} == modes


def test_the_response_log_is_closed_by_whoever_opens_it(folder: Path) -> None:
    """A shipper that is started by hand opens it without the orchestrator's folder lock."""
    open_for_writing(folder / LOG_NAME).close()
    (folder / LOG_NAME).chmod(0o644)
    open_for_writing(folder / LOG_NAME).close()

    assert 0o600 == mode(folder / LOG_NAME)


def test_an_outbox_and_its_folder_are_closed_to_other_users(folder: Path) -> None:
    """Reports have labels too."""
    path = folder / "outbox.sqlite3"
    connection, _ = open_outbox(path, "NORMAL", NodeId("s1"))
    modes = {mode(file) for file in folder.iterdir()}
    connection.close()

    assert (0o700, {0o600}) == (mode(folder), modes)


def test_a_database_that_is_a_link_is_refused(folder: Path, victim: Path) -> None:
    """The response log and the outbox."""
    (folder / LOG_NAME).symlink_to(victim)

    with pytest.raises(LogRefused, match="is a symbolic link: remove it"):
        open_for_writing(folder / LOG_NAME)
    with pytest.raises(OutboxRefused, match="is a symbolic link: remove it"):
        open_outbox(folder / LOG_NAME, "NORMAL", NodeId("s1"))

    assert PRECIOUS == victim.read_bytes()


def test_an_outbox_in_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the owner's name."""
    monkeypatch.setattr(private_files.os, "geteuid", lambda: os.getuid() + 4321)

    with pytest.raises(OutboxRefused, match="it belongs to"):
        open_outbox(folder / "outbox.sqlite3", "NORMAL", NodeId("s1"))


def test_a_pipe_in_place_of_a_lock_does_not_stop_the_start(folder: Path) -> None:
    """Opening it would wait for another process for ever."""
    os.mkfifo(folder / "lock")

    with pytest.raises(DirectoryInUse, match="is no regular file"):
        enter(held(folder))


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    """As on a full disk."""
    (folder / "file").write_bytes(PRECIOUS)

    def fail(_file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_durably(folder / "file", fail)

    assert {"file": PRECIOUS} == {file.name: file.read_bytes() for file in folder.iterdir()}


def test_temporary_files_of_killed_processes_are_removed(folder: Path) -> None:
    """Once they are so old that nobody can still be writing them."""
    for name in (".a.0123456789abcdef.tmp", ".b.0123456789abcdef.tmp"):
        (folder / name).touch()
    aged = (folder / ".a.0123456789abcdef.tmp").stat().st_mtime - 2 * LEFTOVER_S
    os.utime(folder / ".a.0123456789abcdef.tmp", (aged, aged))

    remove_leftovers(folder)

    assert [".b.0123456789abcdef.tmp"] == [file.name for file in folder.iterdir()]
