"""Broker and orchestrator under load: two processes, with logs and data in one folder, and what they use."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from broker.children import start_child, wait_or_kill
from broker.errors import TierwiseError
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.vocabulary import SiteId
from testbed.load.priority import hurry, prefer

SITE = SiteId("load")
STOP_TIMEOUT_S = 60.0
SAMPLE_S = 1.0
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What both processes used at one moment. CPU in seconds since their start."""

    at_s: float
    orchestrator_mib: float
    orchestrator_cpu_s: float
    broker_mib: float
    broker_cpu_s: float


@dataclass(slots=True)
class Site:
    """A context manager: Mosquitto and `tierwise orchestrator run`, in immediate mode. Keeps `usage` each second."""

    directory: Path
    policy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_connections: int = 12_000
    nice: int | None = None
    realtime: bool = False
    usage: list[Usage] = field(default_factory=list)
    _broker: MosquittoProcess | None = None
    _orchestrator: subprocess.Popen[bytes] | None = None
    _ended: threading.Event = field(default_factory=threading.Event)
    _sampler: threading.Thread | None = None

    def __enter__(self) -> Site:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def broker(self) -> MosquittoProcess:
        """Raises TierwiseError before the start."""
        if self._broker is None:
            raise TierwiseError("the site is not started")
        return self._broker

    @property
    def pid(self) -> int:
        """Of the orchestrator. Raises TierwiseError before the start."""
        if self._orchestrator is None:
            raise TierwiseError("the site is not started")
        return self._orchestrator.pid

    @property
    def log(self) -> Path:
        """What the orchestrator printed."""
        return self.directory / "orchestrator.log"

    def _start(self) -> None:
        settings = MosquittoSettings(
            directory=self.directory / "broker", max_connections=self.max_connections, log_level="warning"
        )
        self._broker = MosquittoProcess(settings)
        self._broker.start()
        endpoint = self._broker.endpoint
        config = {
            "version": 1,
            "site": str(SITE),
            "broker": {"host": endpoint.host, "port": endpoint.port},
            "goal": {"policy": self.policy, "accuracy_floor": 85.0},
            "rounds": {"mode": "immediate"},
            "serving_nodes": {"edge": ["edge"], "cloud": ["cloud"]},
            "files": {"directory": str(self.directory / "orchestrator")},
            "seed": 1,
            **self.settings,
        }
        file = self.directory / "orchestrator.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tierwise", "orchestrator", "run", "--config", str(file)]
        with self.log.open("ab") as output:
            self._orchestrator = start_child(command, output, environment)
        self.prefer(os.getpid(), self.pid, self.broker.pid)
        self._sampler = threading.Thread(target=self._sample, name="usage")
        self._sampler.start()

    def prefer(self, *pids: int) -> None:
        """Give these processes the niceness and the class that are asked for, if any are. Raises OSError."""
        for pid in pids:
            if self.nice is not None:
                prefer(pid, self.nice)
            if self.realtime:
                hurry(pid)

    def check(self) -> None:
        """Raise TierwiseError if the orchestrator has ended by itself."""
        if self._orchestrator is not None and (code := self._orchestrator.poll()) is not None:
            end = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
            raise TierwiseError(f"the orchestrator ended with exit code {code}; the end of {self.log}:\n{end}")

    def stop(self) -> None:
        """End the orchestrator, which stores what it has, and then the broker."""
        self._ended.set()
        if self._sampler is not None:
            self._sampler.join()
            self._sampler = None
        if self._orchestrator is not None:
            self._orchestrator.terminate()
            wait_or_kill(self._orchestrator, STOP_TIMEOUT_S)
            self._orchestrator = None
        if self._broker is not None:
            self._broker.stop()
            self._broker = None

    def stored(self) -> int:
        """How many reports are in the response log. After `stop`."""
        with closing(sqlite3.connect(self.directory / "orchestrator" / "response-log.sqlite3")) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM response").fetchone()
        return int(rows)

    def _sample(self) -> None:
        processes = psutil.Process(self.pid), psutil.Process(self.broker.pid)
        while not self._ended.wait(SAMPLE_S):
            try:
                (ours, its), (used, its_used) = (
                    [process.memory_info().rss / MEBIBYTE for process in processes],
                    [sum(process.cpu_times()[:2]) for process in processes],
                )
            except psutil.Error:
                with contextlib.suppress(TierwiseError, psutil.Error):
                    processes = processes[0], psutil.Process(self.broker.pid)  # the broker was restarted
                continue
            self.usage.append(Usage(time.monotonic(), ours, used, its, its_used))
