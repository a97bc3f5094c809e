"""`python -m orchestrator.shipping --directory DIR --influxdb JSON`: the process that the orchestrator starts.

Ships until SIGTERM or SIGINT, and then, for a moment, what still waits. Exit codes: 0 after a clean end; 1 when the log
cannot be used or another shipper has it, with one line that says why; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from broker.errors import TierwiseError
from broker.events import log_to_stderr
from configs.influxdb import InfluxSection
from orchestrator.shipping.running import shipper

ENDING = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    """Entry point of the process."""
    # Blocked, so that they end a pause and never a write: what is under way is finished and settled.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    parser = argparse.ArgumentParser(prog="python -m orchestrator.shipping", description="Ships a response log.")
    parser.add_argument("--directory", type=Path, required=True, help="where the response log is")
    parser.add_argument("--influxdb", required=True, help="the section influxdb of orchestrator.yaml, as JSON")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args()
    try:
        section = InfluxSection.model_validate_json(options.influxdb)
    except ValidationError as error:
        parser.error(f"--influxdb: {error}")
    log_to_stderr(options.log_level)
    try:
        with shipper(options.directory, section) as (ships, _outbox):
            ships.run(_told_to_end_within)
    except TierwiseError as error:
        print(f"orchestrator.shipping: {error}", file=sys.stderr)
        return 1
    return 0


def _told_to_end_within(seconds: float) -> bool:
    return signal.sigtimedwait(ENDING, seconds) is not None


if __name__ == "__main__":
    sys.exit(main())
