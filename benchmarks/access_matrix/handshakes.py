"""Handshakes that must fail, tried on a real broker with our own client."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.access_matrix.site import Site
from broker.endpoint import Endpoint
from broker.errors import NotConnected
from broker.identity.authority import Authority, Pair, facts
from broker.identity.files import PRIVATE, write_whole
from broker.identity.folder import REVOCATION_LIST
from broker.paho_link import LinkEvents, PahoLink
from broker.tls import CERTIFICATE_NAME, KEY_NAME, Tls
from broker.vocabulary import NodeId

YEAR = timedelta(days=365)
ACCEPTED = ""
RELOAD_S = 5.0


def attempt(endpoint: Endpoint) -> str:
    """Why a connection as our client makes it came to nothing; ACCEPTED if it did not."""
    return asyncio.run(_attempt(endpoint))


async def _attempt(endpoint: Endpoint) -> str:
    events = LinkEvents(lambda _: None, lambda _: None, lambda *_: None, lambda *_: None, lambda *_: None)
    link = PahoLink("whoever", 5, None, events)
    try:
        await link.open(endpoint.host, endpoint.port, endpoint.tls.context() if endpoint.tls else None)
    except (OSError, NotConnected) as error:
        return str(error) or type(error).__name__
    finally:
        await link.abort()
    return ACCEPTED


def bad_handshakes(site: Site, good: NodeId) -> dict[str, str]:
    """What refused each of eight connections that must fail; `good` is an account that may connect."""
    authority, now = site.folder.load_authority(), datetime.now(UTC)
    here, tls = site.endpoint(good), site.tls(good)
    strangers = Authority.create(site.wanted.site, now, 10)
    with tempfile.TemporaryDirectory() as directory:

        def with_pair(pair: Pair) -> Endpoint:
            return replace(here, tls=_written(Path(directory), tls, pair))

        revoked = authority.issue_client(good, now, 10)
        listed = {facts(revoked.certificate).serial: now}
        write_whole(site.folder.broker / REVOCATION_LIST, authority.revocation_list(listed, now))
        site.process.reload()
        _wait_until_refused(lambda: attempt(with_pair(revoked)))
        attempts: dict[str, Callable[[], str]] = {
            "revoked": lambda: attempt(with_pair(revoked)),
            "other authority": lambda: attempt(with_pair(strangers.issue_client(good, now, 10))),
            "expired": lambda: attempt(with_pair(authority.issue_client(good, now - YEAR, 364))),
            "not yet valid": lambda: attempt(with_pair(authority.issue_client(good, now + YEAR, 10))),
            "no certificate": lambda: _raw(here, tls, ssl.TLSVersion.TLSv1_2, certificate=False),
            "plain TCP": lambda: attempt(replace(here, tls=None)),
            "TLS 1.1": lambda: _raw(here, tls, ssl.TLSVersion.TLSv1_1),
            "broker with another host name": lambda: attempt(replace(here, host="localhost")),
        }
        return {name: tried() for name, tried in attempts.items()}


def _wait_until_refused(tried: Callable[[], str]) -> None:
    """The broker reads its list when it comes to it; give up waiting after 5 s, and let the attempt tell."""
    deadline_s = time.monotonic() + RELOAD_S
    while tried() == ACCEPTED and time.monotonic() < deadline_s:
        time.sleep(0.02)


def _written(directory: Path, like: Tls, pair: Pair) -> Tls:
    write_whole(directory / CERTIFICATE_NAME, pair.certificate)
    write_whole(directory / KEY_NAME, pair.key, PRIVATE)
    return Tls(like.ca_file, directory / CERTIFICATE_NAME, directory / KEY_NAME)


def _raw(endpoint: Endpoint, tls: Tls, version: ssl.TLSVersion, *, certificate: bool = True) -> str:
    """A bare handshake with exactly that version of TLS, which our own client would not offer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tls.ca_file)
    if certificate:
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL itself would refuse TLS 1.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=5) as sock,
            context.wrap_socket(sock, server_hostname=endpoint.host),
        ):
            return ACCEPTED
    except OSError as error:
        return str(error)


def bare_handshake(site: Site, good: NodeId, version: ssl.TLSVersion) -> str:
    """The same as the bad one with TLS 1.1, with another version: so it is the version that is refused."""
    return _raw(site.endpoint(good), site.tls(good), version)
