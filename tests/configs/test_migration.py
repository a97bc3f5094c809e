"""Files of earlier versions are read as the present one, and rewritten on request, with a backup."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pytest

from broker import durable_file
from configs import migration, rewriting
from configs.editing import drop, put, rename
from configs.loader import ConfigError, load, loads, read
from configs.rewriting import NotWritten, rewrite
from configs.section import Section


class Engine(Section):
    """A made-up section."""

    period_s: float = 1.0


class Boat(Section):
    """A made-up kind of file, which had two earlier versions."""

    version: Literal[3]
    name: str
    engine: Engine = Engine()


def _one_to_two(text: str) -> str:
    """Version 1 said `label`."""
    return rename(text, "label", "name")


def _two_to_three(text: str) -> str:
    """Version 2 said `period_ms`, at the left margin."""
    import yaml

    period_ms = yaml.safe_load(text).get("period_ms")
    return text if period_ms is None else put(drop(text, "period_ms"), "engine.period_s", period_ms / 1000)


OLD = "# My boat.\nversion: 1   # of the file\nlabel: Ada   # as painted\nperiod_ms: 500\n"


@pytest.fixture(autouse=True)
def _boats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(migration.STEPS, Boat, {1: _one_to_two, 2: _two_to_three})


def test_an_older_file_is_read_as_the_present_version_and_keeps_its_comments() -> None:
    """Two steps, one after the other."""
    loaded = read(OLD, Boat, "boat.yaml")

    assert (3, "Ada", 0.5) == (loaded.settings.version, loaded.settings.name, loaded.settings.engine.period_s)
    assert (1, True) == (loaded.version, loaded.old)
    assert "# My boat.\nversion: 3   # of the file\nname: Ada   # as painted\n" in loaded.text


def test_a_file_of_the_version_between_takes_the_last_step_alone() -> None:
    """And one of the present version none."""
    between = read("version: 2\nname: Ada\nperiod_ms: 250\n", Boat, "f")
    present = read("version: 3\nname: Ada\n", Boat, "f")

    assert (2, 0.25) == (between.version, between.settings.engine.period_s)
    assert (3, False) == (present.version, present.old)


def test_a_program_that_reads_an_older_file_says_so_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning names the command; the file is not touched."""
    file = tmp_path / "boat.yaml"
    file.write_text(OLD, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        settings = load(file, Boat)

    assert "Ada" == settings.name
    assert [f"old_config file={file} version=1 mend='tierwise config migrate {file}'"] == caplog.messages
    assert OLD == file.read_text(encoding="utf-8")


def test_a_mistake_in_an_older_file_has_its_place_there() -> None:
    """Steps that keep lines make that so."""
    with pytest.raises(ConfigError, match="f:3:1 nam: is not a known key, did you mean name"):
        loads(OLD.replace("label", "nam"), Boat, "f")


@pytest.mark.parametrize(("version", "told"), [(4, "knows versions up to 3"), (0, "which no Tierwise reads")])
def test_a_version_without_a_way_to_the_present_one_is_refused(version: int, told: str) -> None:
    """A newer one, and one that never was."""
    with pytest.raises(ConfigError, match=f"f:2:10 version: is {version}, .*{told}"):
        loads(OLD.replace("version: 1", f"version: {version}"), Boat, "f")


def test_every_kind_has_steps_from_version_1_to_its_present_one() -> None:
    """A schema whose version grows without a step would refuse everybody's files."""
    from configs.kinds import KINDS, schema_of

    for kind in KINDS:
        schema = schema_of(kind)
        assert set(range(1, migration.current_version(schema))) == set(migration.STEPS.get(schema, {}))


def test_rewriting_keeps_the_former_file_under_the_next_free_number(tmp_path: Path) -> None:
    """Nothing is ever overwritten but the file itself; its permissions stay."""
    file = tmp_path / "boat.yaml"
    file.write_text("one", encoding="utf-8")
    file.chmod(0o640)

    backups = [rewrite(file, "two"), rewrite(file, "three"), rewrite(tmp_path / "new.yaml", "x")]

    assert [tmp_path / "boat.yaml.bak-1", tmp_path / "boat.yaml.bak-2", None] == backups
    assert ["one", "two", "three"] == [path.read_text() for path in (backups[0], backups[1], file) if path]
    assert [0o640, 0o640] == [path.stat().st_mode & 0o777 for path in (tmp_path / "boat.yaml.bak-1", file)]


def test_a_file_whose_replacement_fails_is_as_it_was_and_has_its_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup comes first: a full disk at the second write costs nothing."""
    file = tmp_path / "boat.yaml"
    file.write_text("one", encoding="utf-8")
    writes: list[Path] = []

    def failing(path: Path, write: object) -> None:
        writes.append(path)
        if len(writes) == 2:
            raise OSError(28, "No space left on device")
        durable_file.replace_durably(path, write)  # type: ignore[arg-type]

    monkeypatch.setattr(rewriting, "replace_durably", failing)
    with pytest.raises(NotWritten, match="No space left on device"):
        rewrite(file, "two")

    assert ("one", "one") == (file.read_text(), (tmp_path / "boat.yaml.bak-1").read_text())


def test_a_file_behind_a_link_is_rewritten_where_it_is(tmp_path: Path) -> None:
    """The link stays a link."""
    file, link = tmp_path / "boat.yaml", tmp_path / "link.yaml"
    file.write_text("one", encoding="utf-8")
    link.symlink_to(file)

    assert file.with_name("boat.yaml.bak-1") == rewrite(link, "two")
    assert (True, "two") == (link.is_symlink(), file.read_text())
