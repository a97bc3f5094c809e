"""Every command keeps the rules: help with an example, --json where it prints data, documented exit codes."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main
from typer.testing import CliRunner

from device_agent.__main__ import _parser
from device_agent.__main__ import main as agent
from tierwise.__main__ import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
# A command without --json must stand here, with the reason; all others print data that a program may want.
PRINTS_NO_DATA = {
    "broker run": "runs until it is ended; its output is the broker's log",
    "orchestrator run": "runs until it is ended; its output is its log",
    "influx ship": "runs until it is ended; `influx status --json` has the figures",
    "zoo remove": "does one thing; its exit code says whether it did, and `zoo list --json` what is left",
    "completion": "prints a shell script and nothing else",
    "config new": "writes a YAML file",
    "config schema": "prints JSON and nothing else",
    "config migrate": "rewrites YAML files; its exit code says whether all could be",
}
LONGEST_HELP = 130
# Words of a command: its purpose, example and exit codes.
ROWS = {
    words: (purpose, example, codes)
    for words, purpose, example, codes in re.findall(
        r"^\| `tierwise ([a-z -]+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE
    )
}


def commands() -> dict[str, click.Command]:
    """Every command that can be run, by its words: `orchestrator goal`."""
    found: dict[str, click.Command] = {}

    def walk(words: str, command: click.Command) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[words] = command
            return
        for name, part in inner.items():
            walk(f"{words} {name}", part)

    for name in COMMANDS:
        app = importlib.import_module(f"tierwise.commands.{name}").app
        walk(name, typer.main.get_command(app))
    return found


ALL = commands()


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """`tierwise-agent` and its parts, by their words."""

    def walk(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        yield words, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, part in action.choices.items():
                    yield from walk(f"{words} {name}".strip(), part)

    yield from walk("", _parser())


AGENT = dict(parsers())


def run(words: str, *arguments: str):
    """The command as it is run from a terminal, in this process."""
    name, *rest = words.split()
    app = importlib.import_module(f"tierwise.commands.{name}").app
    return CliRunner().invoke(app, [*rest, *arguments], prog_name=f"tierwise {name}")


def examples(command: click.Command) -> list[str]:
    """The command lines in an epilog."""
    return re.findall(r"tierwise[^\n]*", command.epilog or "")


@pytest.mark.parametrize("words", ALL)
def test_every_command_has_help_with_an_example(words):
    """`--help` ends with 0, and shows how the command is called."""
    done = run(words, "--help")

    assert 0 == done.exit_code
    assert "Example:" in done.output
    assert ALL[words].help


@pytest.mark.parametrize("words", [*ALL, *COMMANDS])
def test_no_help_is_wider_than_80_columns(words, monkeypatch):
    """On a terminal of 80 columns; groups of commands too."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")

    assert [] == [line for line in run(words, "--help").output.splitlines() if len(line) > 80]


@pytest.mark.parametrize("words", AGENT)
def test_no_help_of_the_agent_is_wider_than_80_columns(words, monkeypatch):
    """On a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    assert [] == [line for line in AGENT[words].format_help().splitlines() if len(line) > 80]


@pytest.mark.parametrize("group", [name for name in COMMANDS if any(words.startswith(f"{name} ") for words in ALL)])
def test_the_list_of_commands_names_what_is_in_a_group(group):
    """At least two of its subcommands can be guessed from its line in `tierwise --help`."""
    inner = [words.split()[1] for words in ALL if words.startswith(f"{group} ")]
    stems = [name.partition("-")[0][:5] for name in inner]

    assert sum(stem in COMMANDS[group].lower() for stem in stems) >= 2, COMMANDS[group]


@pytest.mark.parametrize("words", ALL)
def test_every_option_and_argument_has_a_short_help(words):
    """One phrase for each, short enough for a terminal's help."""
    wrong = {
        parameter.name: getattr(parameter, "help", None)
        for parameter in ALL[words].params
        if parameter.name != "help" and not 0 < len(getattr(parameter, "help", None) or "") <= LONGEST_HELP
    }

    assert {} == wrong


@pytest.mark.parametrize("words", ALL)
def test_an_unknown_option_is_wrong_usage(words):
    """Exit code 2, the option named, and no traceback."""
    done = run(words, "--no-such-option")

    assert 2 == done.exit_code
    assert "--no-such-option" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("words", ALL)
def test_every_command_that_prints_data_has_json(words):
    """Or says why it prints none."""
    flags = [option for parameter in ALL[words].params for option in parameter.opts]

    assert ("--json" in flags) != (words in PRINTS_NO_DATA)


@pytest.mark.parametrize("words", ALL)
def test_the_example_of_a_command_can_be_run_as_it_stands(words):
    """Its options exist and take what they are given; nothing is run."""
    for example in examples(ALL[words]):
        arguments = shlex.split(re.split(r" [>|] ", example)[0])
        assert ["tierwise", *words.split()] == arguments[: 1 + len(words.split())]
        with ALL[words].make_context(words, arguments[1 + len(words.split()) :]):
            pass


@pytest.mark.parametrize("words", ALL)
def test_the_page_has_every_command_with_its_purpose_example_and_exit_codes(words):
    """What the help says of purpose and exit codes the page says in the same words; it has them all in any case."""
    purpose, example, codes = ROWS[words]
    told = " ".join((ALL[words].help or "").split())
    told_codes = re.search(r"Exit codes: (.*?)\.(?= [A-Z]|$)", told)

    assert told.startswith(purpose)
    assert [f"`{line}`" for line in examples(ALL[words])] == [example]
    assert re.match(r"0 .*; 1 .*; 2 wrong usage", codes)
    assert told_codes is None or told_codes[1] == codes


def test_the_page_has_no_command_that_is_gone():
    """Each row is of a command that can be run."""
    assert set(ALL) == set(ROWS)


def test_the_page_names_every_environment_variable_of_an_option():
    """Those that an option reads."""
    variables = {parameter.envvar for command in ALL.values() for parameter in command.params if parameter.envvar}

    assert variables
    assert all(f"| `{variable}` |" in PAGE for variable in variables)


def test_nothing_is_excused_that_does_not_exist():
    """The list of commands without --json is not longer than it must be."""
    assert set(PRINTS_NO_DATA) <= set(ALL)


@pytest.mark.parametrize("words", AGENT)
def test_every_part_of_the_agent_has_help_with_an_example(words, capsys):
    """Exit code 0, and how it is called; so too of its parts."""
    with pytest.raises(SystemExit) as ended:
        agent([*words.split(), "--help"])
    said = capsys.readouterr().out

    assert 0 == ended.value.code
    assert f"tierwise-agent {words}".strip() in said.partition("xample")[2]


@pytest.mark.parametrize("words", AGENT)
def test_every_option_of_the_agent_has_a_help(words):
    """As of the other command."""
    wrong = [action.dest for action in AGENT[words]._actions if not action.help and action.option_strings]
    wrong += [action.dest for action in AGENT[words]._actions if not action.help and not action.choices]

    assert [] == wrong


@pytest.mark.parametrize("words", AGENT)
def test_an_unknown_option_of_the_agent_is_wrong_usage(words, capsys):
    """Exit code 2, and no traceback."""
    with pytest.raises(SystemExit) as ended:
        agent([*words.split(), "--no-such-option"])

    assert 2 == ended.value.code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [words for words in AGENT if words])
def test_the_page_has_every_part_of_the_agent(words):
    """A group needs no row of its own."""
    is_group = any(isinstance(action, argparse._SubParsersAction) for action in AGENT[words]._actions)

    assert is_group or f"`tierwise-agent {words}`" in PAGE
