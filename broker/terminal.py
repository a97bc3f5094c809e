"""How a command of ours ends with its terminal: interrupted while it still imports, or unable to write its output.

Imported before everything else, so it imports little itself.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
OUTPUT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EPIPE, errno.EBADF, errno.EDQUOT)


def end_on_interrupt(program: str) -> None:
    """Until `allow_interrupt`, let SIGINT end this process at once: exit code 130, one line, no traceback.

    For the time of imports, when there is nothing to clean up and KeyboardInterrupt may come out of any module. It does
    nothing where this is not the program that was started, or SIGINT is ignored.
    """

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        os.write(2, f"{program}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    started = os.path.basename(sys.argv[0]) if sys.argv else ""
    is_program = started == program or getattr(sys.modules.get("__main__"), "PROGRAM", None) == program
    if is_program and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def allow_interrupt() -> None:
    """From now on SIGINT raises KeyboardInterrupt again, unless it is ignored."""
    if getattr(signal.getsignal(signal.SIGINT), "__module__", None) == __name__:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def replace_unprintable() -> None:
    """Print a question mark for what the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


def output_problem(error: OSError) -> str | None:
    """What to say of an error in writing the output; empty: nothing, its reader has gone; None: another error."""
    if error.errno not in OUTPUT_ERRORS or error.filename is not None:
        return None
    if error.errno == errno.EPIPE:
        return ""
    return f"the output cannot be written ({error.strerror}); free some space, or write it to another place"


def flush_output() -> None:
    """Write what is buffered for standard output. Raises OSError, and then nothing is tried again at the exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
        raise


def discard_output() -> None:
    """Let what is still buffered for standard output go to nowhere: Python would fail on it once more at its end."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError, AttributeError):
        return
