"""`tierwise explain`: why each device was told what it does."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from broker.client import Inbound, MqttClient
from broker.errors import NotConnected
from broker.messages import Explain, ExplainAsk
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, RequestId, request_id
from orchestrator.answering import EXPIRED, decision_from
from orchestrator.errors import NotExplained, NothingLogged
from orchestrator.explained import LoggedDecision, Wanted, decisions
from orchestrator.response_log import LOG_NAME, has_explanations, open_for_reading
from tierwise.person import OrchestratorAt, TlsDirectory, linked, name_for, node_option, orchestrator_at
from tierwise.plain_words import came_of_it, sentence

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: tierwise explain --directory run/orchestrator --device s2")
def explain(
    directory: Annotated[Path, typer.Option(help="The orchestrator's files.directory.")] = Path("run/orchestrator"),
    round_: Annotated[int | None, typer.Option("--round", help="Of this round; by default the last one.")] = None,
    device: Annotated[str | None, typer.Option(help="Of this device; its last decision, unless --round says.")] = None,
    request: Annotated[str | None, typer.Option(help="Of this request.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the running orchestrator instead of its files.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="With --live: the orchestrator's YAML file, or the site's.")
    ] = None,
    tls_directory: TlsDirectory = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="With --live: seconds to wait.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What each device was told, what was expected of it and of the next best, what held it back, and what came of it.

    Expectations are the agent's own at the time of the decision. Reading does not disturb a running orchestrator.
    Exit codes: 0 printed; 1 no log, no such decision, no answer, or a policy that does not say why; 2 wrong usage.
    """
    if live:
        if config is None or device is None or round_ is not None:
            raise typer.BadParameter("goes with --config and --device, and not with --round", param_hint="--live")
        asked = None if request is None else request_id(request)
        where = orchestrator_at(config, tls_directory)
        found = [asyncio.run(_ask(where, node_option(device, "--device"), asked, timeout_s))]
    elif config is not None:
        raise typer.BadParameter("goes with --live", param_hint="--config")
    else:
        found = _read(directory / LOG_NAME, Wanted(round_, device, request))
    if all(decision.why is None for decision in found):
        policies = " and ".join(sorted({decision.policy for decision in found}))
        raise NotExplained(f"{policies} does not say why it decided as it did")
    if as_json:
        print(json.dumps({"decisions": [asdict(decision) for decision in found]}, indent=1))
    else:
        _print(found, measured=not live)


def _read(log: Path, wanted: Wanted) -> list[LoggedDecision]:
    with closing(open_for_reading(log)) as connection:
        found = decisions(connection, wanted)
        if not has_explanations(connection):
            raise NotExplained(f"{log} was written by an older Tierwise, which did not keep why it decided")
        return found


async def _ask(where: OrchestratorAt, device: NodeId, request: RequestId | None, wait_s: float) -> LoggedDecision:
    """The running orchestrator's answer. Raises TierwiseError."""
    bus = where.bus
    client = MqttClient(bus.endpoint, bus.site, name_for("explain"), "person", announces_state=False)
    heard: asyncio.Queue[Explain] = asyncio.Queue()

    def hear(inbound: Inbound) -> None:
        # Somebody else may ask about this device at the same time.
        if isinstance(inbound.body, Explain) and request in (None, inbound.body.request_id):
            heard.put_nowait(inbound.body)

    client.subscribe(filter_for(bus.site, Channel.EXPLAIN, device), Channel.EXPLAIN, hear)
    async with linked(client):
        await client.wait_connected(wait_s)
        try:
            async with asyncio.timeout(wait_s):
                client.publish(Address(bus.site, device, Channel.EXPLAIN_ASK), ExplainAsk(request_id=request))
                told = await heard.get()
        except TimeoutError as error:
            raise NotConnected(
                f"no answer from {where.node} at site {bus.site}; start it, or correct --config"
            ) from error
    if told.refused == EXPIRED:
        raise NothingLogged(f"expired: {told.request_id} of {device} has been deleted (files.retention_days)")
    if (decision := decision_from(device, told)) is None:
        raise NothingLogged(f"{device} was never told anything" + ("" if request is None else f" for {request}"))
    return decision


def _print(found: list[LoggedDecision], measured: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    first = found[0]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("why")
    if measured:
        table.add_column("measured")
    for decision in found:
        came = [Text(came_of_it(decision.action, decision.measured))] if measured else []
        table.add_row(Text(f"{sentence(decision)}."), *came)
    floor = f" at a floor of {first.floor_tenths / 10:.1f} %" if measured else ""
    explored = ", to learn something" if first.explored else ""
    Console().print(Text(f"Round {first.round}, decided by {first.policy}{floor}{explored}"), table)
