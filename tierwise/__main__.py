"""The `tierwise` command. Its subcommands load lazily: `tierwise --help` imports none of them.

Exit codes: 0 done; 1 failed, with one line that says why; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

PROGRAM = "tierwise"

from broker.terminal import (  # before all other imports: Ctrl-C may come while they run
    allow_interrupt,
    discard_output,
    end_on_interrupt,
    flush_output,
    output_problem,
    replace_unprintable,
)

end_on_interrupt(PROGRAM)

import importlib
import sys

from broker.errors import TierwiseError
from broker.hangup import outlive_hangup

COMMANDS = {
    "demo": "Run a whole site on this machine and watch it decide and learn.",
    "broker": "Run the Mosquitto of a site; provision, renew, revoke and list its accounts.",
    "orchestrator": "Run the Intelligent Orchestrator, or change its goal.",
    "report": "Response times, accuracy and shares from the response log.",
    "influx": "Shipping to InfluxDB: check, status, dead letters, ready queries, ship by hand.",
    "explain": "Why each device was told what it does.",
    "whatif": "The best response time at every floor, from what was learned.",
    "calibrate": "Fit the simulator to a response log.",
    "train": "Let an agent learn on a simulated site.",
    "compare": "Compare policies on a simulated site.",
    "reproduce": "The paper's tables and figures beside ours.",
    "status": "The nodes of a site, what they do and how they are, in one table.",
    "watch": "What passes at a site, decoded, as it passes.",
    "ping": "How far away a node is, by stage.",
    "clean": "Remove what nodes that are gone have left on the broker.",
    "zoo": "Get the eight networks, add others, verify, time and evaluate them.",
    "config": "Write new YAML files; check, show and migrate them, or print their schema.",
    "completion": "Print a completion script for bash or zsh.",
    "doctor": "What is wrong with the files of a site, and how to mend it.",
}
EPILOG = "Example: tierwise demo --experiment exp-b --rounds 40"


def main() -> None:
    """Entry point of the `tierwise` command."""
    if sys.argv[1:3] == ["orchestrator", "run"]:
        outlive_hangup()  # before anything that takes time to import
    replace_unprintable()
    try:
        try:
            _run(sys.argv[1:])
        finally:
            flush_output()
    except TierwiseError as error:
        print(f"tierwise: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("tierwise: interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        problem = output_problem(error)
        if problem is None:
            raise
        discard_output()
        if problem:
            print(f"tierwise: {problem}", file=sys.stderr)
        sys.exit(1)


def _run(arguments: list[str]) -> None:
    try:
        import typer
    except ImportError as error:
        raise TierwiseError(
            f"the tierwise command needs {error.name}: pip install '.[orchestrator]' in Tierwise's checkout "
            "(nodes use tierwise-agent)"
        ) from error
    chosen = arguments[0] if arguments else ""
    if chosen in COMMANDS:
        app: typer.Typer = importlib.import_module(f"tierwise.commands.{chosen}").app
        app.pretty_exceptions_enable = False
        allow_interrupt()
        typer.main.get_command(app)(args=arguments[1:], prog_name=f"tierwise {chosen}")
        return
    app = typer.Typer(
        help="Decides which model variant runs on which tier, for every inference request of every end device.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            from importlib.metadata import version  # takes 20 ms to import, which a revocation does not have

            print(f"tierwise {version('tierwise')}")
            raise typer.Exit

    @app.callback()
    def about(
        show_version: bool = typer.Option(False, "--version", help="Print the version.", callback=print_version),
    ) -> None:
        del show_version  # its callback has done all

    for name, summary in COMMANDS.items():
        app.command(name, help=summary)(lambda: None)
    allow_interrupt()
    app(args=arguments, prog_name="tierwise")


if __name__ == "__main__":
    main()
