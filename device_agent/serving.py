"""`infer` from other devices: checked, handed to the Intelligent Service, answered on the requester's own `result`."""

from __future__ import annotations

import logging
import math
from functools import partial

from broker.client import Inbound, MqttClient
from broker.errors import InvalidName, MessageTooLarge, NotConnected, Refused
from broker.events import event
from broker.messages import LONGEST_MS, Result, cut
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import ModelName, NodeId, RequestId, model_name, request_id
from device_agent.service.job import Declined, Job, Refusal, Served
from device_agent.service.service import IntelligentService, JobFuture

log = logging.getLogger(__name__)

NO_MODEL = ModelName("none")  # in the answer to an `infer` that names no model


class Serving:
    """Answers every `infer` that names its request: a label, or the refusal and why."""

    def __init__(self, client: MqttClient, service: IntelligentService) -> None:
        self._client = client
        self._service = service
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
            job = _job_of(inbound)
        except Refused as refusal:
            self._client.refuse(refusal, device=device)
            refused = Refusal.UNKNOWN_MODEL if refusal.reason == "unknown_model" else Refusal.FAILED
            self._reply(device, request, NO_MODEL, Declined(refused, refusal.detail))
            return
        self._service.submit(job).add_done_callback(partial(self._ended, device, request, job.model))

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


def _job_of(inbound: Inbound) -> Job:
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
    return Job(model, inbound.body, inbound.received_s + deadline_ms / 1000, foreign=True)


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
