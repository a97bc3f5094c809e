"""`tierwise config new KIND`: an annotated file, from a few questions or from options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

MOST_DEVICES = 10_000


class NewKind(StrEnum):
    """What can be written."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"
    ORCHESTRATOR = "orchestrator"
    BROKER = "broker"
    SITE = "site"


def new(
    kind: Annotated[NewKind, typer.Argument(help="site: a folder with the files of all of them.")],
    output: Annotated[Path | None, typer.Option(help="File to write, for site a folder; default: KIND.yaml.")] = None,
    site: Annotated[str | None, typer.Option(help="Site id.")] = None,
    node: Annotated[str | None, typer.Option(help="Node id.")] = None,
    broker_host: Annotated[str | None, typer.Option(help="Where the broker is; for broker: where it listens.")] = None,
    broker_port: Annotated[str | None, typer.Option(help="The broker's port.")] = None,
    floor: Annotated[str | None, typer.Option(help="Accuracy floor: min, max, or average Top-5 in %.")] = None,
    policy: Annotated[str | None, typer.Option(help="Who decides.")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, max=MOST_DEVICES, help="For site: how many end devices; default 5.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key; may be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there; a backup is kept.")] = False,
) -> None:
    """Write an annotated file; what no option answers is asked on a terminal, and left at its default elsewhere."""
    from tierwise.settings_files.making import Wanted, make  # `config check` does not wait for it

    flags = {
        "--site": site, "--node": node, "--broker-host": broker_host, "--broker-port": broker_port, "--floor": floor,
        "--policy": policy,
    }  # fmt: skip
    given = {flag: value for flag, value in flags.items() if value is not None}
    make(kind, Wanted(output, given, devices, tuple(settings or ()), yes, force))
