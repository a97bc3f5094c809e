"""Tickets: how a serving node can tell that a decision named a job.

A ticket is a truncated HMAC-SHA256 over serving node, device and request id under the site's ticket key, which only the
orchestrator and the serving nodes have. The orchestrator puts it into the decision, the device copies it to `infer`.
"""

from __future__ import annotations

import hmac
import os
import stat

from broker.endpoint import Endpoint
from broker.errors import TlsUnusable
from broker.tls import OTHERS
from broker.vocabulary import NodeId, RequestId

TICKET_KEY_NAME = "ticket.key"  # beside the node's own key
KEY_BYTES = 32
TICKET_BYTES = 16


class TicketKey:
    """Makes and checks tickets."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def ticket(self, serving_node: NodeId, device: NodeId, request_id: RequestId) -> str:
        """Return the ticket of one job: 32 hexadecimal digits."""
        # No name has a line feed, so no two jobs share this text.
        text = f"{serving_node}\n{device}\n{request_id}".encode("ascii")
        return hmac.digest(self._key, text, "sha256")[:TICKET_BYTES].hex()

    def proves(self, ticket: str, serving_node: NodeId, device: NodeId, request_id: RequestId) -> bool:
        """Whether `ticket` is that of this job."""
        return hmac.compare_digest(ticket.encode(), self.ticket(serving_node, device, request_id).encode())


def new_ticket_key() -> bytes:
    """Return the content of a new key's file."""
    return os.urandom(KEY_BYTES).hex().encode("ascii") + b"\n"


def is_ticket_key(content: bytes) -> bool:
    """Return whether `content` is that of a key's file: a damaged one must not be copied to all who hold it."""
    try:
        return len(bytes.fromhex(content.decode("ascii"))) == KEY_BYTES
    except ValueError:
        return False


def ticket_key_of(endpoint: Endpoint) -> TicketKey | None:
    """Read the key beside the node's own key; None without accounts, and where there is none. Raises TlsUnusable."""
    if endpoint.tls is None:
        return None
    path = endpoint.tls.key_file.with_name(TICKET_KEY_NAME)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & OTHERS:
                raise TlsUnusable(f"{path} is open to other users (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
            key = bytes.fromhex(file.read(4 * KEY_BYTES).decode("ascii"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TlsUnusable(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TlsUnusable(f"{path} is damaged: copy it again") from error
    if len(key) != KEY_BYTES:
        raise TlsUnusable(f"{path} is damaged: copy it again")
    return TicketKey(key)
