"""Tickets, and the key that makes them."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from broker.endpoint import Endpoint
from broker.errors import TlsUnusable
from broker.tickets import TICKET_KEY_NAME, TicketKey, new_ticket_key, ticket_key_of
from broker.tls import Tls
from broker.vocabulary import NodeId, RequestId

EDGE, S1, REQUEST = NodeId("edge"), NodeId("s1"), RequestId("request-0001")
KEY = bytes(range(32))


def test_a_ticket_is_what_the_protocol_page_says() -> None:
    """Worked out past our own code."""
    expected = hmac.new(KEY, b"edge\ns1\nrequest-0001", hashlib.sha256).hexdigest()[:32]

    assert expected == TicketKey(KEY).ticket(EDGE, S1, REQUEST)


@pytest.mark.parametrize(
    ("node", "device", "request_id"),
    [("cloud", "s1", "request-0001"), ("edge", "s2", "request-0001"), ("edge", "s1", "request-0002")],
)
def test_a_ticket_proves_its_own_job_alone(node: str, device: str, request_id: str) -> None:
    """Not that of another node, device or request, and none under another key."""
    key, job = TicketKey(KEY), (NodeId(node), NodeId(device), RequestId(request_id))
    ticket = key.ticket(EDGE, S1, REQUEST)

    assert key.proves(ticket, EDGE, S1, REQUEST)
    assert not key.proves(ticket, *job)
    assert not TicketKey(bytes(32)).proves(ticket, EDGE, S1, REQUEST)
    assert not key.proves("\u00e9" * 32, EDGE, S1, REQUEST)


def test_the_key_lies_beside_the_nodes_own_and_is_closed_to_others(tmp_path: Path) -> None:
    """Without it, or without accounts, there are no tickets; open to others or damaged it is refused by name."""
    endpoint = Endpoint(tls=Tls.in_directory(tmp_path))
    path = tmp_path / TICKET_KEY_NAME
    assert (None, None) == (ticket_key_of(Endpoint()), ticket_key_of(endpoint))
    path.touch(mode=0o600)
    path.write_bytes(new_ticket_key())
    key = ticket_key_of(endpoint)
    assert key is not None
    assert key.proves(key.ticket(EDGE, S1, REQUEST), EDGE, S1, REQUEST)
    path.chmod(0o640)
    with pytest.raises(TlsUnusable, match=r"chmod 600 .*ticket\.key"):
        ticket_key_of(endpoint)
    path.chmod(0o600)
    path.write_bytes(b"12345\n")
    with pytest.raises(TlsUnusable, match=r"ticket\.key is damaged"):
        ticket_key_of(endpoint)
