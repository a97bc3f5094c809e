"""A process that issues requests on an outbox's file until it is killed, and says what it was promised.

`begun ID` when a request is on record, `ended ID` when its report was handed over, `forgotten ID` when it was dropped.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from broker.messages import Report, Stages
from broker.vocabulary import ModelName, NodeId, Outcome, Tier, new_request_id
from device_agent.report_store import ReportStore


def report_of(request: str) -> Report:
    """What each request here ends in."""
    return Report(
        request_id=request,
        outcome=Outcome.DONE,
        decided=True,
        tier=Tier.END,
        model="d7",
        serving_node="s1",
        response_ms=1.0,
        stages=Stages(),
    )


async def _write(path: Path) -> None:
    store = ReportStore(path, NodeId("s1"))
    store.start()
    for number in range(1_000_000):
        request = new_request_id()
        await store.begun(request, ModelName("d0"))
        print(f"begun {request}", flush=True)
        store.ended(report_of(request))
        print(f"ended {request}", flush=True)
        if number % 3 == 0:
            print(f"forgotten {request}", flush=True)
            store.forget(request)


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1])))
