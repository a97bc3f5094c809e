"""The `tierwise` command in this process: as a user types it, without the second that another interpreter takes."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from unittest import mock

from tierwise.__main__ import main


def tierwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Its exit code and what it printed, as `subprocess.run` gives them. No terminal, no standard input."""
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["tierwise", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())
