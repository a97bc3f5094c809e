"""Puts the figures of a kept run into docs/reliability.md, between its two marks.

python -m testbed.faults.page results/reliability/faults.json docs/reliability.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from broker.vocabulary import Outcome
from testbed.faults.judge import QUIET
from testbed.faults.schedule import Kind

BEGIN, END = "<!-- figures of results/reliability/faults.json -->\n", "<!-- end of figures -->\n"


def rendered(told: dict[str, Any]) -> str:
    """The figures of one run, as Markdown."""
    verdict, influx, faults = told["verdict"], told["in_influxdb"], told["faults"]
    kinds = sum(faults[kind] > 0 for kind in Kind)
    machine = told["machine"]
    lines = [
        f"`{told['command']}`",
        "",
        f"{told['date']}, {machine['processor']}, Python {machine['python']}, {told['seconds'] / 60:.0f} min: "
        f"{faults['injected']:,} faults of {kinds} kinds, {verdict['issued']:,} requests issued by {told['devices']} "
        "devices.",
        "",
        "| | response log | InfluxDB |",
        "|---|---|---|",
    ]
    for key, name in (
        ("effected", "ids there"),
        ("lost_count", "lost"),
        ("doubled_count", "doubled"),
        ("acknowledged_without_row", "acknowledged, but not there"),
        ("of_nobody", "of nobody"),
        ("by_another", "by another"),
    ):
        lines.append(f"| {name} | {verdict[key]:,} | {'not tried' if influx is None else format(influx[key], ',')} |")
    if extra := _without_record(verdict):
        lines += ["", extra]
    exits = sum(map(len, told["unexpected_exits"].values()))
    lines += [
        "",
        f"Processes that ended by themselves: {exits}. Every device handed in all of its reports: "
        f"{'yes' if told['drained'] else 'no'}. The broker dropped {told['broker_messages']['dropped']:,} messages.",
        "",
        "How requests ended that were issued while a kind of fault was on, or within a second after it; one may be "
        "under several:",
        "",
        "| kind | faults | requests | done | fallen back | failed |",
        "|---|---|---|---|---|---|",
        *(_row(kind, faults.get(kind), verdict["outcomes"].get(kind, {})) for kind in [*Kind, QUIET]),
    ]
    return "\n".join(lines) + "\n"


def _without_record(verdict: dict[str, Any]) -> str | None:
    """Why there are more ids than requests that the devices have on record; None: there are not."""
    more = verdict["effected"] - (verdict["issued"] - verdict["lost_count"]) - verdict["of_nobody"]
    if more <= 0:
        return None
    drawn = verdict["only_drawn"]
    return (
        f"A request counts as issued when the device has noted so in its ledger, after its outbox has put the id on "
        f"disk. {drawn} ids were drawn and not noted: their devices were killed between the two. {more} of them were "
        f"in the outbox already, were reported in the device's next life, and are rows; so there are {more} ids more "
        "than requests issued."
    )


def _row(kind: str, faults: int | None, ended: dict[str, int]) -> str:
    requests = sum(ended.values())
    shares = [f"{100 * ended.get(outcome, 0) / max(1, requests):.1f} %" for outcome in Outcome]
    return f"| {kind} | {'' if faults is None else faults} | {requests:,} | {' | '.join(shares)} |"


def with_figures(page: str, figures: str) -> str:
    """`page` with `figures` between its marks. Raises ValueError when it has none."""
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    return page[:begin] + figures + page[end:]


def main() -> int:
    """Entry point."""
    result, page = Path(sys.argv[1]), Path(sys.argv[2])
    figures = rendered(json.loads(result.read_text(encoding="utf-8")))
    page.write_text(with_figures(page.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
