"""The serving sides of offload.py, each a process of its own: takes image bytes, answers at once with a Result.

    python benchmarks/offload_servers.py ours|paho|http|grpc PORT [QOS [CERTIFICATES]]

None decodes the image. Ours does what an edge node does around an inference: address, properties and request id are
checked, and a Result is encoded. The others answer with the same bytes, made once.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint, Inbound, MqttClient
from broker.codec import CARRIAGE, encode
from broker.messages import Result
from broker.tls import Tls
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import ModelName, NodeId, SiteId, new_request_id, request_id

SITE, EDGE, DEVICE = SiteId("bench"), NodeId("edge-1"), NodeId("device-1")
UP, DOWN = "bench/edge-1/infer/device-1", "bench/device-1/result"
GRPC_SERVICE, GRPC_METHOD = "tierwise.Offload", "Infer"
GRPC_LIMIT = [("grpc.max_receive_message_length", 1_000_000)]
READY = b"ready\n"


def result(request: str) -> Result:
    """What an edge node answers: 176 bytes of JSON."""
    return Result(
        request_id=request, model=ModelName("d0"), queue_ms=0.1, compute_ms=10.25, label="espresso", trained=True
    )


def set_qos(qos: int) -> None:
    """Images and results of this process go with this quality of service; Tierwise itself uses 1 for both."""
    for channel in (Channel.INFER, Channel.RESULT):
        CARRIAGE[channel] = replace(CARRIAGE[channel], qos=qos)


def edge_of(qos: int) -> NodeId:
    """Who serves with this quality of service."""
    return NodeId(f"{EDGE}-{qos}")


def bare_client(endpoint: Endpoint) -> mqtt.Client:
    """Connected paho with TCP_NODELAY and no loop yet."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_socket_open = lambda _c, _u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(endpoint.host, endpoint.port)
    return client


async def serve_ours(endpoint: Endpoint, qos: int) -> None:
    set_qos(qos)
    client = MqttClient(endpoint, SITE, edge_of(qos), "agent", announces_state=False)

    def answer(inbound: Inbound) -> None:
        if inbound.address.device is not None and inbound.correlation is not None:
            request = request_id(inbound.correlation.decode("ascii"))
            client.publish(Address(SITE, inbound.address.device, Channel.RESULT), result(request))

    client.subscribe(filter_for(SITE, Channel.INFER, client.node), Channel.INFER, answer)
    link = asyncio.create_task(client.run())
    await client.wait_connected(10.0)
    say_ready()
    await link


def serve_paho(endpoint: Endpoint, qos: int) -> None:
    client = bare_client(endpoint)
    payload = encode(result(new_request_id()))
    client.on_message = lambda *_: client.publish(f"{DOWN}/{qos}", payload, qos=qos)
    client.on_subscribe = lambda *_: say_ready()
    client.subscribe(f"{UP}/{qos}", qos=qos)
    client.loop_forever()


def serve_http(endpoint: Endpoint) -> None:
    import uvicorn

    payload = encode(result(new_request_id()))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]

    async def app(
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200 if body else 400, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            say_ready()

    settings = uvicorn.Config(app, endpoint.host, endpoint.port, log_level="error", access_log=False, lifespan="off")
    Server(settings).run()


def serve_grpc(endpoint: Endpoint) -> None:
    import grpc

    payload = encode(result(new_request_id()))

    def infer(image: bytes, context: grpc.ServicerContext) -> bytes:
        if not image:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no image")
        return payload

    server = grpc.server(ThreadPoolExecutor(2), options=GRPC_LIMIT)
    methods = {GRPC_METHOD: grpc.unary_unary_rpc_method_handler(infer)}  # without serialisers: bytes in, bytes out
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(GRPC_SERVICE, methods),))
    if not server.add_insecure_port(f"{endpoint.host}:{endpoint.port}"):
        raise SystemExit("gRPC got no port")
    server.start()
    say_ready()
    server.wait_for_termination()


def say_ready() -> None:
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()


def main() -> None:
    kind, port, *rest = sys.argv[1:]
    tls = Tls.in_directory(Path(rest[1])) if len(rest) > 1 else None
    endpoint, qos = Endpoint(port=int(port), tls=tls), int(rest[0]) if rest else 1
    if kind == "ours":
        asyncio.run(serve_ours(endpoint, qos))
    elif kind == "paho":
        serve_paho(endpoint, qos)
    elif kind == "http":
        serve_http(endpoint)
    else:
        serve_grpc(endpoint)


if __name__ == "__main__":
    main()
