"""`tierwise reproduce`: the paper's tables and figures, published and ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.orchestrator import Policy
from orchestrator.errors import NothingLogged
from tierwise.job_screen import JobScreen

if TYPE_CHECKING:
    from tierwise.reproduce.artifact import Artifact

app = typer.Typer(add_completion=False)


class What(StrEnum):
    """What can be reproduced."""

    TABLE8 = "table8"
    TABLE9 = "table9"
    TABLE10 = "table10"
    TABLE11 = "table11"
    TABLE12 = "table12"
    FIGURE1 = "figure1"
    FIGURE5 = "figure5"
    FIGURE6 = "figure6"
    FIGURE7 = "figure7"
    FIGURE8 = "figure8"
    STEPTIMES = "steptimes"
    HEADLINE = "headline"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class _Options:
    seeds: int
    users: tuple[int, ...]
    policies: tuple[Policy, ...]
    runs: Path
    kept: bool
    rounds: int
    seconds: float


@app.command(epilog="Example: tierwise reproduce table9 --json")
def reproduce(
    what: Annotated[What, typer.Argument(help="A table or figure of the paper, the headline, or all.")],
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Of table11, figure6, figure7; long runs take fewer, see the page.")
    ] = 20,
    users: Annotated[
        list[int] | None, typer.Option(min=3, max=5, help="Table 11: only for so many; repeatable.")
    ] = None,
    agent: Annotated[list[Policy] | None, typer.Option(help="Table 11: only this agent; repeatable.")] = None,
    runs: Annotated[Path, typer.Option(help="Table 11's runs are kept here, one a line.")] = Path(
        "results/paper/table11-runs.jsonl"
    ),
    kept: Annotated[bool, typer.Option("--kept", help="Table 11: only runs that are kept; train nothing.")] = False,
    rounds: Annotated[int, typer.Option(min=3, max=10_000, help="Measured ones: rounds of each phase.")] = 30,
    seconds: Annotated[float, typer.Option(min=5, max=3600, help="figure8: how long each pair is measured.")] = 60.0,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for tables, JSON, pictures: results/paper; run/paper if --users or --agent."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print published figures beside ours, and write them as Markdown, JSON and PNG.

    Tables 8 to 10, figures 1 and 5 and the headline come from the simulator and the exact solver, in seconds. Table 11
    and figures 6 and 7 train agents: with 20 seeds that takes hours on two cores; what was run is kept, and an
    interrupted one goes on. Table 12, figure 8 and steptimes are measured on this machine, with a broker, nodes and
    networks as in `tierwise demo`.

    Exit codes: 0 written; 1 something is missing or failed; 2 wrong usage; 130 interrupted.
    """
    chosen = [kind for kind in What if kind is not What.ALL] if what is What.ALL else [what]
    options = _Options(seeds, tuple(users or ALL), tuple(agent or LEARNERS), runs, kept, rounds, seconds)
    _check(options)
    made = []
    for kind in chosen:
        artifact = replace(MAKERS[kind](options), command=_command(kind, options))
        if not artifact.rows:
            raise NothingLogged(f"there is nothing to show in {kind} for these options")
        files = artifact.write(output or (Path("run/paper") if users or agent else Path("results/paper")))
        made.append(artifact)
        if not as_json:
            _show(artifact, files)
    if as_json:
        print(json.dumps(made[0].as_json() if what is not What.ALL else [a.as_json() for a in made], indent=1))


LEARNERS = (Policy.Q_LEARNING, Policy.OFFLOAD_ONLY, Policy.DQN)
ALL = (3, 4, 5)


def _check(options: _Options) -> None:
    if wrong := [policy for policy in options.policies if policy not in LEARNERS]:
        raise typer.BadParameter(
            f"{', '.join(wrong)} does not learn; one of {', '.join(LEARNERS)}", param_hint="--agent"
        )


def _command(kind: What, options: _Options) -> str:
    """What was asked for, with what decides the figures."""
    told = f"tierwise reproduce {kind}"
    if kind in (What.TABLE11, What.FIGURE6, What.FIGURE7):
        told += f" --seeds {options.seeds}" + "".join(
            f" --users {users}" for users in options.users if options.users != ALL
        )
        told += "".join(f" --agent {agent}" for agent in options.policies if options.policies != LEARNERS)
        return told + (" --kept" if options.kept else "")
    if kind in (What.TABLE12, What.STEPTIMES):
        return f"{told} --rounds {options.rounds}"
    return f"{told} --seconds {options.seconds:g}" if kind is What.FIGURE8 else told


def _show(artifact: Artifact, files: Sequence[Path]) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    if console.is_terminal:
        console.print(Markdown(artifact.markdown().split("\n![")[0]))
    else:
        print(artifact.markdown().split("\n![")[0])
    print(f"written: {' '.join(map(str, files))}\n")


# -- one maker per table or figure; each imports what it needs --------------------------------------------------


def _decisions(name: str) -> Callable[[_Options], Artifact]:
    def make(_options: _Options) -> Artifact:
        from tierwise.reproduce import decisions

        artifact: Artifact = getattr(decisions, f"reproduce_{name}")()
        return artifact

    return make


def _figure(name: str) -> Callable[[_Options], Artifact]:
    def make(_options: _Options) -> Artifact:
        from tierwise.reproduce import figures

        artifact: Artifact = getattr(figures, f"reproduce_{name}")()
        return artifact

    return make


def _trained(name: str) -> Callable[[_Options], Artifact]:
    def make(options: _Options) -> Artifact:
        from tierwise.reproduce import table11, training_figures
        from tierwise.reproduce.convergence_runs import Run, kept_of, planned, results_of

        def screen(missing: Sequence[Run]) -> JobScreen:
            print(f"{len(missing)} runs to train; interrupted, it goes on with the next call", file=sys.stderr)
            return JobScreen(["/".join(map(str, (*run.group, run.seed))) for run in missing], "Table 11")

        runs = planned(options.users, options.seeds, options.policies)
        results = kept_of(runs, options.runs) if options.kept else results_of(runs, options.runs, screen)
        maker = getattr(table11 if name == "table11" else training_figures, f"reproduce_{name}")
        artifact: Artifact = maker(results)
        return artifact

    return make


def _table12(options: _Options) -> Artifact:
    from tierwise.reproduce.measured import reproduce_table12

    with JobScreen(["messages"], "measuring") as screen:
        artifact = reproduce_table12(options.rounds, lambda fraction, text: screen.progress(0, fraction, text))
        screen.done(0)
    return artifact


def _figure8(options: _Options) -> Artifact:
    from tierwise.reproduce.measured import reproduce_figure8

    with JobScreen(["monitoring"], "measuring") as screen:
        artifact = reproduce_figure8(options.seconds, lambda fraction, text: screen.progress(0, fraction, text))
        screen.done(0)
    return artifact


def _steptimes(options: _Options) -> Artifact:
    from tierwise.reproduce.measured import reproduce_steptimes

    with JobScreen(["step times"], "measuring") as screen:
        artifact = reproduce_steptimes(options.rounds, lambda fraction, text: screen.progress(0, fraction, text))
        screen.done(0)
    return artifact


MAKERS: dict[What, Callable[[_Options], Artifact]] = {
    What.TABLE8: _decisions("table8"),
    What.TABLE9: _decisions("table9"),
    What.TABLE10: _decisions("table10"),
    What.HEADLINE: _decisions("headline"),
    What.FIGURE1: _figure("figure1"),
    What.FIGURE5: _figure("figure5"),
    What.TABLE11: _trained("table11"),
    What.FIGURE6: _trained("figure6"),
    What.FIGURE7: _trained("figure7"),
    What.TABLE12: _table12,
    What.FIGURE8: _figure8,
    What.STEPTIMES: _steptimes,
}
