"""`tierwise clean`: removes what nodes that are gone have left on the broker, after showing it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.clock import SystemClock
from broker.topics import site_part
from broker.vocabulary import NodeId
from tierwise.cleaning import Cleaned, Cleaning
from tierwise.errors import NotCleaned
from tierwise.ghosts import SURELY_SILENT_S, Ghost, Judgement, judge, still_ghosts
from tierwise.message_words import printable
from tierwise.person import Bus, ConfigFile, Host, Port, Site, TlsDirectory, bus_of, node_option
from tierwise.time_options import span_s

app = typer.Typer(add_completion=False)

LEAST_LOOK_S = 3


@app.command(epilog="Example: tierwise clean --site lab --older 7d")
def clean(
    nodes: Annotated[list[str] | None, typer.Argument(metavar="[NODE]...", help="Only these; by default all.")] = None,
    older: Annotated[str | None, typer.Option(help="Only of sessions that began 90s, 15m, 2h or 7d ago.")] = None,
    look: Annotated[str, typer.Option("--for", help="How long to look for signs of life: at least 3s.")] = "3s",
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is shown, without asking.")] = False,
    config: ConfigFile = None,
    site: Site = None,
    host: Host = None,
    port: Port = None,
    tls_directory: TlsDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; removes nothing without --yes.")] = False,
) -> None:
    """Show what stays on the broker of nodes that are gone, or that nobody would act on; then ask, and remove it.

    Gone is a node whose state is stopped or offline, and of which nothing was heard. One that says online and is silent
    may be frozen: it is gone only after --for 100s. Before anything is removed all is looked at again, and what has
    changed stays. Where nobody can be asked nothing is removed without --yes.

    Exit codes: 0 removed, only shown, or nothing to do; 1 no broker, it went away or refused; 2 wrong usage;
    130 interrupted.
    """
    bus, look_s = bus_of(config, site, host, port, tls_directory), span_s(look, "--for")
    if look_s < LEAST_LOOK_S:
        raise typer.BadParameter(f"at least {LEAST_LOOK_S}s: hearts beat each second", param_hint="--for")
    only = [node_option(node, "NODE") for node in nodes or ()]
    oldest_s = None if older is None else span_s(older, "--older")
    clock = SystemClock()
    found = asyncio.run(_look(bus, look_s, only))
    shown = [ghost for ghost in found.ghosts if _is_old(ghost, oldest_s, clock.wall())]
    if not as_json:
        _show(shown, found.unclear, bus, clock.wall())
    cleaned = None
    if shown and (yes or (not as_json and _asked(len(shown)))):
        cleaned = asyncio.run(_remove(bus, shown, look_s, only))
    if as_json:
        print(json.dumps(_as_json(bus, shown, found.unclear, cleaned, clock.wall()), indent=1))
    elif cleaned is not None:
        print(f"{len(cleaned.removed)} removed" + (", left as they are:" if cleaned.came_back else ""))
        for ghost in cleaned.came_back:
            print(f"  {printable(ghost.topic)}: changed or came back meanwhile")
    if cleaned is not None and cleaned.denied:
        topics = ", ".join(printable(ghost.topic) for ghost in cleaned.denied)
        raise NotCleaned(f"the broker does not let you remove {topics}; the account of the folder admin/ may")


async def _look(bus: Bus, seconds: float, only: Collection[NodeId]) -> Judgement:
    clock = SystemClock()
    async with Cleaning(bus, clock) as cleaning:
        with Console(stderr=True).status(f"looking at site {bus.site} for {seconds:g} s"):
            await cleaning.look(seconds)
        return judge(cleaning.survey, seconds, clock.wall(), only)


async def _remove(bus: Bus, shown: Collection[Ghost], looked_s: float, only: Collection[NodeId]) -> Cleaned:
    """Look again, for a node may have come back while its ghosts were shown; then remove."""
    clock = SystemClock()
    async with Cleaning(bus, clock) as cleaning:
        with Console(stderr=True).status(f"looking again for {LEAST_LOOK_S} s"):
            await cleaning.look(LEAST_LOOK_S)
        again = judge(cleaning.survey, looked_s + LEAST_LOOK_S, clock.wall(), only)
        same, changed = still_ghosts(shown, again)
        cleaned = await cleaning.remove(same)
        return Cleaned(cleaned.removed, (*changed, *cleaned.came_back), cleaned.denied)


def _is_old(ghost: Ghost, oldest_s: float | None, now_s: float) -> bool:
    return oldest_s is None or (ghost.began_s is not None and now_s - ghost.began_s >= oldest_s)


def _asked(count: int) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("nothing was removed: there is no terminal to ask at; --yes removes what is shown")
        return False
    if typer.confirm(f"Remove {'this' if count == 1 else f'these {count}'}?"):
        return True
    print("nothing was removed")
    return False


def _show(ghosts: Collection[Ghost], unclear: Collection[NodeId], bus: Bus, now_s: float) -> None:
    console = Console(highlight=False)
    if ghosts:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for column in (f"below {site_part(bus.site)}", "bytes", "session began", "why it may go"):
            table.add_column(column, overflow="fold")
        for ghost in ghosts:
            age = "" if ghost.began_s is None else _age(now_s - ghost.began_s)
            topic = ghost.topic.removeprefix(site_part(bus.site))
            table.add_row(Text(printable(topic)), str(len(ghost.payload)), age, Text(printable(ghost.reason)))
        console.print(table)
    else:
        console.print(f"nothing to remove at site {bus.site}")
    if unclear:
        names = " ".join(unclear)
        console.print(f"silent, but perhaps only frozen: {names} (--for {SURELY_SILENT_S:.0f}s tells)", soft_wrap=True)


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def _as_json(
    bus: Bus, shown: Collection[Ghost], unclear: Collection[NodeId], cleaned: Cleaned | None, now_s: float
) -> dict[str, Any]:
    ghosts = [
        {
            "topic": ghost.topic,
            "node": ghost.node,
            "channel": None if ghost.channel is None else str(ghost.channel),
            "reason": ghost.reason,
            "age_s": None if ghost.began_s is None else max(0.0, now_s - ghost.began_s),
            "bytes": len(ghost.payload),
        }
        for ghost in shown
    ]
    removed = [] if cleaned is None else [ghost.topic for ghost in cleaned.removed]
    came_back = [] if cleaned is None else [ghost.topic for ghost in cleaned.came_back]
    denied = [] if cleaned is None else [ghost.topic for ghost in cleaned.denied]
    return {
        "site": bus.site,
        "ghosts": ghosts,
        "unclear": list(unclear),
        "removed": removed,
        "came_back": came_back,
        "denied": denied,
    }
