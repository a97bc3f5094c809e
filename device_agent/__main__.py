"""`tierwise-agent`: the node's own command. It prints no tables and imports nothing heavy until it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.errors import TierwiseError
from broker.hangup import outlive_hangup
from model_zoo.errors import on_node

EXAMPLES = """\
examples:
  tierwise-agent check --config device.yaml     is the file right, are models and photographs there?
  tierwise-agent run --config device.yaml       be that node until SIGTERM or Ctrl-C
  tierwise-agent models list                    what is in the cache
  tierwise-agent models fetch d0 d3             get official files (checked by sha256)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 with one line on standard error for what a user can mend; 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        exit_code: int = options.command(options)
    except TierwiseError as error:
        print(f"tierwise-agent: {on_node(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tierwise-agent",
        description="A node of a Tierwise site, on any tier: end device, edge or cloud.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    return parser


def _run(options: argparse.Namespace) -> int:
    outlive_hangup()
    from device_agent.run import run

    return run(options.config)


def _check(options: argparse.Namespace) -> int:
    from device_agent.check import check

    return check(options.config)


def _models_list(options: argparse.Namespace) -> int:
    from device_agent.models import list_models

    return list_models(options.names, options.directory)


def _models_fetch(options: argparse.Namespace) -> int:
    from device_agent.models import fetch_models

    return fetch_models(options.names, options.directory)


def _models_bench(options: argparse.Namespace) -> int:
    from device_agent.models import bench_models

    return bench_models(options.names, options.directory)


def _models_verify(options: argparse.Namespace) -> int:
    from device_agent.models import verify_models

    return verify_models(options.names, options.directory)


if __name__ == "__main__":
    sys.exit(main())
