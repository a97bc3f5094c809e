"""Gives processes priority over what else this machine does, so that a trial measures them. Linux, as root."""

from __future__ import annotations

import os
from pathlib import Path


def prefer(pid: int, nice: int) -> None:
    """Let `pid` have this niceness, and its session too where the kernel groups by session. Raises OSError."""
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text(str(nice), encoding="ascii")


def hurry(pid: int) -> None:
    """Run every thread of `pid` before all that is not real-time, in turn with its like (SCHED_RR). Raises OSError."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))
