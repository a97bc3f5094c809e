"""The orchestrator's side: starts the shipping process, starts it again when it dies, ends it.

A process of its own (docs/decisions/0010-shipper-process.md), because encoding must not take the interpreter from
decisions, and so that the orchestrator stays free of influxdb_client.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import suppress

from broker.children import start_child, wait_or_kill
from broker.clock import Clock
from broker.events import event
from configs.influxdb import InfluxSection
from configs.orchestrator import OrchestratorConfig

log = logging.getLogger(__name__)

LOOK_S = 0.5  # how often it is looked whether the process lives
RESTART_MIN_S, RESTART_MAX_S = 1.0, 60.0
HEALTHY_S = 60.0  # one that lived so long is started again without much ado
STOP_TIMEOUT_S = 5.0  # its last pass takes 2


class ShippingProcess:
    """Owns one child process while `run` runs, and until `stop`."""

    def __init__(self, config: OrchestratorConfig, section: InfluxSection, clock: Clock) -> None:
        self._command = [
            sys.executable, "-m", "orchestrator.shipping", "--directory", str(config.files.directory),
            "--influxdb", section.model_dump_json(exclude_none=True), "--log-level", config.log_level,
        ]  # fmt: skip
        self._url = section.url
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return self._child.pid if self._child is not None else None

    async def run(self) -> None:
        """Keep the process alive until `stop`. Nothing that happens to it ends the orchestrator."""
        deaths = 0
        while not self._stopping.is_set():
            started_s = self._clock.monotonic()
            ended = await self._live()
            if self._stopping.is_set():
                return
            deaths = 1 if self._clock.monotonic() - started_s > HEALTHY_S else deaths + 1
            again_s = min(RESTART_MAX_S, RESTART_MIN_S * 2 ** min(deaths - 1, 10))
            event(log, logging.ERROR, "shipping_ended", how=ended, restart_s=again_s)
            await asyncio.sleep(again_s)

    async def _live(self) -> str:
        """One life of the process; how it ended."""
        try:
            # From the loop's thread, which lives as long as the orchestrator: the kernel ends the child with it.
            with os.fdopen(os.dup(2), "wb") as stderr:
                child = self._child = start_child(self._command, stderr)
        except OSError as error:
            return f"could not be started: {error}"
        event(log, logging.INFO, "shipping_started", url=self._url, pid=child.pid)
        while (code := child.poll()) is None:
            await asyncio.sleep(LOOK_S)
        self._child = None
        return f"exit code {code}"

    async def stop(self) -> None:
        """End the process after it has shipped what it can in a moment; what it cannot waits in the log."""
        self._stopping.set()
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.terminate()
            await asyncio.to_thread(wait_or_kill, child, STOP_TIMEOUT_S)
