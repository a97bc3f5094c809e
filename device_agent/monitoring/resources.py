"""Processor and memory of this machine."""

from __future__ import annotations

import os

import psutil


class Resources:
    """Reads both without waiting; the processor's share is the average since the last reading."""

    def __init__(self) -> None:
        psutil.cpu_percent(interval=None)  # the first reading of psutil means nothing

    def cpu_percent(self) -> float:
        """Of all cores, since the last call."""
        return psutil.cpu_percent(interval=None)

    def memory_percent(self) -> float:
        """In use, of all that the machine has."""
        return float(psutil.virtual_memory().percent)


def vcpus() -> int:
    """Virtual processors that this process may run on: those of the machine, or of its cpuset or container."""
    return len(os.sched_getaffinity(0))
