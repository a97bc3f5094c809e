"""`tierwise broker run`: the Mosquitto of a site, in the foreground."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from broker.errors import BrokerUnavailable
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from configs.loader import load
from configs.mosquitto import MosquittoConfig

app = typer.Typer(help="Start the Mosquitto of a site.", no_args_is_help=True, add_completion=False)

LOOK_AT_LOG_S = 0.2


@app.callback()
def broker() -> None:
    """Start the Mosquitto of a site."""


@app.command(epilog="Example: tierwise broker run --port 1883 --directory run/broker")
def run(
    config: Annotated[Path | None, typer.Option(help="The broker's YAML file; its defaults without it.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 draws a free one.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Configuration, log and persistent store.")] = None,
) -> None:
    """Start Mosquitto with a configuration written for it, pass its log through, and end it on SIGTERM or Ctrl-C.

    It has no accounts and therefore listens on loopback only. Exit codes: 0 after SIGTERM or Ctrl-C; 1 when it cannot
    start or ends by itself; 2 wrong usage.
    """
    settings = load(config, MosquittoConfig) if config is not None else MosquittoConfig(version=1)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    process = MosquittoProcess(
        MosquittoSettings(
            directory=directory or settings.directory,
            host=settings.host,
            port=settings.port if port is None else port,
            max_packet_bytes=settings.max_packet_bytes,
            max_queued_messages=settings.max_queued_messages,
            max_queued_bytes=settings.max_queued_bytes,
            max_connections=settings.max_connections,
            log_level=settings.log_level,
        )
    )
    with process, process.log_path.open("rb") as log:
        log.seek(process.log_start)
        typer.echo(f"Mosquitto listens on {process.endpoint}, without accounts and therefore on loopback only.")
        typer.echo(f"Its configuration, log and store are in {process.settings.directory}. Ctrl-C ends it.")
        while not stopping.wait(LOOK_AT_LOG_S) and process.exit_code() is None:
            _pass_through(log)
        ended_by_itself = process.exit_code()
        process.stop()
        _pass_through(log)
    if ended_by_itself is not None:
        raise BrokerUnavailable(f"Mosquitto ended by itself with exit code {ended_by_itself}; its log is above")


def _pass_through(log: BinaryIO) -> None:
    sys.stderr.write(log.read().decode(errors="replace"))
    sys.stderr.flush()
