"""`tierwise ping`: how far away a node is, by stage."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from broker.clock import SystemClock
from broker.vocabulary import NodeId
from tierwise.errors import NoPong
from tierwise.person import Bus, ConfigFile, Host, Port, Site, TlsDirectory, bus_of, node_option
from tierwise.pinging import STAGES, OnePing, Pace, Pinger, Trip

app = typer.Typer(add_completion=False)

NAMES = {
    "broker_ms": "to the broker and back",
    "between_ms": "between broker and node",
    "node_ms": "within the node",
    "whole_ms": "whole round trip",
}


@app.command(epilog="Example: tierwise ping edge-1 --site lab --count 20")
def ping(
    node: Annotated[str, typer.Argument(help="The node, on any tier; the orchestrator answers too.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many pings.")] = 10,
    interval_s: Annotated[float, typer.Option("--interval", min=0.025, help="Seconds from one to the next.")] = 0.2,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the last.")] = 2.0,
    config: ConfigFile = None,
    site: Site = None,
    host: Host = None,
    port: Port = None,
    tls_directory: TlsDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a node whether it is there, and tell where the time goes: to the broker, to the node, within it.

    The stages of each ping add up to its round trip; the medians of stages need not. A ping has QoS 1, like all
    messages that a response time is made of.

    Exit codes: 0 the node answered; 1 it did not answer at all, or no broker; 2 wrong usage; 130 interrupted.
    """
    bus, asked = bus_of(config, site, host, port, tls_directory), node_option(node, "NODE")
    pinger = Pinger(bus, asked, SystemClock(), (lambda *_: None) if as_json else _print_pong)
    try:
        asyncio.run(pinger.run(Pace(count, interval_s, timeout_s)))
    finally:
        if pinger.trip.pings:
            _print(pinger.trip, bus, asked, as_json)
    if not pinger.trip.answered:
        raise NoPong(f"no answer from {asked}: {pinger.trip.why_silent(asked, bus.site)}")


def _print_pong(number: int, ping: OnePing) -> None:
    if ping.whole_ms is not None and ping.broker_ms is not None:
        told = f"broker {ping.broker_ms:.2f} ms, node {ping.handling_ms:.2f} ms"
        print(f"{number + 1:>4}  {ping.whole_ms:8.2f} ms  ({told})", flush=True)


def _print(trip: Trip, bus: Bus, node: NodeId, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(trip, bus, node), indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table("", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in ("min", "median", "p95", "max ms"):
        table.add_column(column, justify="right")
    for name, spread in trip.stages().items():
        if spread is not None:
            figures = [f"{value:.2f}" for value in (spread.min, spread.median, spread.p95, spread.max)]
            table.add_row(NAMES[name], *figures)
    sent, received = len(trip.pings), len(trip.answered)
    connect = "" if trip.connect_ms is None else f", connected in {trip.connect_ms:.1f} ms"
    lost = f"{sent - received} lost ({(sent - received) / sent:.0%})"
    console.print(Text(f"{node}: {sent} sent, {received} received, {lost}{connect}"))
    if len({ping.session for ping in trip.answered}) > 1:
        console.print(Text(f"{node} connected anew in between"))
    if trip.answered:
        console.print(table)


def _as_json(trip: Trip, bus: Bus, node: NodeId) -> dict[str, Any]:
    return {
        "site": bus.site,
        "node": node,
        "sent": len(trip.pings),
        "received": len(trip.answered),
        "lost": len(trip.pings) - len(trip.answered),
        "connect_ms": trip.connect_ms,
        "stages": {name: None if spread is None else asdict(spread) for name, spread in trip.stages().items()},
        "pings": [{**{name: of(ping) for name, of in STAGES.items()}, "session": ping.session} for ping in trip.pings],
        "state": None if trip.state is None else str(trip.state.state),
        "why_silent": None if trip.answered else trip.why_silent(node, bus.site),
    }
