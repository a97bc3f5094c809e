"""What a site may set of its Mosquitto, and the mosquitto.conf made of it.

Two modes. Plain: no accounts, and therefore loopback only; for the demo and tests. Secured: TLS with a certificate for
everybody, accounts with everything denied that is not allowed (`broker.access`). The rendered file says which.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from broker.errors import BrokerUnavailable

STORE_NAME = "store"
MAX_IN_FLIGHT = 500  # QoS 1 messages of one client, each way
LOG_TYPES = {
    "error": ("error",),
    "warning": ("error", "warning"),
    "info": ("error", "warning", "notice", "information"),
    "debug": ("all",),
}
PLUGIN_NAME = "mosquitto_dynamic_security.so"
# Debian and Ubuntu name a folder per architecture; others use lib64, or a mosquitto folder below.
PLUGIN_PLACES = ("lib", "lib64", "lib/*", "lib/mosquitto", "lib64/mosquitto")
PREFIXES = ("/usr", "/usr/local")
SECRETS = ("broker.key", "dynamic-security.json")
IDENTITY_FILES = ("ca.crt", "broker.crt", "crl.pem", *SECRETS)


@dataclass(frozen=True, slots=True)
class MosquittoSettings:
    """`identity` is the folder `broker` that `tierwise broker provision` made; None is the plain mode.

    Raises BrokerUnavailable for what cannot be served.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 0
    max_packet_bytes: int = 300_000
    max_queued_messages: int = 1000
    max_queued_bytes: int = 50_000_000
    max_connections: int = 2000
    log_level: str = "info"
    identity: Path | None = None

    def __post_init__(self) -> None:
        if self.identity is None and not is_loopback(self.host):
            raise BrokerUnavailable(
                f"without accounts Mosquitto listens on loopback only, not on {self.host}: use host 127.0.0.1, or "
                "make accounts (tierwise broker provision) and name their folder as identity"
            )
        for path in (self.directory, self.identity or self.directory):
            if not str(path).isprintable():
                raise BrokerUnavailable(f"{str(path)!r} cannot stand in mosquitto.conf: choose another directory")
        if not self.host.isprintable() or " " in self.host:
            raise BrokerUnavailable(f"host {self.host!r} is not an address to listen on")
        if self.log_level not in LOG_TYPES:
            raise BrokerUnavailable(f"log_level {self.log_level!r} is not one of {', '.join(LOG_TYPES)}")


def is_loopback(host: str) -> bool:
    """Whether nobody on another machine reaches a listener on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_plugin() -> Path:
    """Mosquitto's dynamic-security plugin. Raises BrokerUnavailable."""
    for prefix in PREFIXES:
        for place in PLUGIN_PLACES:
            for found in sorted(Path(prefix).glob(f"{place}/{PLUGIN_NAME}")):
                return found
    raise BrokerUnavailable(
        f"{PLUGIN_NAME} is nowhere under {' or '.join(PREFIXES)}: Mosquitto 2.0 or newer brings it "
        "(sudo apt-get install mosquitto)"
    )


def render(settings: MosquittoSettings) -> str:
    """The text of mosquitto.conf for `settings`, whose port must be known by now. Raises BrokerUnavailable."""
    store = settings.directory.absolute() / STORE_NAME
    # Started by root, Mosquitto would become the user `mosquitto`, who may not write into our directory.
    owner = ["user root"] if os.geteuid() == 0 else []
    lines = [
        "# Written by Tierwise at each start; edit broker.yaml instead.",
        *_access(settings, settings.identity),
        *owner,
        "set_tcp_nodelay true",
        "max_qos 1",
        f"max_packet_size {settings.max_packet_bytes}",
        f"max_queued_messages {settings.max_queued_messages}",
        f"max_queued_bytes {settings.max_queued_bytes}",
        # With 20 a busy orchestrator waits for the broker's word after every few messages, both ways, then for good.
        f"max_inflight_messages {MAX_IN_FLIGHT}",
        f"max_connections {settings.max_connections}",
        "max_keepalive 60",
        "persistence true",
        f"persistence_location {store}/",
        "autosave_interval 60",
        "sys_interval 1",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        *(f"log_type {log_type}" for log_type in LOG_TYPES[settings.log_level]),
    ]
    return "\n".join(lines) + "\n"


def _access(settings: MosquittoSettings, identity: Path | None) -> list[str]:
    if identity is None:
        return [
            "# There are no accounts here: whoever reaches this port may read and write everything. So: loopback only.",
            f"listener {settings.port} {settings.host}",
            "allow_anonymous true",
        ]
    here = identity.absolute()
    missing = [name for name in IDENTITY_FILES if not (here / name).is_file()]
    if missing:
        raise BrokerUnavailable(f"{here} lacks {', '.join(missing)}: tierwise broker provision makes that folder")
    return [
        "# Nobody gets in without a certificate of this site, and then may do what its account allows, nothing else.",
        "per_listener_settings false",
        f"listener {settings.port} {settings.host}",
        f"cafile {here / 'ca.crt'}",
        f"certfile {here / 'broker.crt'}",
        f"keyfile {here / 'broker.key'}",
        f"crlfile {here / 'crl.pem'}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        # Or a client could name another's client id, which throws that one out and takes its queue.
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"plugin {find_plugin()}",
        f"plugin_opt_config_file {here / 'dynamic-security.json'}",
    ]
