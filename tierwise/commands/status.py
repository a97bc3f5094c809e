"""`tierwise status`: one table of a site."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from broker.clock import SystemClock
from broker.errors import NotConnected
from tierwise.person import Bus, ConfigFile, Host, Port, Site, TlsDirectory, bus_of, linked
from tierwise.site_status import StatusClient, as_json, screen, status_once

app = typer.Typer(add_completion=False)

REFRESH_S = 1.0


@app.command(epilog="Example: tierwise status --site lab --watch")
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Go on, once a second, until Ctrl-C.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for what is missing.")] = 4.0,
    config: ConfigFile = None,
    site: Site = None,
    host: Host = None,
    port: Port = None,
    tls_directory: TlsDirectory = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch one object a line.")] = False,
) -> None:
    """Show the nodes of a site: tier, state, version, link, CPU, current action and last response time.

    Above the table: accuracy floor, policy and how far learning is; below it: alarms. It disturbs nobody.

    Exit codes: 0 shown; 1 no broker, no orchestrator, or one without summary; 2 wrong usage; 130 ended by Ctrl-C.
    """
    bus = bus_of(config, site, host, port, tls_directory)
    if watch:
        asyncio.run(_follow(bus, timeout_s, as_json_))
        return
    clock = SystemClock()
    view, problem = asyncio.run(status_once(bus, clock, timeout_s))
    if as_json_:
        print(json.dumps(as_json(view, clock.monotonic()), indent=1))
    else:
        _console().print(screen(view, clock.monotonic()))
    if problem is not None:
        raise NotConnected(problem)


async def _follow(bus: Bus, timeout_s: float, json_lines: bool) -> None:
    clock = SystemClock()
    status_client = StatusClient(bus, clock)
    console = _console()
    async with linked(status_client.client):
        if not await status_client.wait_complete(timeout_s) and (problem := status_client.problem()) is not None:
            print(f"tierwise: {problem}; still looking", file=sys.stderr, flush=True)
        if json_lines or not console.is_terminal:
            while True:
                if json_lines:
                    print(json.dumps(as_json(status_client.view, clock.monotonic())), flush=True)
                else:
                    console.print(screen(status_client.view, clock.monotonic()), "")
                await asyncio.sleep(REFRESH_S)
        with Live(screen(status_client.view, clock.monotonic()), console=console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(screen(status_client.view, clock.monotonic()), refresh=True)


def _console() -> Console:
    return Console(highlight=False)
