"""The `tierwise` command as a user types it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import tierwise
from tierwise.__main__ import COMMANDS, main

CONFIGS = Path(__file__).parents[2] / "configs"


def test_help_names_every_subcommand_and_an_example() -> None:
    """`tierwise --help` is where a user starts."""
    command = [sys.executable, "-m", "tierwise", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0
    assert all(name in done.stdout for name in [*COMMANDS, "Example"])


@pytest.mark.parametrize(("arguments", "ends"), [(["orchestrator", "run"], False), (["watch", "--help"], True)])
def test_only_a_program_that_takes_a_changed_file_outlives_a_hangup(
    arguments: list[str], ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its start; other commands end with the terminal that they were typed in."""
    handlers: list[object] = []
    monkeypatch.setattr("tierwise.__main__._run", lambda _: handlers.append(signal.getsignal(signal.SIGHUP)))
    monkeypatch.setattr(sys, "argv", ["tierwise", *arguments])
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        main()
    finally:
        signal.signal(signal.SIGHUP, former)

    assert [ends] == [handler is signal.SIG_DFL for handler in handlers]


def test_help_imports_no_subcommand() -> None:
    """The subcommands and what they need load only when they are called."""
    code = (
        "import sys; sys.argv = ['tierwise', '--help']\n"
        "from tierwise.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'PIL', 'pydantic', 'paho', 'tierwise.commands', 'ai_edge_litert', 'influxdb_client')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_subcommand_has_help(name: str) -> None:
    """Help ends with exit code 0 and shows how the command is called."""
    done = tierwise(name, "--help")

    assert done.returncode == 0
    assert "Usage: tierwise" in done.stdout


def test_an_unknown_subcommand_is_wrong_usage() -> None:
    """Exit code 2, and no traceback."""
    done = tierwise("dmeo")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_config_check_accepts_every_shipped_file() -> None:
    """Each kind of file is recognised by its keys."""
    files = sorted(str(path) for path in CONFIGS.rglob("*.yaml"))

    done = tierwise("config", "check", *files)

    assert done.stdout.splitlines() == [f"{file}: ok" for file in files]
    assert done.returncode == 0


def test_config_check_lists_the_mistakes_of_every_file(tmp_path: Path) -> None:
    """Two bad files: the mistakes of both, exit code 1, no traceback."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("version: 1\nsite: x\nnode: s1\ntier: ende\n", encoding="utf-8")
    second.write_text("version: 1\nsite: x\ngoal: {policy: q_lerning}\n", encoding="utf-8")

    done = tierwise("config", "check", str(first), str(second))

    assert done.returncode == 1
    assert f"{first}:4:7 tier: must be end, edge or cloud, not 'ende', did you mean end?" in done.stderr
    assert f"{second}:3:16 goal.policy: must be" in done.stderr
    assert "did you mean q_learning?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("background: {s1: {start: 2, stop: 0}}", "3:26 background.s1.start: must be a number from 0 to 1, not 2"),
        ("own_load: {edges: 1}", "3:12 own_load.edges: is not a known key, did you mean edge?"),
        ("events: [{round: 1, kind: down}]", "3:10 events.0.nodes: is required"),
        ("busy: {end: 0}", "3:13 busy.end: must be a number from 1 to 100, not 0"),
        ("links: {weak: {ask: 1}}\norigin: {}", "3:16 links.weak.ask: is not a known key, did you mean ask_ms?"),
        (
            "links: {s1: weak}\nnoise: {sd_percnt: 3}",
            "4:9 noise.sd_percnt: is not a known key, did you mean sd_percent?",
        ),
        ("links: {s1: week}", "3:13 links.s1: must be regular or weak, not 'week', did you mean weak?"),
    ],
)
def test_config_check_knows_scenarios_and_calibrations_by_their_keys(tmp_path: Path, text: str, mistake: str) -> None:
    """A calibration has links too, but is no experiment."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"version: 1\nname: mine\n{text}\n", encoding="utf-8")

    done = tierwise("config", "check", str(file))

    assert done.returncode == 1
    assert f"{file}:{mistake}" in done.stderr


@pytest.mark.parametrize("kind", ["scenario", "calibration"])
def test_config_check_can_be_told_the_kind(kind: str) -> None:
    """`--kind` takes the simulator's files too; a scenario is no calibration."""
    done = tierwise("config", "check", str(CONFIGS / "scenarios" / "still.yaml"), "--kind", kind)

    assert done.returncode == (0 if kind == "scenario" else 1)
    assert ("models: is required" in done.stderr) == (kind == "calibration")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--experiment", "exp-z"], "exp-a, exp-b, exp-c, exp-d"),
        (["--floor", "95"], "--floor"),
        (["--rounds", "0"], "--rounds"),
        (["--rounds", "100001"], "--rounds"),
        (["--json", "/no/such/folder/demo.json"], "--json"),
        (["--picture", "/"], "--picture"),
    ],
)
def test_the_demo_refuses_a_wrong_option_before_it_starts_anything(arguments: list[str], said: str) -> None:
    """Exit code 2, naming the option and what it takes."""
    done = tierwise("demo", *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_refuses_a_fleet_file_with_mistakes(tmp_path: Path) -> None:
    """A wrong fleet file is told like any other configuration."""
    file = tmp_path / "fleet.yaml"
    file.write_text((CONFIGS / "demo.yaml").read_text(encoding="utf-8").replace("fixed: 8", "fixd: 8"), "utf-8")

    done = tierwise("demo", "--config", str(file))

    assert done.returncode == 1
    assert "rounds.fixd: is not a known key, did you mean fixed?" in done.stderr
