"""Settings of the interpreter for a process that answers within milliseconds while it keeps much in memory."""

from __future__ import annotations

import gc

# Shorter switch intervals (sys.setswitchinterval) were tried, with the log's thread and the planner in mind: no better.
COLLECT_AFTER = (20_000, 20, 50)  # objects; CPython's 700 has it look through what is kept many times a second


def answer_soon() -> None:
    """Call it once all that stays is made: the collector then leaves that alone."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
