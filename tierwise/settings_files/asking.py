"""Questions on a terminal: a default for each, and another try after an answer that the schema refuses."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from tierwise.settings_files.templates import AnswerRefused, NewFile, Question


def ask(file: NewFile, questions: Sequence[Question]) -> None:
    """Put the answers into `file`. Raises KeyboardInterrupt on Ctrl-C or the end of the input."""
    for question in questions:
        while True:
            written = prompt(question.text, file.proposed(question.key))
            try:
                file.answer(question.key, written.strip())
            except AnswerRefused as error:
                typer.echo(f"  {error}")
            else:
                break


def prompt(text: str, proposed: str) -> str:
    """One answer, `proposed` for an empty one."""
    try:
        answer: str = typer.prompt(text, default=proposed)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    return answer
