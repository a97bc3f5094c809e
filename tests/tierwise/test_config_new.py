"""`tierwise config new` as a user types it: from options, and from answers on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.kinds import kind_of, schema_of
from configs.loader import load, loads
from configs.node import NodeConfig
from tierwise.__main__ import main
from tierwise.commands.config_new import NewKind
from tierwise.settings_files.making import NEXT

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
GOOD = "version: 1\nsite: home\nnode: s1\ntier: end\n"

PATIENCE_S = 120.0
# Ctrl-C reaches a process through the terminal that is its own.
OWN_TERMINAL = (
    "import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'tierwise'; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from tierwise.__main__ import main; main()"
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`tierwise config ARGUMENTS` in this process and an empty folder: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tierwise", "config", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def plain(text: str) -> str:
    """Without the frame that typer draws around what is wrong."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("kind", [kind for kind in NewKind if kind is not NewKind.SITE])
def test_a_new_file_is_annotated_and_loads(run: Run, tmp_path: Path, kind: NewKind) -> None:
    """Without a terminal nothing is asked; the next command is named, and its schema lies beside it."""
    code, out, err = run("new", kind)

    text = (tmp_path / f"{kind}.yaml").read_text(encoding="utf-8")
    assert (0, "") == (code, err)
    assert [f"wrote {kind}.yaml", *(f"next: {command.format(file=f'{kind}.yaml')}" for command in NEXT[kind])] == (
        out.splitlines()
    )
    assert (CONFIGS / f"{kind}.yaml").read_text(encoding="utf-8") == text
    assert loads(text, schema_of(kind_of(text)), "f").model_dump()["version"] == 1
    named = text.splitlines()[0].partition("$schema=")[2]
    assert json.loads((tmp_path / named).read_text(encoding="utf-8"))["$id"].startswith("urn:tierwise:config:")


def test_options_stand_in_their_places(run: Run, tmp_path: Path) -> None:
    """Any key can be set; the comments of the shipped file are all there."""
    options = ("--site", "lab", "--node", "s7", "--broker-host", "10.0.0.2", "--broker-port", "1999")
    code, _, _ = run("new", "device", "--output", "deep/s7.yaml", *options, "--set", "service.workers=2")

    file = tmp_path / "deep" / "s7.yaml"
    settings = load(file, NodeConfig)
    shipped = (CONFIGS / "device.yaml").read_text(encoding="utf-8")
    assert 0 == code
    assert ("lab", "s7", "10.0.0.2", 1999, 2) == (
        settings.site, settings.node, settings.broker.host, settings.broker.port, settings.service.workers,
    )  # fmt: skip
    assert re.findall(r"# .*", shipped.replace("# workers: 4 ", "")) == re.findall(r"# .*", file.read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["device", "--site", "My Home"], "--site: site: 'My Home' is not a site id"),
        (["device", "--broker-port", "0"], "broker.port: must be a whole number from 1 to 65535, not 0"),
        (["device", "--set", "broker.prot=1"], "broker.prot: is not a known key, did you mean port?"),
        (["device", "--set", "tier=edge"], "requester.mode: must be none on tier edge"),
        (["device", "--set", "x"], "'x' is not KEY=VALUE"),
        (["device", "--floor", "80"], "--floor: is not for the kind device"),
        (["device", "--devices", "3"], "is for the kind site"),
        (["orchestrator", "--policy", "dqm"], "did you mean dqn?"),
        (["site", "--set", "site=x"], "is for single files"),
        (["planet"], "is not one of"),
    ],
)
def test_an_option_that_the_schema_refuses_is_wrong_usage(
    run: Run, tmp_path: Path, arguments: list[str], told: str
) -> None:
    """Exit code 2, the schema's own words, and no file."""
    code, _, err = run("new", *arguments)

    assert 2 == code
    assert told.replace(" ", "") in plain(err).replace(" ", "").replace("'--", "--").replace("':", ":")
    assert [] == list(tmp_path.iterdir())


def test_schemas_that_cannot_be_replaced_are_told_in_one_line(run: Run, tmp_path: Path) -> None:
    """No traceback for a folder in the place of a generated file."""
    (tmp_path / "schemas" / "node.schema.json").mkdir(parents=True)

    code, _, err = run("new", "device", "--yes")

    assert 1 == code
    assert re.fullmatch(r"tierwise: cannot write schemas/node\.schema\.json: .+\n", err)


def test_a_file_that_is_there_is_kept_unless_forced_and_then_in_a_backup(run: Run, tmp_path: Path) -> None:
    """Nothing that a person wrote is lost."""
    file = tmp_path / "edge.yaml"
    file.write_text("mine", encoding="utf-8")

    refused = run("new", "edge")
    before = file.read_text(encoding="utf-8")
    forced = run("new", "edge", "--force")

    assert (1, "mine") == (refused[0], before)
    assert "tierwise: edge.yaml: there already" in refused[2]
    assert 0 == forced[0]
    assert "kept  " in forced[1]
    assert "mine" == (tmp_path / "edge.yaml.bak-1").read_text(encoding="utf-8")


def test_a_new_site_is_a_folder_of_files_that_fit_each_other(run: Run, tmp_path: Path) -> None:
    """One broker, one site, names of their own, and the site's list of members names them all."""
    code, out, _ = run("new", "site", "--site", "lab", "--devices", "3", "--broker-host", "10.0.0.2", "--floor", "80")

    files = {str(path.relative_to(tmp_path / "lab")): path for path in (tmp_path / "lab").rglob("*.yaml")}
    loaded = {
        name: load(path, schema_of(kind_of(path.read_text("utf-8")))).model_dump() for name, path in files.items()
    }
    nodes = {name: found for name, found in loaded.items() if "tier" in found}
    assert (0, "wrote lab") == (code, out.splitlines()[0])
    orchestrator = loaded["nodes/orchestrator/orchestrator.yaml"]
    assert "next: tierwise broker provision lab/site.yaml " in out  # the broker is elsewhere
    assert {"broker/broker.yaml", "nodes/orchestrator/orchestrator.yaml", "site.yaml", *nodes} == set(files)
    assert {f"nodes/{name}/node.yaml" for name in ("s1", "s2", "s3", "edge", "cloud")} == set(nodes)
    assert {"lab"} == {found["site"] for name, found in loaded.items() if name != "broker/broker.yaml"}
    assert {("10.0.0.2", 1883)} == {
        (found["broker"]["host"], found["broker"]["port"]) for found in [*nodes.values(), orchestrator]
    }
    members = loaded["site.yaml"]
    assert {found["node"] for found in nodes.values()} == {node for tier in members["nodes"].values() for node in tier}
    assert (("10.0.0.2",), 80.0) == (members["hosts"], orchestrator["goal"]["accuracy_floor"])


@pytest.mark.parametrize("interrupted", [False, True])
def test_on_a_terminal_it_asks_and_asks_again_after_a_mistake(tmp_path: Path, interrupted: bool) -> None:
    """An empty answer takes the default; the schema's words follow a wrong one; Ctrl-C ends with 130 and no file."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, "config", "new", "device", "--broker-port", "1999"],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment,
    )  # fmt: skip
    os.close(theirs)
    seen = ""
    answers = [("Site", "My Home"), ("Site", "lab"), ("Name", "")]
    for question, answer in answers:
        seen += _until(ours, question)
        os.write(ours, (answer + "\n").encode())
    seen += _until(ours, "Host")
    if interrupted:
        _interrupt(ours, process)
    else:
        os.write(ours, b"10.0.0.2\n")
        process.wait(PATIENCE_S)
    os.close(ours)

    assert "site: 'My Home' is not a site id: use 1 to 63 of a-z" in seen
    assert (130 if interrupted else 0) == process.returncode
    if interrupted:
        assert [] == list(tmp_path.iterdir())
        return
    settings = load(tmp_path / "device.yaml", NodeConfig)
    assert ("lab", "s1", "10.0.0.2", 1999) == (
        settings.site, settings.node, settings.broker.host, settings.broker.port,
    )  # fmt: skip


def _interrupt(terminal: int, process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, and again: Python notices one that comes just before it waits for a line only with the next key."""
    for _ in range(int(PATIENCE_S)):
        os.write(terminal, b"\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            return


def _until(terminal: int, word: str) -> str:
    seen = ""
    while not re.search(rf"{word}[^\n]*: $", seen):
        readable, _, _ = select.select([terminal], [], [], PATIENCE_S)
        assert readable, seen
        seen += os.read(terminal, 1024).decode()
    return seen
