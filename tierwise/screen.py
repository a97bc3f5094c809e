"""How the demo looks: a live table on a terminal, a line per round elsewhere, and the comparison at the end."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from broker.vocabulary import Link, ModelName, NodeId, Outcome, Tier
from configs.orchestrator import Policy
from tierwise.demo import FIXED, DemoResult, PolicyFigures, final_decision
from tierwise.observer import ObservedRound
from tierwise.observer import Outcome as DeviceOutcome

WHERE = {Tier.END: "device", Tier.EDGE: "edge", Tier.CLOUD: "cloud"}


class Screen:
    """The demo's View on a rich console. A context manager."""

    def __init__(
        self,
        console: Console,
        floor: float,
        links: Mapping[NodeId, Link],
        devices: list[NodeId],
        top5_tenths: Mapping[ModelName, int],
    ) -> None:
        self._console = console
        self._floor = floor
        self._links = links
        self._devices = devices
        self._top5_tenths = top5_tenths
        self._policy = ""
        self._goal_rounds = 0
        self._done = 0
        self._shown: ObservedRound | None = None
        self._last: ObservedRound | None = None
        self._live = Live(console=console, refresh_per_second=8, transient=True) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, policy: Policy, rounds: int) -> None:
        """A policy starts."""
        self._policy, self._goal_rounds, self._done = str(policy), rounds, 0
        if self._live is None:
            self._console.print(f"policy {policy}, {rounds} rounds, floor {self._floor:.1f} %")

    def change(self, round_: ObservedRound) -> None:
        """A decision or a report came in."""
        self._shown = round_
        if self._live is not None:
            self._live.update(self.picture())

    def complete(self, round_: ObservedRound, done: int) -> None:
        """A round is over."""
        self._last, self._done = round_, done
        if self._live is not None:
            self._live.update(self.picture())
        else:
            self._console.print(round_line(round_, done, self._goal_rounds), highlight=False, soft_wrap=True)

    def picture(self) -> RenderableType:
        """The table of the round in flight, the last complete round, and how far this policy is."""
        progress = Table.grid(padding=(0, 1))
        progress.add_row(
            f"[bold]{self._policy}[/]",
            ProgressBar(total=max(1, self._goal_rounds), completed=self._done, width=40),
            f"{self._done}/{self._goal_rounds} rounds",
        )
        last = Text(outcome_line(self._last, self._done, self._goal_rounds) if self._last else "waiting for a round")
        return Group(self._round_table(), last, progress)

    def _round_table(self) -> Table:
        round_ = self._shown
        number = round_.number if round_ else "-"
        table = Table(title=f"Round {number}, floor {self._floor:.1f} %", caption=EMULATED, min_width=78)
        for name in ("device", "link", "decision"):
            table.add_column(name)
        table.add_column("Top-5 %", justify="right")
        table.add_column("response ms", justify="right")
        table.add_column("compute ms", justify="right")
        table.add_column("label")
        for node in self._devices:
            outcome = round_.outcomes.get(node) if round_ else None
            table.add_row(node, str(self._links.get(node, Link.REGULAR)), *self._cells(outcome))
        return table

    def _cells(self, outcome: DeviceOutcome | None) -> list[str]:
        if outcome is None:
            return ["", "", "", "", ""]
        decision, report = outcome.decision, outcome.report
        action = f"{decision.model} on {WHERE[decision.tier]}"
        top5 = f"{self._top5_tenths[ModelName(decision.model)] / 10:.1f}"
        if report is None:
            return [action, top5, "...", "", ""]
        if report.outcome is not Outcome.DONE:
            action += f" -> {report.outcome.replace('_', ' ')} {report.model}"
        return [action, top5, f"{report.response_ms:.0f}", f"{report.stages.compute_ms:.0f}", report.label or ""]


EMULATED = "times are emulated, networks and messages are real"


def round_line(round_: ObservedRound, done: int, of: int) -> str:
    """One complete round in one line, with every decision."""
    actions = " ".join(
        f"{node}:{outcome.decision.model}@{WHERE[outcome.decision.tier]}"
        for node, outcome in sorted(round_.outcomes.items())
    )
    return f"{outcome_line(round_, done, of)}  {actions}"


def outcome_line(round_: ObservedRound, done: int, of: int) -> str:
    """What came of one round."""
    summary = round_.summary
    if summary is None:
        return f"round {round_.number}"
    met = "met" if summary.floor_met else "broken"
    how = "explored" if summary.explored else "greedy"
    return (
        f"{done:>3}/{of} round {round_.number}: {summary.mean_response_ms:6.0f} ms, accuracy "
        f"{summary.accuracy_percent:.1f} %, floor {met}, {how}"
    )


def comparison(result: DemoResult, floor: float) -> RenderableType:
    """The final table: the learned policy against the fixed strategies of the same run."""
    table = Table(title=f"Response times, floor {floor:.1f} %", caption=EMULATED)
    table.add_column("policy", no_wrap=True)
    for name in ("rounds", "mean ms", "p95 ms", "Top-5 %", "floor met", "fell back"):
        table.add_column(name, justify="right", no_wrap=True)
    for policy, figures in result.policies.items():
        table.add_row(str(policy), *_figure_cells(figures))
    return Group(table, Text(remark(result)))


def _figure_cells(figures: PolicyFigures) -> list[str]:
    return [
        str(figures.rounds),
        f"{figures.mean_ms:.0f}",
        f"{figures.p95_ms:.0f}",
        f"{figures.accuracy:.1f}",
        f"{figures.floor_met}/{figures.rounds}",
        str(figures.fallen_back),
    ]


def remark(result: DemoResult) -> str:
    """What a reader must know to read the learned policy's row rightly."""
    learned = next(iter(result.policies))
    if not result.rounds:
        return ""
    if learned is Policy.FACTORED:
        return _settled(result)
    if learned is not Policy.Q_LEARNING:
        return ""
    explored = sum(bool(round_.summary and round_.summary.explored) for round_ in result.rounds)
    devices = max(len(round_.outcomes) for round_ in result.rounds)
    return (
        f"{len(result.rounds)} rounds of Q-learning over 10^{devices} joint actions are still exploration "
        f"({explored} of them drew their action at random): its row shows what learning costs, not what it "
        "will have learned. The paper needs about a million rounds for five devices (Table 11)."
    )


def _settled(result: DemoResult) -> str:
    """What the factored agent came to, and how soon."""
    final = final_decision(result.rounds)
    doing = ", ".join(f"{count} x {action}" for action, count in sorted(final.actions.items()))
    told = (
        f"The decision on which factored settled came first in its round {final.first}: {doing}; "
        f"{final.mean_ms:.0f} ms in {final.rounds} of {len(result.rounds)} rounds. In the others it learned, explored "
        "or probed."
    )
    fixed = {policy: figures.mean_ms for policy, figures in result.policies.items() if policy in FIXED}
    if not fixed:
        return told
    best = min(fixed, key=fixed.__getitem__)
    less = 100 * (1 - final.mean_ms / fixed[best])
    return f"{told} That is {abs(less):.0f} % {'below' if less >= 0 else 'above'} {best}, the best fixed strategy."
