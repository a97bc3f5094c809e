"""Runs long jobs on all cores: a few worker processes, each with a pipe of its own to us.

A worker that loses its pipe ends, so none outlives us, however we die. Ctrl-C reaches us alone: we tell the workers to
stop, and each brings its job to a state from which it can go on later.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any, Generic, TypeVar

from broker.errors import TierwiseError

STOP_TIMEOUT_S = 30.0  # a job may save a large table first

J = TypeVar("J")
R = TypeVar("R")


class Stopped(Exception):
    """Raised in a worker, out of `Reporter.tell`, when its job is to save itself and end."""


class Reporter:
    """How a job tells of its progress. `tell` raises Stopped when the job is to end."""

    def __init__(self, pipe: Connection, number: int) -> None:
        self._pipe = pipe
        self._number = number

    def tell(self, fraction: float, text: str = "") -> None:
        """`fraction` of the job is done."""
        self._pipe.send(("progress", self._number, (fraction, text)))
        if self._pipe.poll():
            raise Stopped


Work = Callable[[J, Reporter], R]
Watcher = Callable[[int, float, str], None]


@dataclass(slots=True)
class _Worker(Generic[J]):
    process: SpawnProcess
    pipe: Connection
    job: int | None = None


def run_jobs(
    jobs: Sequence[J],
    work: Work[J, R],
    watcher: Watcher,
    done: Callable[[int, R], None] | None = None,
    processes: int | None = None,
) -> list[R]:
    """The results in the order of `jobs`; `work` must be a function of a module. `done` hears of each at once.

    Raises TierwiseError with what a job raised, and KeyboardInterrupt after every worker has saved itself.
    """
    results: dict[int, R] = {}
    waiting = list(range(len(jobs)))[::-1]
    count = min(len(jobs), processes or _cores())
    workers: list[_Worker[J]] = []
    try:
        with _interrupts_later():
            for _ in range(count):
                workers.append(_start(work))
        for worker in workers:
            _next(worker, waiting, jobs)
        while len(results) < len(jobs):
            for worker in _ready(workers):
                kind, number, body = _receive(worker)
                if kind == "progress":
                    watcher(number, *body)
                elif kind == "done":
                    results[number] = body
                    if done is not None:
                        done(number, body)
                    _next(worker, waiting, jobs)
                else:
                    raise TierwiseError(body)
    finally:
        _stop(workers)
    return [results[number] for number in range(len(jobs))]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Ctrl-C waits meanwhile. The workers inherit that: one that is still importing has not refused it yet."""
    resource_tracker.ensure_running()  # its start would end the waiting
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(work: Work[J, R]) -> _Worker[J]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _next(worker: _Worker[J], waiting: list[int], jobs: Sequence[J]) -> None:
    worker.job = waiting.pop() if waiting else None
    if worker.job is not None:
        try:
            worker.pipe.send((worker.job, jobs[worker.job]))
        except OSError as error:
            raise _ended(worker) from error


def _ready(workers: Sequence[_Worker[J]]) -> list[_Worker[J]]:
    pipes = {worker.pipe: worker for worker in workers if worker.job is not None}
    return [pipes[pipe] for pipe in wait(list(pipes)) if isinstance(pipe, Connection)]


def _receive(worker: _Worker[J]) -> tuple[str, int, Any]:
    try:
        received: tuple[str, int, Any] = worker.pipe.recv()
        return received
    except (EOFError, OSError) as error:
        raise _ended(worker) from error


def _ended(worker: _Worker[J]) -> TierwiseError:
    worker.process.join(1.0)
    return TierwiseError(f"a worker process ended with exit code {worker.process.exitcode}")


def _stop(workers: Sequence[_Worker[J]]) -> None:
    for worker in workers:
        with suppress(OSError):
            worker.pipe.send(None)
    deadline_s = monotonic() + STOP_TIMEOUT_S
    for worker in workers:
        # What it still tells must be read, or it waits for us instead of ending.
        while worker.process.is_alive():
            wait([worker.pipe, worker.process.sentinel], max(0.0, deadline_s - monotonic()))
            if monotonic() >= deadline_s:
                worker.process.kill()
            with suppress(EOFError, OSError):
                while worker.pipe.poll():
                    worker.pipe.recv()
            worker.process.join(0.05)
        worker.pipe.close()


def _serve(pipe: Connection, work: Work[Any, Any]) -> None:
    """The worker process: jobs until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with suppress(EOFError, OSError):
        while (given := pipe.recv()) is not None:
            number, job = given
            try:
                pipe.send(("done", number, work(job, Reporter(pipe, number))))
            except Stopped:
                return
            except TierwiseError as error:
                pipe.send(("failed", number, str(error)))
            except Exception:  # noqa: BLE001  (told to who started us, whole; so is a result that cannot be sent)
                pipe.send(("failed", number, f"a job failed:\n{traceback.format_exc()}"))
