"""Whether the broker would let a node in and serve it: connects as the node would, subscribes, publishes, and leaves.

On a broker with accounts a second connection with the node's certificate ends the first. So nothing but the TLS
handshake is tried while an agent of this node runs on this machine, or where the certificate is another node's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Any, TypeVar

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.access import ACCESS, ROLE_OF_TIER, Whose
from broker.codec import encode
from broker.endpoint import Endpoint
from broker.errors import NotConnected, TierwiseError, TlsUnusable
from broker.messages import Pong
from broker.paho_link import LinkEvents, PahoLink
from broker.publish_packet import FAILED
from broker.tls import names_in_certificate, why_no_link
from broker.topics import Address, Channel, filter_for, topic_for
from broker.vocabulary import new_request_id
from configs.node import NodeConfig
from device_agent.running import is_running

HANDSHAKE_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
NOT_ALLOWED = (
    "site and node must be those of its certificate, and in the site's file: tierwise broker provision, on the machine "
    "of the site's folder"
)


class ConnectionFault(TierwiseError):
    """Why this node would not work with its broker."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """What was found. `summary` is one line; no `faults` where the broker does not answer now: agents wait for it."""

    summary: str
    faults: tuple[TierwiseError, ...] = ()


def check_connection(config: NodeConfig) -> ConnectionCheck:
    """Try what the agent of `config` would need of its broker."""
    where = f"{config.broker.host}:{config.broker.port}"
    try:
        endpoint = config.broker.endpoint()
    except TlsUnusable as error:
        return ConnectionCheck("", (error,))
    mismatch = _certificate_faults(config)
    try:
        version = _handshake(endpoint)
        if mismatch:
            return ConnectionCheck("", mismatch)
        if is_running(config):
            return ConnectionCheck(
                f"{where} answers{version}; the connection was not tried, because an agent of this node runs here and "
                "a second connection would end its own"
            )
        asyncio.run(_take_part(config, endpoint))
    except ConnectionFault as fault:
        return ConnectionCheck("", (*mismatch, fault))
    except OSError as error:  # before anything was answered
        why = error.strerror or error
        return ConnectionCheck(f"{where} does not answer now ({why}); the agent would wait", mismatch)
    return ConnectionCheck(f"{where} lets this node in{version}: it may subscribe and publish on its own topics")


def _certificate_faults(config: NodeConfig) -> tuple[TierwiseError, ...]:
    tls = config.broker.tls
    if tls is None:
        return ()
    site, node = names_in_certificate(tls.certificate_file)
    faults: list[TierwiseError] = []
    if site and not config.site.startswith(site):  # an issuer's name holds the first 50 characters
        faults.append(
            ConnectionFault(f"site is {config.site}, and {tls.certificate_file} is of site {site}: set site: {site}")
        )
    if node and node != config.node:
        faults.append(
            ConnectionFault(
                f"node is {config.node}, and {tls.certificate_file} is that of {node}: set node: {node}, or use the "
                f"folder of {config.node}"
            )
        )
    return tuple(faults)


def _handshake(endpoint: Endpoint) -> str:
    """Connect and check the broker's certificate; the TLS version in words, empty for plain text.

    Raises OSError where nothing answers, ConnectionFault where it is not our broker, or speaks no TLS, or TLS alone.
    """
    with socket.create_connection((endpoint.host, endpoint.port), HANDSHAKE_TIMEOUT_S) as plain:
        if endpoint.tls is None:
            return ""
        try:
            with endpoint.tls.context().wrap_socket(plain, server_hostname=endpoint.host) as secured:
                return f", and is this site's ({secured.version()})"
        except ssl.SSLCertVerificationError as error:
            raise ConnectionFault(f"the broker at {endpoint} is not trusted: {why_no_link(error)}") from error
        except TimeoutError as error:
            raise TimeoutError(0, "no answer to a TLS handshake") from error
        except OSError as error:
            raise ConnectionFault(
                f"no TLS connection to the broker at {endpoint}: {error}; if that is its port without TLS, remove "
                "broker.tls or set broker.port"
            ) from error


async def _take_part(config: NodeConfig, endpoint: Endpoint) -> None:
    """Connect, subscribe and publish as the agent would. Raises OSError, ConnectionFault."""
    loop = asyncio.get_running_loop()
    suback: asyncio.Future[list[ReasonCode]] = loop.create_future()
    puback: asyncio.Future[int] = loop.create_future()
    lost: asyncio.Future[str] = loop.create_future()

    events = LinkEvents(
        connected=lambda _link: None,
        message=lambda _publish: None,
        puback=lambda _packet_id, code: puback.set_result(code),
        suback=lambda _packet_id, codes: suback.set_result(codes),
        lost=lambda reason, _code: lost.set_result(reason),
    )
    # Where client ids are not taken from certificates, this one ends no other connection.
    link = PahoLink(f"{config.site}.{config.node}.check", endpoint.keepalive_s, None, events)
    try:
        await link.open(endpoint.host, endpoint.port, endpoint.tls.context() if endpoint.tls else None)
        filters = _own_filters(config)
        link.subscribe([(topic_filter, SubscribeOptions(qos=1)) for topic_filter in filters])
        codes = await _answer(suback, lost)
        for topic_filter, code in zip(filters, codes, strict=False):
            if code.is_failure:
                raise ConnectionFault(
                    f"the broker refuses {config.node} to subscribe to {topic_filter} ({code}): {NOT_ALLOWED}"
                )
        topic = topic_for(Address(config.site, config.node, Channel.PONG))
        # An answer to a ping that nobody sent: whoever watches sees it, and nobody acts on it.
        pong = Pong(ping_id=new_request_id(), session=0, handling_ms=0.0)
        link.publish(topic, encode(pong), 1, False, Properties(PacketTypes.PUBLISH))  # type: ignore[no-untyped-call]  # paho's
        if (published := await _answer(puback, lost)) >= FAILED:
            why = ReasonCode(PacketTypes.PUBACK, identifier=published)
            raise ConnectionFault(f"the broker refuses {config.node} to publish on {topic} ({why}): {NOT_ALLOWED}")
    except NotConnected as error:
        if isinstance(error.__cause__, TimeoutError):
            raise TimeoutError(0, str(error)) from error
        raise ConnectionFault(_why_not_accepted(endpoint, str(error))) from error
    except ssl.SSLError as error:
        raise ConnectionFault(_why_not_accepted(endpoint, str(error))) from error
    finally:
        await link.close()


def _own_filters(config: NodeConfig) -> list[str]:
    role = ROLE_OF_TIER[config.tier]
    own = [channel for channel, rights in ACCESS.items() if rights[role].subscribe is not Whose.NOBODYS]
    return [filter_for(config.site, channel, config.node) for channel in own]


async def _answer(awaited: asyncio.Future[T], lost: asyncio.Future[str]) -> T:
    """What the broker answers. Raises ConnectionFault, also where it answers nothing."""
    either: set[asyncio.Future[Any]] = {awaited, lost}
    await asyncio.wait(either, timeout=ANSWER_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if awaited.done():
        return awaited.result()
    reason = lost.result() if lost.done() else f"no answer within {ANSWER_TIMEOUT_S:g} s"
    raise ConnectionFault(f"the broker let this node in, and then: {reason}")


def _why_not_accepted(endpoint: Endpoint, reason: str) -> str:
    if endpoint.tls is None and _speaks_tls(endpoint):
        return (
            f"the broker at {endpoint} takes TLS connections only, and broker.tls is missing: use the node's folder of "
            "tierwise broker provision"
        )
    return f"the broker at {endpoint} does not let this node in: {reason}"


def _speaks_tls(endpoint: Endpoint) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), HANDSHAKE_TIMEOUT_S) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except ssl.SSLError as error:
        return "WRONG_VERSION" not in str(error)
    except OSError:
        return False
