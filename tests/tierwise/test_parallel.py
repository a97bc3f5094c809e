"""Long jobs on several processes: results, progress, failures, Ctrl-C, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from broker.errors import TierwiseError
from tierwise import parallel
from tierwise.parallel import run_jobs

# A spawned process imports `work` by its module's name, so it must lie where that can be imported.
WORK = '''\
import os, time
from pathlib import Path
from broker.errors import TierwiseError
from tierwise.parallel import Stopped

def square(job, reporter):
    reporter.tell(0.5, f"half of {job}")
    return job * job

def slow_first(job, reporter):
    time.sleep(0.5 if job == 0 else 0.0)
    return job, os.getpid()

def refuse(job, reporter):
    if job == 2:
        raise TierwiseError("two cannot be done; take three")
    return job

def stumble(job, reporter):
    return {0: "zero"}[job]

def die(job, reporter):
    if job == 1:
        os._exit(3)
    return job

def unsendable(job, reporter):
    return lambda: job

def until_told(job, reporter):
    """Goes on until it is to stop, then leaves a note that it has saved itself."""
    folder, number = job
    Path(folder, f"{number}.began").write_text(str(os.getpid()))
    try:
        while True:
            reporter.tell(0.1)
            time.sleep(0.02)
    except Stopped:
        Path(folder, f"{number}.saved").write_text("saved")
        raise

def one_fails(job, reporter):
    if job[1] == 0:
        while not Path(job[0], "1.began").exists():
            time.sleep(0.02)
        raise TierwiseError("zero failed")
    return until_told(job, reporter)

def deaf(job, reporter):
    """Ignores that it is to stop."""
    while True:
        try:
            reporter.tell(0.1)
        except Stopped:
            pass
        time.sleep(0.02)
'''
SLOW_IMPORT = """
Path(__file__).with_name(f"{os.getpid()}.importing").touch()
time.sleep(0.5)
"""
MAIN = """\
import sys
from pathlib import Path
import parallel_work
from tierwise.parallel import run_jobs
if __name__ == "__main__":
    folder = sys.argv[1]
    try:
        run_jobs([(folder, n) for n in range(4)], parallel_work.until_told, lambda *told: None, processes=2)
    except KeyboardInterrupt:
        Path(folder, "interrupted").write_text("")
        sys.exit(130)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of jobs, importable here and in the workers."""
    (tmp_path / "parallel_work.py").write_text(WORK, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield import_module("parallel_work")
    sys.modules.pop("parallel_work", None)


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    """After every test no process of this one lives that did not live before, but for Python's resource tracker."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert not [process for process in left if "resource_tracker" not in " ".join(process.cmdline())]


def _silent(number: int, fraction: float, text: str) -> None:
    pass


def test_results_are_in_the_order_of_the_jobs(work: ModuleType) -> None:
    """The first job ends last; `done` hears of each when it ends."""
    heard: list[int] = []
    results = run_jobs(range(5), work.slow_first, _silent, lambda number, _: heard.append(number), processes=2)

    assert list(range(5)) == [job for job, _ in results]
    assert list(range(5)) == sorted(heard)
    assert heard[-1] == 0


def test_more_jobs_than_processes_share_them(work: ModuleType) -> None:
    """Five jobs, two workers, neither of them us."""
    workers = {pid for _, pid in run_jobs(range(5), work.slow_first, _silent, processes=2)}

    assert 2 == len(workers)
    assert os.getpid() not in workers


def test_no_more_workers_than_jobs_are_started(work: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job needs one process, and none needs none."""
    started = []
    start = parallel._start
    monkeypatch.setattr(parallel, "_start", lambda given: started.append(given) or start(given))

    assert [] == run_jobs([], work.square, _silent, processes=4)
    assert [49] == run_jobs([7], work.square, _silent, processes=4)
    assert 1 == len(started)


def test_progress_is_heard(work: ModuleType) -> None:
    """Of each job, with its number, how far it is and what it says."""
    heard: list[Any] = []
    run_jobs([3, 4, 5], work.square, lambda *told: heard.append(told), processes=2)

    assert [(0, 0.5, "half of 3"), (1, 0.5, "half of 4"), (2, 0.5, "half of 5")] == sorted(heard)


def test_a_jobs_refusal_reaches_the_caller(work: ModuleType) -> None:
    """A TierwiseError with the same words."""
    with pytest.raises(TierwiseError) as caught:
        run_jobs(range(5), work.refuse, _silent, processes=2)

    assert "two cannot be done; take three" == str(caught.value)


@pytest.mark.parametrize(("name", "told"), [("stumble", "KeyError: 1"), ("unsendable", "pickle")])
def test_a_defect_in_a_job_reaches_the_caller_with_its_traceback(work: ModuleType, name: str, told: str) -> None:
    """Any exception, also where only the result cannot be sent."""
    with pytest.raises(TierwiseError, match="a job failed:\n") as caught:
        run_jobs(range(2), getattr(work, name), _silent, processes=1)

    assert told in str(caught.value)
    assert "Traceback" in str(caught.value)


def test_a_worker_that_dies_is_told(work: ModuleType) -> None:
    """With its exit code; nobody waits for it for ever."""
    with pytest.raises(TierwiseError, match="a worker process ended with exit code 3"):
        run_jobs(range(3), work.die, _silent, processes=2)


def test_a_worker_that_cannot_begin_is_told(work: ModuleType, tmp_path: Path) -> None:
    """It cannot import the job's module: a TierwiseError, not a broken pipe, also with a job that fills the pipe."""
    (tmp_path / "parallel_work.py").write_text("raise SystemExit(7)", encoding="utf-8")
    with pytest.raises(TierwiseError, match="a worker process ended with exit code 7"):
        run_jobs([b"x" * 10_000_000], work.square, _silent, processes=1)


def _wait_for(condition: Any, what: str) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def _begun(folder: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in folder.glob("*.began")]


def test_an_interrupt_stops_the_workers_after_they_have_saved(work: ModuleType, tmp_path: Path) -> None:
    """KeyboardInterrupt in the watcher, as Ctrl-C raises it: both jobs save themselves, the third never begins."""

    def interrupt(number: int, fraction: float, text: str) -> None:
        if len(_begun(tmp_path)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([(str(tmp_path), number) for number in range(3)], work.until_told, interrupt, processes=2)

    assert ["0.saved", "1.saved"] == sorted(path.name for path in tmp_path.glob("*.saved"))
    assert not any(psutil.pid_exists(pid) for pid in _begun(tmp_path))


def test_a_failure_lets_the_others_save_themselves(work: ModuleType, tmp_path: Path) -> None:
    """Before the caller hears of it."""
    with pytest.raises(TierwiseError, match="zero failed"):
        run_jobs([(str(tmp_path), number) for number in range(2)], work.one_fails, _silent, processes=2)

    assert ["1.saved"] == [path.name for path in tmp_path.glob("*.saved")]


def test_a_job_that_does_not_stop_is_ended(work: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that it has for saving itself, even if it never falls silent."""
    monkeypatch.setattr(parallel, "STOP_TIMEOUT_S", 0.5)

    def interrupt(number: int, fraction: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([1], work.deaf, interrupt, processes=1)


def _command(tmp_path: Path) -> subprocess.Popen[str]:
    """A program of its own with two workers, in a process group of its own, as a terminal starts it."""
    main = tmp_path / "main.py"
    main.write_text(MAIN, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(main), str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_at_any_time_is_quiet_and_leaves_nobody(work: ModuleType, tmp_path: Path, early: bool) -> None:
    """The terminal sends it to the workers too, also while they are still importing: no traceback, exit code 130."""
    if early:
        (tmp_path / "parallel_work.py").write_text(WORK + SLOW_IMPORT, encoding="utf-8")
    command = _command(tmp_path)
    family = psutil.Process(command.pid)
    try:
        if early:
            _wait_for(lambda: len(list(tmp_path.glob("*.importing"))) == 3, "two workers importing, as the command did")
        else:
            _wait_for(lambda: len(_begun(tmp_path)) == 2, "two workers")
        children = family.children()
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=60)
    finally:
        command.kill()

    assert (130, "") == (command.returncode, errors)
    assert (tmp_path / "interrupted").exists()
    assert 2 <= len(children)
    _wait_for(lambda: not any(child.is_running() for child in children), "somebody is left")
    assert len(list(tmp_path.glob("*.began"))) == len(list(tmp_path.glob("*.saved")))


def test_workers_end_when_we_are_killed(work: ModuleType, tmp_path: Path) -> None:
    """SIGKILL, after which nobody tells them anything: they lose their pipe."""
    command = _command(tmp_path)
    try:
        _wait_for(lambda: len(_begun(tmp_path)) == 2, "two workers")
        pids = _begun(tmp_path)
    finally:
        command.kill()
        command.communicate(timeout=60)

    _wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), "workers outlive us")
