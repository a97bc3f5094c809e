"""Files and folders that no other user of the machine can read, replace or redirect.

The one place where locks, temporary files and private folders are made: a lock or a temporary file never follows a
symbolic link, temporary names are random, and a folder that belongs to another user is refused. All errors are OSError
whose `strerror` names the cause and the fix, so that a caller's own error can repeat it.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

PRIVATE = 0o600
PRIVATE_FOLDER = 0o700


def private_folder(folder: Path) -> None:
    """Make `folder` (0700, its new parents too), or close an existing one to other users. Raises OSError.

    One that belongs to another user is refused: its owner could replace every file in it.
    """
    make_folder(folder)
    owned_folder(folder, root_too=False)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(PRIVATE_FOLDER)


def owned_folder(folder: Path, *, root_too: bool = True) -> None:
    """Raise OSError unless `folder` (and the link that leads there) belongs to this user; `root_too`: or to root."""
    trusted = {os.geteuid(), 0} if root_too else {os.geteuid()}
    for status in (folder.lstat(), folder.stat()):
        # A link that root made is the administrator's: /var/run, a data disk.
        if status.st_uid not in trusted | ({0} if stat.S_ISLNK(status.st_mode) else set()):
            raise OSError(
                errno.EPERM,
                f"it belongs to {_user(status.st_uid)}, and this program runs as {_user(os.geteuid())}: name another "
                "folder, or chown it",
                str(folder),
            )


def open_lock(path: Path) -> int:
    """A descriptor of the lock file `path`, made if need be; the caller closes it. Raises OSError.

    Follows no symbolic link, truncates nothing, and refuses a folder of another user.
    """
    owned_folder(path.parent)
    return open_private(path, os.O_RDWR | os.O_CREAT)


def open_private(path: Path, flags: int, mode: int = PRIVATE) -> int:
    """`os.open` of a regular file, never through a symbolic link and never waiting for a pipe. Raises OSError."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, f"{path.name} is a symbolic link: remove it", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is no regular file: remove it", str(path))
    return descriptor


def follow_no_link(path: str, flags: int) -> int:
    """The `opener` of `open()` for files with a fixed name in a shared folder. Raises OSError."""
    return open_private(Path(path), flags, 0o666)


def make_private(path: Path) -> None:
    """Make `path` (empty, 0600), or close an existing file to other users. Raises OSError."""
    try:
        os.close(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        # Not opened: closing any descriptor of an SQLite file drops the locks that this process has on it.
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file"
            raise OSError(errno.EINVAL, f"{path.name} is {kind}: remove it", str(path)) from None
        if stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(PRIVATE)


def make_database_private(path: Path) -> None:
    """Close an SQLite database to other users, with what it keeps beside it; make it if need be. Raises OSError.

    SQLite gives `-wal` and `-shm` the permissions of the database, so those that it makes later are private too.
    """
    make_private(path)
    tighten(path.with_name(path.name + rest) for rest in ("-wal", "-shm", "-journal"))


def tighten(files: Iterable[Path]) -> None:
    """Close those of `files` that exist to other users; links are left alone. Raises OSError."""
    for file in files:
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077:
            file.chmod(PRIVATE)


def make_folder(folder: Path) -> None:
    """Make `folder` with its parents, each 0700: `mkdir(parents=True)` makes parents as open as the umask lets it."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_folder(folder.parent)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def _user(number: int) -> str:
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
