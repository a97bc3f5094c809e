"""`tierwise-agent run`: an agent in an event loop, and the signals that end it."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from broker.clock import SystemClock
from broker.events import event, log_to_stderr
from configs.node import NodeConfig
from configs.watching import Watch
from device_agent.agent import Agent
from device_agent.running import announced

log = logging.getLogger(__name__)

ALREADY_RUNNING = "an agent of this node runs on this machine: stop it, or they end each other's connection"


def run(file: Path) -> int:
    """Be the node that `file` describes until SIGTERM or SIGINT; take what is changed in it that needs no restart.

    Raises ConfigError, NoImage, CameraUnavailable.
    """
    watch = Watch(file, NodeConfig)
    log_to_stderr(watch.in_force.log_level)
    asyncio.run(_live(watch))
    return 0


async def _live(watch: Watch[NodeConfig]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    agent = Agent(watch.in_force, SystemClock())
    with announced(watch.in_force) as alone:
        if not alone:
            event(log, logging.WARNING, "already_running", node=watch.in_force.node, hint=ALREADY_RUNNING)
        async with watch.followed(agent.reconfigure):
            await agent.run(stop)
