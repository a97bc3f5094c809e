"""The hostile images as a serving node takes them, in a process of their own, so that memory is theirs alone."""

from __future__ import annotations

import multiprocessing
import re
import time
from pathlib import Path
from typing import Any

from model_zoo.errors import BadImage
from model_zoo.photograph import decode
from model_zoo.strangers import MOST_PIXELS, check_stranger
from testbed.hostile.images import hostile_images

SIZE_PX = 224
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
DECODED_MB = 3 * MOST_PIXELS / 1e6 * 2  # the largest that is let in, and its conversion


def endure_images() -> dict[str, Any]:
    """By image: refused or not, how long it took, and by how much the process's peak of memory grew."""
    images = list(hostile_images())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_take, (images[0][1],))
        return {"count": len(images), "images": [{"name": name, **pool.apply(_take, (data,))} for name, data in images]}


def _take(data: bytes) -> dict[str, Any]:
    CLEAR_REFS.write_text("5")  # the peak begins anew at what is resident now
    before_mb, started_s = _peak_mb(), time.perf_counter()
    refused: str | None = None
    unhandled: str | None = None
    try:
        check_stranger(data)
        decode(data, SIZE_PX)
    except BadImage as error:
        refused = str(error)[:100]
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        unhandled = f"{type(error).__name__}: {error}"
    return {
        "bytes": len(data),
        "refused": refused,
        "unhandled": unhandled,
        "seconds": time.perf_counter() - started_s,
        "memory_mb": _peak_mb() - before_mb,
        "may_take_mb": 0.0 if refused else DECODED_MB,
    }


def _peak_mb() -> float:
    """The kernel's high-water mark; getrusage's would be that of the process that started this one."""
    status = STATUS.read_text(encoding="ascii")
    return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024 / 1e6  # type: ignore[index]
