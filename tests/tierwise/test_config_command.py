"""`tierwise config` as a user types it: check, show, schema, migrate."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from configs import kinds, migration
from configs.editing import rename
from configs.kinds import KINDS, kind_of, schema_of
from configs.loader import load, loads
from configs.section import Section
from tierwise.__main__ import main

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
GOOD = "version: 1\nsite: home\nnode: s1\ntier: end\n"

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


# -- check -------------------------------------------------------------------------------------------------------


def test_check_as_json_tells_each_problem_with_its_place(run: Run, tmp_path: Path) -> None:
    """One entry a file; the exit code is the same."""
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(GOOD.replace("end", "ende"), encoding="utf-8")

    code, out, err = run("check", "--json", "good.yaml", "bad.yaml")

    good, bad = json.loads(out)
    [problem] = bad["problems"]
    assert (1, "") == (code, err)
    assert (True, []) == (good["ok"], good["problems"])
    assert (False, "bad.yaml", 4, 7, "tier") == (
        bad["ok"], problem["file"], problem["line"], problem["column"], problem["key"],
    )  # fmt: skip


def test_an_unknown_kind_is_wrong_usage(run: Run) -> None:
    """Exit code 2, and the kinds are listed."""
    code, _, err = run("check", "--kind", "planet", "x.yaml")

    assert 2 == code
    assert "one of node, orchestrator, broker" in plain(err)


PIECES = [
    "", "  ", "\t", ":", ": ", "- ", "{", "}", "[", "]", "'", '"', "#", "&a ", "*a", "!x ", "|", ">", "%", "? ", ", ",
    "\x00", "\x85", "\ud83d".encode("utf-8", "replace").decode(), "é", "1e400", ".nan", "0x", "12:30:45", "null", "yes",
    "9" * 5000, "<<: ", "---\n", "...\n", "\n", "\r", "2024-01-01", "!!python/object:os.system x", "~",
]  # fmt: skip


def _mutated(text: str, dice: random.Random) -> str:
    """One to four edits such as a hurried hand makes, and some that none would."""
    for _ in range(dice.randint(1, 4)):
        lines = text.split("\n")
        at, place = dice.randrange(len(lines)), dice.randrange(len(text) + 1)
        match dice.randrange(6):
            case 0:
                text = text[:place] + dice.choice(PIECES) + text[place:]
            case 1:
                text = text[:place] + text[place + dice.randint(1, 5) :]
            case 2:
                text = "\n".join([*lines[:at], *lines[at + 1 :]])
            case 3:
                text = "\n".join([*lines[:at], lines[dice.randrange(len(lines))], *lines[at:]])
            case 4:
                text = "\n".join([*lines[:at], dice.choice(["\t", " ", "   "]) + lines[at], *lines[at + 1 :]])
            case _:
                key, colon, _ = lines[at].partition(":")
                text = "\n".join([*lines[:at], f"{key}{colon} {dice.choice(PIECES)}", *lines[at + 1 :]])
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_never_ends_in_a_traceback(run: Run, tmp_path: Path, kind: str) -> None:
    """Twenty-five of each kind: exit code 0 or 1, and each message has a line and a column within the file."""
    dice = random.Random(f"mutants of {kind}")
    shipped = [text for file in FILES if kind_of(text := file.read_text(encoding="utf-8")) == kind]
    file = tmp_path / "mutant.yaml"
    refused = 0
    for _ in range(25):
        text = _mutated(dice.choice(shipped), dice)
        file.write_text(text, encoding="utf-8", newline="")
        code, _, err = run("check", "--kind", kind, str(file))
        assert code in (0, 1), text
        assert "Traceback" not in err
        refused += code
        for line, column in re.findall(rf"^{re.escape(str(file))}:(\d+):(\d+) ", err, re.MULTILINE):
            assert 1 <= int(line) <= len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text)) + 1, text
            assert 1 <= int(column), text
    assert 5 <= refused


# -- show --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_shown_is_a_file_that_says_the_same(run: Run, file: Path) -> None:
    """Defaults filled in, and it loads to equal settings."""
    code, out, _ = run("show", str(file))

    schema = schema_of(kind_of(file.read_text(encoding="utf-8")))
    assert 0 == code
    assert load(file, schema) == loads(out, schema, "shown")


def test_each_shown_value_has_its_line_or_is_called_a_default(run: Run, tmp_path: Path) -> None:
    """As YAML with comments, and as JSON."""
    (tmp_path / "d.yaml").write_text(GOOD + "broker:\n  port: 1999\n", encoding="utf-8")

    _, out, _ = run("show", "d.yaml")
    _, as_json, _ = run("show", "d.yaml", "--json")

    shown = [" ".join(line.split()) for line in out.splitlines()]
    rows = {row["key"]: row for row in json.loads(as_json)["settings"]}
    assert "site: home # d.yaml:2" in shown
    assert "port: 1999 # d.yaml:6; that the broker listens on" in shown
    assert "keepalive_s: 5 # default; seconds: a silent peer is noticed after 1.5 to 2 of these" in shown
    assert (1999, "d.yaml:6") == (rows["broker.port"]["value"], rows["broker.port"]["source"])
    assert (1.0, "default") == (rows["monitoring.period_s"]["value"], rows["monitoring.period_s"]["source"])


# -- schema and migrate -------------------------------------------------------------------------------------------


def test_schema_prints_the_shipped_one_and_writes_all(run: Run, tmp_path: Path) -> None:
    """`device` is a word for node; no kind at all is wrong usage unless a folder is named."""
    code, out, _ = run("schema", "device")
    none, _, _ = run("schema")
    every, _, _ = run("schema", "--output", "schemas")

    shipped = sorted((CONFIGS / "schemas").iterdir())
    assert (0, 2, 0) == (code, none, every)
    assert (CONFIGS / "schemas" / "node.schema.json").read_text(encoding="utf-8") == out
    assert [file.name for file in shipped] == sorted(file.name for file in (tmp_path / "schemas").iterdir())


class Boat(Section):
    """A made-up kind of file with an earlier version."""

    version: Literal[2]
    name: str


def test_migrate_rewrites_an_older_file_and_keeps_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments stay, the former file is named, a second time there is nothing to do, and check says what is old."""
    monkeypatch.setitem(migration.STEPS, Boat, {1: lambda text: rename(text, "label", "name")})
    schemas: dict[str, Any] = {**kinds._SCHEMAS, "node": (__name__, "Boat")}
    monkeypatch.setattr(kinds, "_SCHEMAS", schemas)
    monkeypatch.setattr(kinds, "import_module", lambda name: sys.modules[name])
    file, old = tmp_path / "boat.yaml", "version: 1  # old\nlabel: Ada  # hers\n"
    file.write_text(old, encoding="utf-8")

    checked = run("check", "--kind", "node", "boat.yaml")
    first = run("migrate", "--kind", "node", "boat.yaml")
    second = run("migrate", "--kind", "node", "boat.yaml")

    assert (
        0,
        "boat.yaml: ok, of version 1: tierwise config migrate boat.yaml makes it one of the present\n",
    ) == checked[:2]
    assert (0, f"boat.yaml: now of version 2; the former file is {file}.bak-1\n") == first[:2]
    assert (0, "boat.yaml: is of version 2, the present one\n") == second[:2]
    assert ("version: 2  # old\nname: Ada  # hers\n", old) == (
        file.read_text(encoding="utf-8"), (tmp_path / "boat.yaml.bak-1").read_text(encoding="utf-8"),
    )  # fmt: skip


def test_migrate_leaves_a_file_with_mistakes_alone(run: Run, tmp_path: Path) -> None:
    """Its mistakes are told instead."""
    file = tmp_path / "d.yaml"
    file.write_text(GOOD + "port: 3\n", encoding="utf-8")

    code, _, err = run("migrate", "d.yaml")

    assert 1 == code
    assert "d.yaml:5:1 port: is not a known key here" in err
    assert [file] == list(tmp_path.iterdir())
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["port"] == 3


def test_standard_input_that_is_no_text_is_told_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a file."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"site: \xff\n")))

    code, _, err = run("check", "-")

    assert 1 == code
    assert "stdin:1:7 is not UTF-8" in err


@pytest.mark.parametrize(
    ("goal", "told"),
    [
        ("accuracy_floor: 3", "o.yaml:4:19 goal.accuracy_floor: 3 % is below the least accurate model's 72.8 %"),
        ("accuracy_floor: 0.9", "did you mean 90?"),
        ("accuracy_floor: 0.85", "did you mean 85?"),
        ("{accuracy_floor: 47.9, metric: top1}", "below the least accurate model's 48 %"),
        ("{accuracy_floor: max, metric: top1}", "max is 89.9, the best Top-5 of d0 to d7"),
        ("label_set: flowers-4", "no network of flowers-4 has a known top5 accuracy"),
    ],
)
def test_a_floor_or_a_label_set_that_no_network_fits_is_refused(run: Run, goal: str, told: str) -> None:
    """With its place; `min`, 0 and the least accurate model's own accuracy are taken."""
    head = "version: 1\nsite: home\ngoal:"
    Path("o.yaml").write_text(f"{head} {goal}\n" if goal.startswith("{") else f"{head}\n  {goal}\n")
    code, _, err = run("check", "o.yaml")
    assert 1 == code
    assert told in err

    for floor in ("min", "0", "72.8"):
        Path("o.yaml").write_text(f"{head}\n  accuracy_floor: {floor}\n")
        assert (0, "o.yaml: ok\n") == run("check", "o.yaml")[:2]


def test_networks_of_other_classes_than_the_sites_are_refused(run: Run) -> None:
    """In the manifest that an orchestrator names, and in the pool of a node that is checked with it."""
    entry = {
        "sha256": "a" * 64, "dtype": "fp32", "input_px": [8, 8], "classes": 4, "background": False,
        "preprocessing": "raw_0_255", "output": "logits", "mmacs": 1.0, "top1": 90.0, "label_set": "flowers-4",
    }  # fmt: skip
    Path("local.yaml").write_text(yaml.safe_dump({"version": 1, "models": {"net": entry}}))
    Path("o.yaml").write_text("version: 1\nsite: home\ngoal: {policy: random}\nfiles: {manifest: local.yaml}\n")
    Path("s1.yaml").write_text(GOOD + "models: {pool: [d0, net], manifest: local.yaml}\n")
    why = "net is not used{}: its label set is flowers-4, the site's is imagenet-1000"

    code, _, err = run("check", "o.yaml", "s1.yaml")
    assert 1 == code
    assert f"o.yaml:4:19 files.manifest: {why.format('')}" in err
    assert f"s1.yaml:5:16 models.pool: {why.format(' at this site')}" in err
    code, _, err = run("check", "s1.yaml")
    assert "all networks of a site have one label set, not d0 (imagenet-1000), net (flowers-4)" in err
