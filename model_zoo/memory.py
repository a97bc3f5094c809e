"""What a loaded network costs in memory: its file, which is mapped, and what the process grew by."""

from __future__ import annotations

import resource
from pathlib import Path

MB = 1_000_000
# Measured for the eight on x86-64: a network takes 2 to 3 times its file (the runtime keeps a packed copy of the
# weights) and 2 MB for its tensors. The first load brings the runtime itself too, which is not the network's.
EXPECTED_FACTOR, LARGEST_FACTOR, TENSORS_MB = 2.5, 4.0, 4.0


def resident_mb() -> float:
    """Resident memory of this process; 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / MB


def expected_cost_mb(file_bytes: int) -> float:
    """What loading a file of that size will take."""
    return EXPECTED_FACTOR * file_bytes / MB + TENSORS_MB


def cost_mb(file_bytes: int, grown_mb: float) -> float:
    """What it took: the growth measured, within what a network of that size can take.

    Growth alone misleads: memory that an evicted network left is used again without growth, and other threads grow
    at the same time.
    """
    smallest, largest = file_bytes / MB, LARGEST_FACTOR * file_bytes / MB + TENSORS_MB
    return min(max(grown_mb, smallest), largest)
