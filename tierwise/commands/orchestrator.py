"""`tierwise orchestrator run` and `tierwise orchestrator goal`."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from broker.client import Endpoint, Inbound, MqttClient
from broker.errors import NotConnected
from broker.events import log_to_stderr
from broker.messages import Goal, GoalSet
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import node_id
from configs.loader import load
from configs.orchestrator import OrchestratorConfig, Policy
from tierwise.floor_option import floor_percent

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Run the Intelligent Orchestrator, or change its goal."
)

ConfigFile = Annotated[Path, typer.Option("--config", help="The orchestrator's YAML file.")]


@app.command(epilog="Example: tierwise orchestrator run --config orchestrator.yaml")
def run(config: ConfigFile) -> None:
    """Decide, learn and log for one site until SIGTERM or Ctrl-C.

    Exit codes: 0 after a clean end; 1 when a file, or a checkpoint in files.directory, cannot be used; 2 wrong usage.
    """
    from orchestrator.live import serve

    settings = load(config, OrchestratorConfig)
    log_to_stderr(settings.log_level)
    raise typer.Exit(serve(settings))


@app.command(epilog="Example: tierwise orchestrator goal --config orchestrator.yaml --floor 85 --policy edge_only")
def goal(
    config: ConfigFile,
    floor: Annotated[str | None, typer.Option(help="Accuracy floor: min, max, or average Top-5 in %.")] = None,
    policy: Annotated[Policy | None, typer.Option(help="Who decides.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the goal of a running site, or change its accuracy floor, its policy, or both.

    Exit codes: 0 shown, or changed and confirmed; 1 no broker, no orchestrator, or refused; 2 wrong usage.
    """
    settings = load(config, OrchestratorConfig)
    wanted = None
    if floor is not None or policy is not None:
        wanted = GoalSet(accuracy_floor_percent=None if floor is None else floor_percent(floor), policy=policy)
    in_force = asyncio.run(_goal(settings, wanted, timeout_s))
    if as_json:
        print(json.dumps(msgspec.to_builtins(in_force)))
    else:
        print(
            f"accuracy floor {in_force.accuracy_floor_percent:g} %, policy {in_force.policy}, "
            f"version {in_force.policy_version}"
        )


async def _goal(settings: OrchestratorConfig, wanted: GoalSet | None, timeout_s: float) -> Goal:
    """The goal in force; after a change, the one that the orchestrator then published. Raises TierwiseError."""
    endpoint = Endpoint(settings.broker.host, settings.broker.port, settings.broker.keepalive_s)
    here = node_id(f"goal-{secrets.token_hex(4)}")
    client = MqttClient(endpoint, settings.site, here, "person", announces_state=False)
    heard: asyncio.Queue[Goal] = asyncio.Queue()

    def hear(inbound: Inbound) -> None:
        if isinstance(inbound.body, Goal):
            heard.put_nowait(inbound.body)

    client.subscribe(filter_for(settings.site, Channel.GOAL, settings.node), Channel.GOAL, hear)
    link = asyncio.create_task(client.run(), name="link")
    try:
        async with asyncio.timeout(timeout_s):
            await client.wait_connected()
            current = await heard.get()
            if wanted is not None:
                client.publish(Address(settings.site, settings.node, Channel.GOAL_SET), wanted)
                before, current = current, await heard.get()
                while current.policy_version <= before.policy_version:
                    current = await heard.get()
            return current
    except TimeoutError as error:
        raise NotConnected(_what_failed(client, settings)) from error
    finally:
        await client.stop()
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)


def _what_failed(client: MqttClient, settings: OrchestratorConfig) -> str:
    if not client.connected:
        return f"no broker at {settings.broker.host}:{settings.broker.port}; start it, or correct broker in --config"
    return (
        f"no answer from {settings.node} at site {settings.site}: it does not run (tierwise orchestrator run), or it "
        "refused the change and says why in its log"
    )
