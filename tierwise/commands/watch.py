"""`tierwise watch`: what passes at a site, decoded, as it passes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from broker.clock import SystemClock
from broker.events import count as count_of
from broker.topics import Channel
from tierwise.bus_filter import channel_meant, filters_for, filters_of
from tierwise.errors import WrongFilter
from tierwise.person import Bus, ConfigFile, Host, Port, Site, TlsDirectory, bus_of, node_option
from tierwise.time_options import span_s
from tierwise.watching import Limits, Seen, Watching

app = typer.Typer(add_completion=False)

NODE_WIDTH, CHANNEL_WIDTH = 14, 11
STYLES = {
    Channel.DECISION: "green",
    Channel.REPORT: "bright_green",
    Channel.RESULT: "green",
    Channel.INFER: "magenta",
    Channel.ROUND: "yellow",
    Channel.GOAL: "yellow",
    Channel.STATE: "bold",
    Channel.BIRTH: "bold",
    Channel.HEARTBEAT: "dim",
    Channel.TELEMETRY: "dim",
}


@app.command(epilog="Example: tierwise watch s1/decision --site lab --count 20")
def watch(
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="[FILTER]", help="s1, telemetry, s1/telemetry, or an MQTT filter below the site."),
    ] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only of this node; repeatable.")] = None,
    channel: Annotated[list[Channel] | None, typer.Option(help="Only this channel; repeatable.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many messages.")] = None,
    for_: Annotated[str | None, typer.Option("--for", help="End after 90s, 15m, 2h or 7d.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also QoS, expiry and size.")] = False,
    config: ConfigFile = None,
    site: Site = None,
    host: Host = None,
    port: Port = None,
    tls_directory: TlsDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Print each message of a site as it passes: time, node, channel, and what it says.

    What is retained comes first. A message that no node would act on is shown as refused, with the reason. A broker
    that goes away is waited for.

    Exit codes: 0 --count or --for was reached; 1 no broker; 2 wrong usage; 130 ended by Ctrl-C.
    """
    bus = bus_of(config, site, host, port, tls_directory)
    filters = _filters(bus, wanted, node or [], channel or [])
    limits = Limits(count, None if for_ is None else span_s(for_, "--for"))
    silent = f"nothing heard of site {bus.site} at {bus.endpoint} yet{channel_meant(wanted)}; still listening"
    watching = Watching(bus, filters, SystemClock(), _note)
    try:
        asyncio.run(_print(watching, limits, silent, as_json, verbose))
    finally:
        _summary(watching)


async def _print(watching: Watching, limits: Limits, silent: str, as_json: bool, verbose: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    async with aclosing(watching.messages(limits, silent)) as messages:
        async for message in messages:
            if as_json:
                print(json.dumps(message.as_json()), flush=True)
            else:
                console.print(line(message, verbose))


def line(message: Seen, verbose: bool) -> Text:
    """What stands on the terminal for one message."""
    time = datetime.fromtimestamp(message.wall_s).strftime("%H:%M:%S.%f")[:-3]
    node = "?" if message.address is None else str(message.address.node)
    style = "bold red" if message.refused is not None else STYLES.get(Channel(message.channel), "")
    text = Text.assemble(
        (time, "dim"),
        " ",
        (f"{node:<{NODE_WIDTH}}", "cyan"),
        " ",
        (f"{message.channel:<{CHANNEL_WIDTH}}", style),
        " ",
        (message.says(), "red" if message.refused is not None else ""),
    )
    if message.retained:
        text.append(" [retained]", "blue")
    if verbose:
        expiry = "no expiry" if message.expiry_s is None else f"expires in {message.expiry_s} s"
        text.append(f" [QoS {message.qos}, {expiry}, {message.size_bytes} bytes]", "dim")
    return text


def _filters(bus: Bus, wanted: str | None, nodes: list[str], channels: list[Channel]) -> list[str]:
    if wanted is None:
        return filters_for(bus.site, [node_option(node, "--node") for node in nodes], channels)
    if nodes or channels:
        raise typer.BadParameter("goes without --node and --channel", param_hint="FILTER")
    try:
        return filters_of(bus.site, wanted)
    except WrongFilter as error:
        raise typer.BadParameter(str(error), param_hint="FILTER") from error


def _note(text: str) -> None:
    print(f"tierwise: {text}", file=sys.stderr, flush=True)


def _summary(watching: Watching) -> None:
    if watching.counts:
        parts = [f"{channel} {heard}" for channel, heard in watching.counts.most_common()]
        _note(f"{count_of(sum(watching.counts.values()), 'message')}: {', '.join(parts)}")
    if watching.missed:
        _note(f"{watching.missed} more were not shown: this terminal is too slow for them; narrow the filter")
