"""`tierwise completion`: a completion script for a shell."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import Annotated, Any

import typer

from broker.completion import completion_script

app = typer.Typer(add_completion=False)


class Shell(StrEnum):
    """What `broker.completion` writes scripts for."""

    BASH = "bash"
    ZSH = "zsh"


@app.command(epilog="Example: tierwise completion bash > ~/.local/share/bash-completion/completions/tierwise")
def completion(
    shell: Annotated[Shell, typer.Argument(help="bash or zsh.")],
) -> None:
    """Print a script that lets a shell complete subcommands and options of this version.

    Exit codes: 0 printed; 1 a subcommand cannot be loaded; 2 wrong usage.
    """
    print(completion_script("tierwise", words(), shell), end="")


def words() -> dict[str, list[str]]:
    """What may follow each part of the command."""
    from tierwise.__main__ import COMMANDS

    found: dict[str, list[str]] = {"": [*COMMANDS, "--version", "--help"]}

    def walk(path: str, command: Any) -> None:  # click's Command, which newer versions of typer bring themselves
        inner: dict[str, Any] = getattr(command, "commands", {})
        options = [option for part in command.params for option in part.opts if option.startswith("--")]
        found[path] = [*inner, *options, "--help"]
        for name, part in inner.items():
            walk(f"{path} {name}", part)

    for name in COMMANDS:
        walk(name, typer.main.get_command(importlib.import_module(f"tierwise.commands.{name}").app))
    found["completion"] += list(Shell)
    return found
