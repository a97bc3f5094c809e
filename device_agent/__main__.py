"""`tierwise-agent`: the node's own command. It prints no tables and imports nothing heavy until it runs."""

from __future__ import annotations

PROGRAM = "tierwise-agent"

from broker.terminal import (  # before all other imports: Ctrl-C may come while they run
    INTERRUPTED,
    allow_interrupt,
    discard_output,
    end_on_interrupt,
    flush_output,
    output_problem,
    replace_unprintable,
)

end_on_interrupt(PROGRAM)

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.completion import SHELLS, completion_script
from broker.errors import TierwiseError
from broker.hangup import outlive_hangup
from model_zoo.errors import on_node

EXAMPLES = """\
examples:
  tierwise-agent check --config device.yaml   is all there that the file names?
  tierwise-agent run --config device.yaml     be that node until Ctrl-C
  tierwise-agent models list                  what is in the cache
  tierwise-agent models fetch d0 d3           get official files (by sha256)
  tierwise-agent --version                    which version this is
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 with one line on standard error for what a user can mend; 2 for wrong usage."""
    replace_unprintable()
    try:
        try:
            options = _parser().parse_args(arguments)
            exit_code: int = options.command(options)
        finally:
            flush_output()
    except TierwiseError as error:
        print(f"{PROGRAM}: {on_node(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        problem = output_problem(error)
        if problem is None:
            raise
        discard_output()
        if problem:
            print(f"{PROGRAM}: {problem}", file=sys.stderr)
        return 1
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise-agent",
        description="A node of a Tierwise site, on any tier: end device, edge or cloud.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command, what in (
        ("run", _run, "run the node that a file describes, until SIGTERM or Ctrl-C"),
        ("check", _check, "check a file, the models, the photographs and the broker, and change nothing"),
    ):
        part = commands.add_parser(
            name, help=what, description=what, epilog=f"example: tierwise-agent {name} --config device.yaml"
        )
        part.add_argument("--config", type=Path, required=True, metavar="FILE", help="the node's YAML")
        part.set_defaults(command=command)
    models = commands.add_parser(
        "models",
        help="list, fetch and verify the networks",
        description="The model cache.",
        epilog="example: tierwise-agent models fetch d0 d3",
    )
    actions = models.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, command, what in (
        ("list", _models_list, "what is installed, and what is not"),
        ("fetch", _models_fetch, "get official files; those that are there are left alone"),
        ("verify", _models_verify, "compare files with the index (sha256)"),
        ("bench", _models_bench, "time what is installed on this node: median, p95, p99"),
    ):
        part = actions.add_parser(
            name, help=what, description=what, epilog=f"example: tierwise-agent models {name} d0 d3"
        )
        part.add_argument("names", nargs="*", metavar="MODEL", help="default: all")
        part.add_argument("--directory", type=Path, metavar="DIR", help="default: the cache, ~/.cache/tierwise/models")
        part.set_defaults(command=command)
    completion = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that lets a shell complete subcommands and options of this version.",
        epilog="example: tierwise-agent completion bash > ~/.local/share/bash-completion/completions/tierwise-agent",
    )
    completion.add_argument("shell", choices=SHELLS, help="bash or zsh")
    completion.set_defaults(command=_completion)
    return parser


class _Version(argparse.Action):
    """Print the version and end; importlib.metadata takes 20 ms to import, which other commands need not wait for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from device_agent.presence import agent_version

        print(f"{PROGRAM} {agent_version()}")
        parser.exit()


def _completion(options: argparse.Namespace) -> int:
    print(completion_script(PROGRAM, _words(), options.shell), end="")
    return 0


def _words() -> dict[str, list[str]]:
    """What may follow each part of the command."""
    found: dict[str, list[str]] = {}

    def walk(path: str, parser: argparse.ArgumentParser) -> None:
        found[path] = [option for action in parser._actions for option in action.option_strings if option[:2] == "--"]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, part in action.choices.items():
                    found[path].append(name)
                    walk(f"{path} {name}".strip(), part)
            elif action.choices is not None:
                found[path] += [str(choice) for choice in action.choices]

    walk("", _parser())
    return found


def _run(options: argparse.Namespace) -> int:
    outlive_hangup()
    from device_agent.run import run

    return run(options.config)


def _check(options: argparse.Namespace) -> int:
    from device_agent.check import check

    allow_interrupt()
    return check(options.config)


def _models_list(options: argparse.Namespace) -> int:
    from device_agent.models import list_models

    allow_interrupt()
    return list_models(options.names, options.directory)


def _models_fetch(options: argparse.Namespace) -> int:
    from device_agent.models import fetch_models

    allow_interrupt()
    return fetch_models(options.names, options.directory)


def _models_bench(options: argparse.Namespace) -> int:
    from device_agent.models import bench_models

    allow_interrupt()
    return bench_models(options.names, options.directory)


def _models_verify(options: argparse.Namespace) -> int:
    from device_agent.models import verify_models

    allow_interrupt()
    return verify_models(options.names, options.directory)


if __name__ == "__main__":
    sys.exit(main())
