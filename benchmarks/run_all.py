"""`make bench`: every benchmark in a process of its own, one after the other, and one page of what they found.

    python benchmarks/run_all.py [--only offload start] [--results DIRECTORY]

Figures go to DIRECTORY/benchmarks/*.json, the page to DIRECTORY/benchmarks.md. A script that fails or takes too long is
named, on the page too, and the others go on; the exit code is 1 then. A goal that is missed is no failure: the page
says by how much and why. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.kept import kept
from benchmarks.machine import load_average, machine, versions
from benchmarks.report_form import Report, read_report
from benchmarks.report_page import Outcome, page

ROOT = Path(__file__).parents[1]
END_S = 10.0  # that a script has to stop what it started, once it is told to end


@dataclass(frozen=True, slots=True)
class Script:
    """One benchmark, what it is called with here, and when it is given up: about three times what it takes."""

    name: str
    limit_s: float
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """As a person would type it."""
        return " ".join(["python", f"benchmarks/{self.name}.py", *self.arguments])


# Together about ten minutes on two cores. Decisions first: they are measured against milliseconds.
SCRIPTS = (
    Script("decision_latency", 120),
    Script("secured_roundtrip", 120),
    Script("broker_roundtrip", 60),
    Script("offload", 60),
    Script("agent_scale", 90),
    Script("decision_scale", 180, ("--devices", "5", "20", "100", "1000", "2000", "--exact-s", "5")),
    Script("runtime_overhead", 60),
    Script("decoding", 240, ("--variants", "4")),
    Script("simulator_speed", 90, ("--seconds", "1")),
    Script("footprint", 120),
    Script("monitoring_cost", 150),
    Script("log_rate", 60),
    Script("shipping", 240),
    Script("start", 300),
    Script("fixed_strategies", 200),
)


def main() -> int:
    """Run, tell, write. 1 when a script failed, 130 when interrupted."""
    options = _options()
    chosen = [script for script in SCRIPTS if not options.only or script.name in options.only]
    figures: Path = options.results / "benchmarks"
    figures.mkdir(parents=True, exist_ok=True)
    facts, outcomes, started_s = machine(), [], time.monotonic()
    for number, script in enumerate(chosen, 1):
        print(f"== {number} of {len(chosen)}: {script.command}", flush=True)
        outcome = run(script, figures)
        outcomes.append(outcome)
        said = outcome.failure or "done"
        print(f"-- {said} after {outcome.took_s:.0f} s, {time.monotonic() - started_s:.0f} s in all\n", flush=True)
    facts |= {"load average at the end": load_average(), "took": f"{time.monotonic() - started_s:.0f} s"}
    written = options.results / "benchmarks.md"
    written.write_text(page(facts, versions(), outcomes, kept()), encoding="utf-8")
    failed = [outcome.name for outcome in outcomes if outcome.report is None]
    rows = [row for outcome in outcomes if outcome.report for row in outcome.report.rows if row.goal is not None]
    missed = [row.what for row in rows if not row.met]
    print(f"{len(rows) - len(missed)} of {len(rows)} goals met; {facts['took']}; the page is {written}")
    for what in missed:
        print(f"missed: {what}")
    if failed:
        print(f"no figures from {', '.join(failed)}; see above", file=sys.stderr)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run every benchmark and write one page.",
        epilog="Example: python benchmarks/run_all.py --only start",
    )
    names = [script.name for script in SCRIPTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where page and figures go")
    return parser.parse_args()


def run(script: Script, figures: Path, folder: Path = ROOT / "benchmarks") -> Outcome:
    """Run one script. Its earlier figures are replaced only by new ones, and never taken for new ones."""
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "report.json"
        command = [sys.executable, str(folder / f"{script.name}.py"), *script.arguments, "--json", str(file)]
        failure = watched(command, script.limit_s)
        report: Report | None = None
        if not failure:
            try:
                report = read_report(file)
            except (OSError, msgspec.DecodeError) as error:
                failure = f"its figures cannot be read: {error}"
            else:
                (figures / f"{script.name}.json").write_bytes(file.read_bytes())
    return Outcome(script.name, script.command, time.monotonic() - started_s, report, failure)


def watched(command: Sequence[str], limit_s: float) -> str:
    """Run a command with its output shown; why it failed, or nothing.

    It is the leader of a group of its own, so that what it started is ended with it.
    """
    process = subprocess.Popen(command, start_new_session=True, cwd=ROOT)
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        end_group(process)
        return f"given up after {limit_s:.0f} s"
    except KeyboardInterrupt:
        end_group(process)
        raise
    return f"ended with exit code {code}" if code else ""


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the script to end as with Ctrl-C, so that it stops its own; then end all that is left of its group."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
