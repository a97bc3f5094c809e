"""The runner of all benchmarks: it goes on, it tells, and it leaves no process behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import run_all
from benchmarks.report_form import Report, Row, read_report
from benchmarks.run_all import Script, run, watched

GOOD = """
import sys
open(sys.argv[sys.argv.index("--json") + 1], "w").write(
    '{"benchmark": "good", "title": "Good", "rows": [{"what": "w", "ours": 1, "unit": "s"}]}')
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where scripts are; figures go beside it."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.py").write_text("raise SystemExit(3)", encoding="utf-8")
    (tmp_path / "odd.py").write_text(GOOD.replace('"title"', '"name"'), encoding="utf-8")
    return tmp_path


def test_figures_of_a_script_are_kept_as_it_wrote_them(folder: Path) -> None:
    """They are the ones that the page is made of."""
    outcome = run(Script("good", 30), folder / "figures", folder)

    expected = Report(benchmark="good", title="Good", rows=[Row(what="w", ours=1.0, unit="s")])
    assert expected == outcome.report == read_report(folder / "figures" / "good.json")
    assert not outcome.failure


@pytest.mark.parametrize(
    ("name", "failure"),
    [("bad", "ended with exit code 3"), ("odd", "its figures cannot be read: ")],
)
def test_figures_of_an_earlier_run_are_not_taken_for_new_ones(folder: Path, name: str, failure: str) -> None:
    """A script that failed has no report, and what it left the last time stays as it was."""
    (folder / "figures" / f"{name}.json").write_text("earlier", encoding="utf-8")
    outcome = run(Script(name, 30), folder / "figures", folder)

    assert outcome.report is None
    assert str(outcome.failure).startswith(failure)
    assert "earlier" == (folder / "figures" / f"{name}.json").read_text(encoding="utf-8")


def test_a_script_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit is over; both hold their end of a pipe, which closes when the last of them is gone."""
    monkeypatch.setattr(run_all, "END_S", 0.2)
    pipe = tmp_path / "pipe"
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "import fcntl; fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], pass_fds=[descriptor])\n"
        "time.sleep(600)\n"
    )
    failure = watched([sys.executable, "-c", code, str(pipe)], 1.0)

    assert failure == "given up after 1 s"
    assert _is_free(pipe)


def test_one_failure_is_told_by_the_exit_code_and_the_others_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page has both."""
    monkeypatch.setattr(run_all, "SCRIPTS", (Script("bad", 30), Script("good", 30)))
    monkeypatch.setattr(run_all, "run", lambda script, figures: run(script, figures, folder))
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--results", str(folder / "results")])
    code = run_all.main()
    written = (folder / "results" / "benchmarks.md").read_text(encoding="utf-8")

    assert 1 == code
    assert "no figures from bad" in capsys.readouterr().err
    assert "**No figures: ended with exit code 3**" in written
    assert "## Good" in written


def test_every_script_of_the_runner_is_there_and_no_benchmark_is_forgotten() -> None:
    """What takes an hour, or begins from nothing, is left out by name."""
    apart = {"learning", "from_nothing", "serving_memory"}
    measuring = {file.stem for file in Path(run_all.__file__).parent.glob("*.py") if '"--json"' in _text(file)}

    assert measuring - apart - {"run_all"} == {script.name for script in run_all.SCRIPTS}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _is_free(file: Path) -> bool:
    """Whether nobody holds the lock any more, waited for: a killed process takes a moment to be gone."""
    import fcntl

    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
    return True
