"""Whether an agent with a node's identity runs on this machine.

A running agent binds an abstract Unix socket (Linux), which names site, node and broker. It ends with the process,
needs no folder, and is seen by every user of the machine; nothing is received on it. Other network namespaces, those
of containers, are not seen.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from configs.node import NodeConfig


@contextmanager
def announced(config: NodeConfig) -> Iterator[bool]:
    """Be seen as this node while the body runs; False where another agent of it is seen already."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        try:
            mark.bind(_address(config))
        except OSError:
            yield False
        else:
            yield True


def is_running(config: NodeConfig) -> bool:
    """Whether an agent of this node runs here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_address(config))
        except OSError:
            return False
        return True


def _address(config: NodeConfig) -> bytes:
    what = f"{config.site} {config.node} {config.broker.host} {config.broker.port}"
    return b"\0tierwise-agent-" + hashlib.sha256(what.encode()).hexdigest()[:32].encode()
