"""`tierwise-agent run`: an agent in an event loop, and the signals that end it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from broker.clock import SystemClock
from broker.events import log_to_stderr
from configs.loader import load
from configs.node import NodeConfig
from device_agent.agent import Agent


def run(file: Path) -> int:
    """Be the node that `file` describes until SIGTERM or SIGINT. Raises ConfigError, NoImage, CameraUnavailable."""
    config = load(file, NodeConfig)
    log_to_stderr(config.log_level)
    asyncio.run(_live(config))
    return 0


async def _live(config: NodeConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Agent(config, SystemClock()).run(stop)
