"""From options and answers to written files: what `tierwise config new` does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from tierwise.settings_files.asking import ask, prompt
from tierwise.settings_files.templates import (
    QUESTIONS,
    QUESTIONS_OF_SITE,
    AnswerRefused,
    NewFile,
    Question,
    site_files,
)
from tierwise.settings_files.writing import FileExists, write

MOST_DEVICES = 10_000
SITE = "site"
USUAL_DEVICES = 5
LOCAL = ("127.0.0.1", "localhost", "::1")
PROVISION = "tierwise broker provision {file}/site.yaml"
NEXT = {
    "device": ("tierwise-agent check --config {file}", "tierwise-agent run --config {file}"),
    "edge": ("tierwise-agent check --config {file}", "tierwise-agent run --config {file}"),
    "cloud": ("tierwise-agent check --config {file}", "tierwise-agent run --config {file}"),
    "orchestrator": ("tierwise orchestrator run --config {file}",),
    "broker": ("tierwise broker run --config {file}",),
    "site": (
        "tierwise broker run --config {file}/broker/broker.yaml",
        "tierwise orchestrator run --config {file}/nodes/orchestrator/orchestrator.yaml",
        "tierwise-agent run --config {file}/nodes/edge/node.yaml       (each node with the folder of its name)",
    ),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options say. `given` is by option; `settings` are KEY=VALUE."""

    output: Path | None
    given: Mapping[str, str]
    devices: int | None
    settings: tuple[str, ...]
    asks_nothing: bool
    force: bool

    @property
    def asks(self) -> bool:
        """On a terminal only."""
        return not self.asks_nothing and sys.stdin.isatty() and sys.stdout.isatty()


def make(kind: str, wanted: Wanted) -> None:
    """Write the file, or for a site the files, and name the next command. Raises BadParameter, TierwiseError."""
    if kind == SITE:
        _make_site(wanted)
        return
    if wanted.devices is not None:
        raise typer.BadParameter("is for the kind site", param_hint="--devices")
    target = wanted.output or Path(f"{kind}.yaml")
    _refuse_to_overwrite([target], wanted.force)
    file = NewFile(kind)
    _answer(file, QUESTIONS[kind], wanted)
    _done(kind, target, write({target: file}, wanted.force))


def _make_site(wanted: Wanted) -> None:
    if wanted.settings:
        raise typer.BadParameter("is for single files; edit those of a site", param_hint="--set")
    if wanted.output is not None:
        _refuse_to_overwrite(wanted.output.rglob("*.yaml"), wanted.force)
    draft, devices = NewFile("orchestrator"), wanted.devices
    _answer(draft, QUESTIONS_OF_SITE, wanted)
    if devices is None:
        devices = _asked_devices() if wanted.asks else USUAL_DEVICES
    target = wanted.output or Path(draft.proposed("site"))
    try:
        files = {target / name: file for name, file in site_files(draft.answers, devices).items()}
    except AnswerRefused as error:
        raise typer.BadParameter(str(error)) from error
    _refuse_to_overwrite(files, wanted.force)
    local = draft.proposed("broker.host") in LOCAL
    _done(SITE, target, write(files, wanted.force), accounts=not local)


def _asked_devices() -> int:
    while True:
        written = prompt("How many end devices", "5").strip()
        if written.isdecimal() and 1 <= int(written) <= MOST_DEVICES:
            return int(written)
        typer.echo(f"  must be a whole number from 1 to {MOST_DEVICES}")


def _answer(file: NewFile, questions: Sequence[Question], wanted: Wanted) -> None:
    by_flag = {question.flag: question for question in questions}
    for flag in wanted.given:
        if flag not in by_flag:
            raise typer.BadParameter(f"is not for the kind {file.kind}", param_hint=flag)
    pairs = [(flag, by_flag[flag].key, value) for flag, value in wanted.given.items()]
    for hint, key, value in [*pairs, *_pairs(wanted.settings)]:
        try:
            file.answer(key, value)
        except AnswerRefused as error:
            raise typer.BadParameter(str(error), param_hint=hint) from error
    if wanted.asks:
        ask(file, [question for question in questions if question.flag not in wanted.given])


def _pairs(settings: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{setting!r} is not KEY=VALUE", param_hint="--set")
        yield "--set", key.strip(), value.strip()


def _refuse_to_overwrite(paths: Iterable[Path], force: bool) -> None:
    """Before anything is asked: nobody should answer for nothing."""
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise FileExists(f"{', '.join(there)}: there already; name another --output, or use --force (a backup is kept)")


def _done(kind: str, target: Path, backups: Sequence[Path], accounts: bool = False) -> None:
    print(f"wrote {target}")
    for backup in backups:
        print(f"kept  {backup}")
    if kind == SITE:
        print(f"next: {PROVISION.format(file=target)}       (accounts and certificates, into the same folders;")
        print(f"      {'needed for other machines than the broker' if accounts else 'may be left out on one machine'})")
    for command in NEXT[kind]:
        print(f"next: {command.format(file=target)}")
