"""`infer` from other devices: checked, handed to the Intelligent Service, answered on the requester's own `result`."""

from __future__ import annotations

import logging
import math
from functools import partial

from broker.client import Inbound, MqttClient
from broker.errors import InvalidName, MessageTooLarge, NotConnected, Refused
from broker.events import event
from broker.messages import LONGEST_MS, Result, cut
from broker.rate_limit import RateLimit
from broker.tickets import TicketKey
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import ModelName, NodeId, RequestId, model_name, request_id
from device_agent.service.fair_queue import JobFuture
from device_agent.service.job import Declined, Job, Refusal, Served
from device_agent.service.service import IntelligentService

log = logging.getLogger(__name__)

NO_MODEL = ModelName("none")  # in the answer to an `infer` that names no model


JOBS_PER_S, JOBS_BURST = 100.0, 200.0  # of one device without tickets; more are `busy`
MAX_USED_TICKETS = 20_000  # the newest; a serving node takes less than that in a minute


class Serving:
    """Answers every `infer` that names its request: a label, or the refusal and why.

    With the site's ticket key, jobs whose ticket proves a decision come before all others from the first such job on:
    before that the orchestrator may not have the key.
    """

    def __init__(self, client: MqttClient, service: IntelligentService, tickets: TicketKey | None = None) -> None:
        self._client = client
        self._service = service
        self._tickets = tickets
        self._used: dict[tuple[NodeId, RequestId], None] = {}
        self._proven_once = False
        self._limit = RateLimit(JOBS_PER_S, JOBS_BURST)
        self._in_hand: set[tuple[NodeId, RequestId]] = set()
        client.subscribe(filter_for(client.site, Channel.INFER, client.node), Channel.INFER, self.infer)

    def infer(self, inbound: Inbound) -> None:
        """Take one image. What does not say whom to answer, or comes twice, is refused and counted."""
        device = inbound.address.device
        if device is None:
            return
        try:
            request = _request_of(inbound)
            if (device, request) in self._in_hand:
                raise Refused("repeated", f"{request} of {device} is being served")
        except Refused as refusal:
            self._client.refuse(refusal, device=device)
            return
        self._in_hand.add((device, request))
        try:
            decided = self._is_decided(inbound, device, request)
            job = _job_of(inbound, decided or not self._proven_once)
        except Refused as refusal:
            self._client.refuse(refusal, device=device)
            refused = Refusal.UNKNOWN_MODEL if refusal.reason == "unknown_model" else Refusal.FAILED
            self._reply(device, request, NO_MODEL, Declined(refused, refusal.detail))
            return
        if not decided and not self._limit.takes(device, inbound.received_s):
            self._reply(device, request, job.model, Declined(Refusal.BUSY, f"more than {JOBS_PER_S:.0f} jobs a second"))
            return
        self._service.submit(job).add_done_callback(partial(self._ended, device, request, job.model))

    def _is_decided(self, inbound: Inbound, device: NodeId, request: RequestId) -> bool:
        """Whether its ticket proves that a decision named this job; each ticket counts once."""
        ticket, name = inbound.properties.get("ticket"), (device, request)
        if ticket is None or self._tickets is None or name in self._used:
            return False
        if not self._tickets.proves(ticket, self._client.node, device, request):
            return False
        self._used[name] = None
        if len(self._used) > MAX_USED_TICKETS:
            del self._used[next(iter(self._used))]
        self._proven_once = True
        return True

    def _ended(self, device: NodeId, request: RequestId, model: ModelName, future: JobFuture) -> None:
        if future.cancelled():
            self._in_hand.discard((device, request))
        else:
            self._reply(device, request, model, future.result())

    def _reply(self, device: NodeId, request: RequestId, model: ModelName, outcome: Served | Declined) -> None:
        self._in_hand.discard((device, request))
        try:
            address = Address(self._client.site, device, Channel.RESULT)
            self._client.publish(address, _result(request, model, outcome))
        except (NotConnected, MessageTooLarge) as error:
            event(log, logging.WARNING, "result_lost", device=device, request=request, reason=error)


def _request_of(inbound: Inbound) -> RequestId:
    try:
        return request_id((inbound.correlation or b"").decode("ascii"))
    except (InvalidName, UnicodeDecodeError) as error:
        raise Refused("malformed", "infer: the correlation data is not a request id") from error


def _job_of(inbound: Inbound, decided: bool) -> Job:
    try:
        model = model_name(inbound.properties.get("model", ""))
    except InvalidName as error:
        raise Refused("unknown_model", f"infer: {error}") from error
    try:
        deadline_ms = float(inbound.properties.get("deadline_ms", ""))
    except ValueError:
        deadline_ms = math.nan
    if not 0 <= deadline_ms <= LONGEST_MS:
        raise Refused("malformed", "infer: the user property deadline_ms is not a number of milliseconds up to a day")
    if not isinstance(inbound.body, bytes):
        raise Refused("malformed", "infer: no image")
    return Job(model, inbound.body, inbound.received_s + deadline_ms / 1000, inbound.address.device, decided)


def _result(request: RequestId, model: ModelName, outcome: Served | Declined) -> Result:
    if isinstance(outcome, Declined):
        return Result(request_id=request, model=model, refused=outcome.refusal, detail=cut(outcome.detail))
    return Result(
        request_id=request,
        model=model,
        queue_ms=outcome.queue_ms,
        compute_ms=outcome.compute_ms,
        label=cut(outcome.label),
        trained=outcome.trained,
        emulated=outcome.emulated,
    )
