"""Child processes of ours: started so that none is left behind, ended so that each may finish."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO


def start_child(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` with its output in `output`. Raises OSError.

    Should this process be killed, the kernel ends the child, as it does when the calling thread ends; in a session of
    its own, Ctrl-C reaches only us, who stop children in order.
    """
    orphan_guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    return subprocess.Popen(
        [*orphan_guard, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment,
    )


def wait_or_kill(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Return when a child that was told to end has ended; after `timeout_s` it is killed."""
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
