"""`tierwise orchestrator run` and `tierwise orchestrator goal`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from broker.client import Inbound, MqttClient
from broker.errors import NotConnected
from broker.events import log_to_stderr
from broker.messages import Goal, GoalAck, GoalSet
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import new_request_id
from configs.orchestrator import OrchestratorConfig, Policy
from configs.watching import Watch
from model_zoo.local_manifest import site_manifest
from orchestrator.accuracy import accuracies_of
from tierwise.errors import GoalRefused
from tierwise.floor_option import floor_percent
from tierwise.person import OrchestratorAt, TlsDirectory, linked, name_for, orchestrator_at

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Run the Intelligent Orchestrator, or change its goal."
)

ConfigFile = Annotated[Path, typer.Option("--config", help="The orchestrator's YAML file.")]


@app.command(epilog="Example: tierwise orchestrator run --config orchestrator.yaml")
def run(config: ConfigFile) -> None:
    """Decide, learn and log for one site until SIGTERM or Ctrl-C.

    What is changed in the file takes effect within two seconds, on SIGHUP at once; the log says what needs a restart.

    Exit codes: 0 after a clean end; 1 when a file, or a checkpoint in files.directory, cannot be used; 2 wrong usage.
    """
    from orchestrator.live import serve

    watch = Watch(config, OrchestratorConfig)
    log_to_stderr(watch.in_force.log_level)
    raise typer.Exit(serve(watch))


@app.command(epilog="Example: tierwise orchestrator goal --config orchestrator.yaml --floor 85 --policy edge_only")
def goal(
    config: Annotated[Path, typer.Option("--config", help="The orchestrator's YAML file, or the site's.")],
    floor: Annotated[str | None, typer.Option(help="Accuracy floor: min, max, or average Top-5 in %.")] = None,
    policy: Annotated[Policy | None, typer.Option(help="Who decides.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")] = 5.0,
    tls_directory: TlsDirectory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the goal of a running site, or change its accuracy floor, its policy, or both.

    Exit codes: 0 shown, or changed and confirmed; 1 no broker, no orchestrator, or refused; 2 wrong usage.
    """
    where = orchestrator_at(config, tls_directory)
    wanted = None
    if floor is not None or policy is not None:
        accuracies = accuracies_of(site_manifest(where.manifest), where.task)
        best, worst = accuracies.best_tenths / 10, accuracies.worst_tenths / 10
        percent = None if floor is None else floor_percent(floor, best, worst)
        wanted = GoalSet(accuracy_floor_percent=percent, policy=policy, ask_id=new_request_id())
    in_force = asyncio.run(_goal(where, wanted, timeout_s))
    if as_json:
        print(json.dumps(msgspec.to_builtins(in_force)))
    else:
        print(
            f"accuracy floor {in_force.accuracy_floor_percent:g} %, policy {in_force.policy}, "
            f"version {in_force.policy_version}"
        )


async def _goal(where: OrchestratorAt, wanted: GoalSet | None, timeout_s: float) -> Goal:
    """The goal in force; after a change, the one that the orchestrator then published. Raises TierwiseError."""
    bus = where.bus
    client = MqttClient(bus.endpoint, bus.site, name_for("goal"), "person", announces_state=False)
    heard: asyncio.Queue[Goal] = asyncio.Queue()

    def hear(inbound: Inbound) -> None:
        if isinstance(inbound.body, Goal):
            heard.put_nowait(inbound.body)
        elif isinstance(inbound.body, GoalAck) and _answers(inbound.body, wanted) and not answer.done():
            answer.set_result(inbound.body)

    answer: asyncio.Future[GoalAck] = asyncio.get_running_loop().create_future()
    for channel in (Channel.GOAL, Channel.GOAL_ACK):
        client.subscribe(filter_for(bus.site, channel, where.node), channel, hear)
    async with linked(client):
        await client.wait_connected(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                current = await heard.get()
                if wanted is None:
                    return current
                client.publish(Address(bus.site, where.node, Channel.GOAL_SET), wanted)
                return await _changed(current, wanted, heard, answer)
        except TimeoutError as error:
            raise NotConnected(_what_failed(where)) from error


async def _changed(before: Goal, wanted: GoalSet, heard: asyncio.Queue[Goal], answer: asyncio.Future[GoalAck]) -> Goal:
    """The goal after the change. Raises GoalRefused.

    An orchestrator of an older version does not answer; there, a later goal that has what is wanted will do.
    """
    current = before
    while True:
        if answer.done():
            if not answer.result().accepted:
                raise GoalRefused(
                    f"the orchestrator refused the change: {answer.result().reason or 'it gave no reason'}"
                )
            if current.policy_version >= answer.result().policy_version:
                return current
        elif current.policy_version > before.policy_version and _has(current, wanted):
            return current
        following = asyncio.ensure_future(heard.get())
        awaited: set[asyncio.Future[Any]] = {following} if answer.done() else {following, answer}
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            current = following.result()
        else:
            following.cancel()


def _answers(ack: GoalAck, wanted: GoalSet | None) -> bool:
    return wanted is not None and ack.ask_id == wanted.ask_id


def _has(goal: Goal, wanted: GoalSet) -> bool:
    return wanted.accuracy_floor_percent in (None, goal.accuracy_floor_percent) and wanted.policy in (None, goal.policy)


def _what_failed(where: OrchestratorAt) -> str:
    return (
        f"no answer from {where.node} at site {where.bus.site}: it does not run (tierwise orchestrator run), or it "
        "is of an older version, which refuses a change without an answer and says why in its log"
    )
