"""Does to a site what a schedule says. Each fault heals what it broke before it returns."""

from __future__ import annotations

import asyncio
import signal

from broker.codec import encode
from broker.messages import Request
from broker.mosquitto_settings import MAX_IN_FLIGHT
from broker.topics import Address, Channel, topic_for
from broker.toxics import Bandwidth, Latency, ResetPeer, Slicer, Stream, Timeout, Toxic
from broker.vocabulary import NodeId, new_request_id
from testbed.faults.flood import Flood
from testbed.faults.schedule import Fault, Kind
from testbed.faults.site import MAX_QUEUED, SITE, FaultSite

TOXICS: dict[Kind, Toxic] = {
    Kind.TCP_RESET: ResetPeer(timeout=0),
    Kind.BLACK_HOLE: Timeout(timeout=0),
    Kind.LATENCY: Latency(latency=300, jitter=50),
    Kind.BANDWIDTH: Bandwidth(rate=8),  # 64 kbit/s
    Kind.SLICED: Slicer(average_size=32, size_variation=24, delay=2000),
}
FLOODED = 2 * (MAX_QUEUED + MAX_IN_FLIGHT)  # the broker keeps half of it
FLOODER = NodeId("flooder")  # sent no birth: what it says is refused and counted


async def inject(site: FaultSite, fault: Fault, flood: Flood) -> None:
    """Let `fault` happen, and return when it is over and healed. Raises BrokerUnavailable."""
    if (toxic := TOXICS.get(fault.kind)) is not None:
        await _befall(site, fault, toxic)
    elif fault.kind in (Kind.BROKER_KILL, Kind.BROKER_EMPTY_STORE):
        site.kill_broker()
        if fault.kind is Kind.BROKER_EMPTY_STORE:
            site.empty_store()
        await asyncio.sleep(fault.lasts_s)
        await site.start_broker()
    elif fault.kind is Kind.BROKER_FREEZE:
        site.freeze_broker(True)
        try:
            await asyncio.sleep(fault.lasts_s)
        finally:
            site.freeze_broker(False)
    elif fault.kind is Kind.SERVING_FREEZE:
        await _freeze(site, fault)
    elif fault.kind is Kind.FULL_QUEUE:
        await _fill_queue(site, fault, flood)
    else:
        program = site.programs[fault.target]
        program.kill()
        await asyncio.sleep(fault.lasts_s)
        program.start()


async def _befall(site: FaultSite, fault: Fault, toxic: Toxic) -> None:
    link, names = site.links[fault.target], {stream: f"{fault.number} {stream}" for stream in Stream}
    for stream, name in names.items():
        link.add(name, toxic, stream)
    try:
        await asyncio.sleep(fault.lasts_s)
    finally:
        for name in names.values():
            link.remove(name)


async def _freeze(site: FaultSite, fault: Fault) -> None:
    program = site.programs[fault.target]
    program.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(fault.lasts_s)
    finally:
        program.signal(signal.SIGCONT)


async def _fill_queue(site: FaultSite, fault: Fault, flood: Flood) -> None:
    """The orchestrator stands still while more is published to it than the broker keeps."""
    program = site.programs[fault.target]
    await flood.subscriber_is_there()
    program.signal(signal.SIGSTOP)
    try:
        topic = topic_for(Address(SITE, FLOODER, Channel.REQUEST))
        lasts = asyncio.create_task(asyncio.sleep(fault.lasts_s))
        await flood.flood(topic, lambda: encode(Request(request_id=new_request_id())), FLOODED)
        await lasts
    finally:
        program.signal(signal.SIGCONT)
