"""SIGHUP at a program that takes a changed file on it: it must not be ended by one that comes while it starts or ends.

Nothing is lost with it: the file is read after this, and looked at again each second.
"""

from __future__ import annotations

import signal
from types import FrameType


def outlive_hangup() -> None:
    """Let SIGHUP do nothing in this process, but not in what it starts. Who had it ignored (nohup) has it still."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _nothing)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler, because what starts a program after this would inherit SIG_IGN."""
