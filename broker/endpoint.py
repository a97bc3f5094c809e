"""Where a client finds the broker."""

from __future__ import annotations

from dataclasses import dataclass

from broker.tls import Tls


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the broker is, how patiently to knock, and with which certificate: without one, in plain text."""

    host: str = "127.0.0.1"
    port: int = 1883
    keepalive_s: int = 5
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 2.0
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"
