"""Everything bad at once, and what came of it.

    python -m testbed.hostile --inputs 1000000 --messages 10000 --json results/reliability/bad-input.json

Exit codes: 0 nothing got through; 1 something did, or the site failed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import machine
from broker.codec import decode
from broker.errors import Refused, TierwiseError
from testbed.hostile.endured_images import endure_images
from testbed.hostile.messages import bad_messages
from testbed.hostile.mutants import HANG_S, run, targets
from testbed.hostile.through_broker import endure
from testbed.verdict import told

EXAMPLES = Path(__file__).parents[2] / "tests" / "wire" / "valid"
MEMORY_MB = 20.0


def named() -> dict[str, Any]:
    """Every named bad message: how many, and which our decoder judged otherwise than the schema."""
    total, wrong = 0, []
    for message in bad_messages(EXAMPLES):
        total += not message.valid
        try:
            decode(message.channel, message.payload)
            taken = True
        except Refused:
            taken = False
        if taken != message.valid:
            wrong.append(message.name)
    return {"bad": total, "judged_otherwise": wrong}


def generated(inputs: int, seed: int) -> dict[str, Any]:
    """Mutants for every decoder."""
    found = targets(EXAMPLES)
    run(found, 20_000, seed + 1)  # what is loaded and cached once
    before_mb = psutil.Process().memory_info().rss / 1e6
    tally = run(found, inputs, seed, _progress("generated", inputs))
    return {
        "inputs": tally.inputs,
        "decoders": len(found),
        "refused": tally.refused,
        "taken": tally.taken,
        "unhandled": dict(tally.unhandled),
        "findings": tally.findings,
        "hangs": tally.hangs,
        "slowest_s": tally.slowest_s,
        "memory_grew_mb": psutil.Process().memory_info().rss / 1e6 - before_mb,
    }


def faults_of(result: dict[str, Any]) -> list[str]:
    """What must not be, in words; empty when all is well."""
    faults = [f"{name} is judged otherwise" for name in result["named"]["judged_otherwise"]]
    if made := result.get("generated"):
        faults += [f"unhandled: {what} ({count})" for what, count in made["unhandled"].items()]
        faults += [f"{made['hangs']} inputs took more than {HANG_S:g} s"] if made["hangs"] else []
        faults += ["memory grew over generated input"] if made["memory_grew_mb"] > MEMORY_MB else []
    for image in result["images"]["images"]:
        if image["unhandled"] or image["seconds"] > HANG_S or image["memory_mb"] > MEMORY_MB + image["may_take_mb"]:
            faults.append(f"image {image['name']}: {image}")
    if site := result.get("site"):
        grew = {name: site["memory_after_mb"][name] - mb for name, mb in site["memory_before_mb"].items()}
        faults += [f"{name} grew by {mb:.0f} MB" for name, mb in grew.items() if mb > MEMORY_MB]
        faults += [f"{site['tracebacks']} tracebacks"] if site["tracebacks"] else []
        faults += [f"others waited {site['longest_pause_s']:.1f} s"] if site["longest_pause_s"] > HANG_S else []
        faults += [f"{site['failed_responses']} responses failed"] if site["failed_responses"] else []
    return faults


def _progress(what: str, total: int) -> Callable[[int], None]:
    started_s = time.monotonic()

    def tell(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done} of {total}, {time.monotonic() - started_s:.0f} s", end="", file=sys.stderr)

    return tell


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m testbed.hostile",
        description="Feeds bad messages, packets and images to every decoder, and to a running site.",
        epilog="Example: python -m testbed.hostile --inputs 100000 --messages 2000",
    )
    parser.add_argument("--inputs", type=int, default=1_000_000, help="generated inputs for the decoders")
    parser.add_argument("--messages", type=int, default=10_000, help="bad messages to a running site; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    command = f"python -m testbed.hostile --inputs {options.inputs} --messages {options.messages} --seed {options.seed}"
    result: dict[str, Any] = {"command": command, "machine": machine()}
    try:
        result |= {"named": named(), "images": endure_images(), "generated": generated(options.inputs, options.seed)}
        if options.messages:
            with tempfile.TemporaryDirectory() as folder:
                progress = _progress("through the broker", options.messages)
                result["site"] = endure(Path(folder), options.messages, EXAMPLES, progress).as_json()
    except KeyboardInterrupt:
        return 130
    except (TierwiseError, TimeoutError) as error:
        print(f"testbed.hostile: {error}", file=sys.stderr)
        return 1
    return told(result, faults_of(result), options.json)


if __name__ == "__main__":
    sys.exit(main())
