"""Both commands at the edges of their terminal: Ctrl-C while they import, full output, completion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Sends SIGINT to its own process when the module that it names is looked for, then runs the command.
INTERRUPTED_AT = """
import os, runpy, signal, sys
module, program, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv[0] = {"tierwise": "tierwise", "device_agent": "tierwise-agent"}[program]
runpy.run_module(program, run_name="__main__")
"""


def run(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=100,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".", **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("broker.errors", ("tierwise", "status", "--site", "x")),
        ("typer", ("tierwise", "status", "--site", "x")),
        ("tierwise.commands.status", ("tierwise", "status", "--site", "x")),
        ("pydantic", ("tierwise", "orchestrator", "run", "--config", "x")),
        ("argparse", ("device_agent", "run", "--config", "x")),
        ("broker.errors", ("device_agent", "run", "--config", "x")),
        ("device_agent.run", ("device_agent", "run", "--config", "x")),
        ("device_agent.models", ("device_agent", "models", "list")),
    ],
)
def test_ctrl_c_during_the_imports_ends_quietly(module: str, arguments: tuple[str, ...]) -> None:
    """Exit code 130 and one line, whichever module is being imported."""
    done = run("-c", INTERRUPTED_AT, module, *arguments)

    assert (130, 1) == (done.returncode, done.stderr.count("\n")), done.stderr
    assert done.stderr.endswith("interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [("tierwise", "--version"), ("tierwise", "zoo", "list"), ("tierwise", "zoo", "list", "--json"),
     ("tierwise", "config", "--help"), ("device_agent", "models", "list"), ("device_agent", "--version")],
)  # fmt: skip
def test_output_that_cannot_be_written_is_an_error_in_one_line(arguments: tuple[str, ...]) -> None:
    """To a full disk: exit code 1 and what to do."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run("-m", *arguments, stdout=full)
    finally:
        os.close(full)

    assert done.returncode == 1
    assert "the output cannot be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("program", "line", "expected"),
    [
        ("tierwise", ["tierwise", "stat"], {"status"}),
        ("tierwise", ["tierwise", "zoo", "fe"], {"fetch"}),
        ("tierwise", ["tierwise", "zoo", "bench", "--thr"], {"--threads"}),
        ("tierwise", ["tierwise", "completion", ""], {"bash", "zsh", "--help"}),
        ("device_agent", ["tierwise-agent", "models", "v"], {"verify"}),
        ("device_agent", ["tierwise-agent", "run", "--c"], {"--config"}),
        ("device_agent", ["tierwise-agent", "completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes_subcommands_and_options(program: str, line: list[str], expected: set[str]) -> None:
    """The script in a real bash, with the words that it would be given."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    script = run("-m", program, "completion", "bash").stdout
    words = " ".join(f'"{word}"' for word in line)
    function = f"_{line[0].replace('-', '_')}"
    typed = f"COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; {function}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run([bash, "-c", f"{script}\n{typed}"], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert expected == set(done.stdout.split())


def test_the_version_of_the_agent_is_that_of_the_command() -> None:
    """They are one package."""
    assert (
        run("-m", "tierwise", "--version").stdout.split()[1:]
        == (run("-m", "device_agent", "--version").stdout.split()[1:])
    )
