"""Rules about the YAML files of nodes, orchestrator and broker. They look at keys alone, valid or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.mosquitto_settings import is_loopback
from tierwise.doctor.broker_rules import LARGEST_MESSAGE
from tierwise.doctor.finding import Rules, Told

PROVISION = "tierwise broker provision with the site's file writes it"
DEFAULT_PORT, TLS_PORT = 1883, 8883
DEFAULT_ORCHESTRATOR = "orchestrator"
MAX_SITE_IN_ISSUER = 50  # an organisation name has 64 characters at most
SECRET = re.compile(r"(^|_)(token|password|passwd|secret|api_key|private_key)$")
LONGEST_ADDRESS = 2000
IN_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What the certificate that a file names says. `is_trusted`: the ca_file beside it issued it; `trusts_broker`: it
    issued the examined broker's certificate too. `site` is empty for authorities that others made."""

    name: str
    site: str
    is_trusted: bool = True
    trusts_broker: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """One file. `sharers` are other examined files that use the same certificate; `tls_ports` the ports of examined
    brokers with accounts; `stale` what the site's file determines otherwise."""

    content: Mapping[str, Any]
    sharers: tuple[str, ...] = ()
    certificate: ClientCertificate | None = None
    tls_ports: frozenset[int] = frozenset()
    stale: tuple[str, ...] = ()

    def broker(self) -> Mapping[str, Any]:
        """Where the process connects to; empty in a broker's own file."""
        section = self.content.get("broker")
        return section if isinstance(section, Mapping) else {}


def tls_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """`broker.tls`; empty where there is none."""
    section = content.get("broker")
    tls = section.get("tls") if isinstance(section, Mapping) else None
    return tls if isinstance(tls, Mapping) else {}


yaml_rules: Rules[Settings] = Rules()


@yaml_rules.error("plain-connection")
def plain_connection(settings: Settings) -> Iterator[Told]:
    """Everybody on the way reads photographs and labels, and can change decisions."""
    broker = settings.broker()
    host = str(broker.get("host", "127.0.0.1"))
    if broker and not is_loopback(host) and not broker.get("tls"):
        yield Told(f"it speaks to {host} in plain text", PROVISION)


@yaml_rules.error("tls-missing")
def tls_missing(settings: Settings) -> Iterator[Told]:
    """The broker closes a connection that speaks no TLS on a port with TLS."""
    broker = settings.broker()
    port = broker.get("port", DEFAULT_PORT)
    if broker and not broker.get("tls") and (port == TLS_PORT or port in settings.tls_ports):
        yield Told(f"port {port} of the broker needs TLS, and broker.tls is missing", PROVISION)


@yaml_rules.error("site-of-another")
def site_of_another(settings: Settings) -> Iterator[Told]:
    """The broker refuses everything on the topics of another site than the certificate's."""
    certificate, site = settings.certificate, settings.content.get("site")
    if certificate is not None and site is not None and certificate.site not in ("", str(site)[:MAX_SITE_IN_ISSUER]):
        yield Told(f"site is {site}, and its certificate is of site {certificate.site}", f"site: {certificate.site}")


@yaml_rules.error("node-id-of-another")
def node_id_of_another(settings: Settings) -> Iterator[Told]:
    """The broker refuses everything on the topics of another node than the certificate's."""
    certificate = settings.certificate
    content = settings.content
    node = content.get("node", DEFAULT_ORCHESTRATOR if "site" in content and "tier" not in content else None)
    if certificate is not None and node is not None and certificate.name != str(node):
        mend = f"node: {certificate.name}, or the folder of {node}"
        yield Told(f"node is {node}, and its certificate is that of {certificate.name}", mend)


@yaml_rules.error("authority-not-the-brokers")
def authority_not_the_brokers(settings: Settings) -> Iterator[Told]:
    """Node and broker refuse each other's certificates."""
    certificate = settings.certificate
    if certificate is not None and not certificate.is_trusted:
        yield Told("ca_file did not issue certificate_file", "Copy all files again from one folder")
    elif certificate is not None and not certificate.trusts_broker:
        yield Told("ca_file did not issue the broker's certificate", "Copy the folder again, or the broker's")


@yaml_rules.error("stale-node-file")
def stale_node_file(settings: Settings) -> Iterator[Told]:
    """The site's file was changed since."""
    if settings.stale:
        yield Told("; ".join(settings.stale), f"{PROVISION}, and copy the folder again")


@yaml_rules.error("secret-inline")
def secret_inline(settings: Settings) -> Iterator[Told]:
    """It ends up in backups and in version control."""
    for key, value in _scalars(settings.content):
        last = key.rsplit(".", 1)[-1]
        if (SECRET.search(last) and value) or IN_ADDRESS.match(str(value)[:LONGEST_ADDRESS]):
            yield Told(f"{key} holds a secret", "Name a file or an environment variable that holds it")


@yaml_rules.error("broker-open")
def broker_open(settings: Settings) -> Iterator[Told]:
    """Mosquitto without accounts must not be reached from other machines."""
    content = settings.content
    host = str(content.get("host", "127.0.0.1"))
    if "broker" not in content and "host" in content and not is_loopback(host) and not content.get("identity"):
        yield Told(f"without accounts it would listen on {host}", "Provision accounts, and name identity")


@yaml_rules.error("image-does-not-fit")
def image_does_not_fit(settings: Settings) -> Iterator[Told]:
    """A node that sends such an image is thrown out again and again."""
    limit = settings.content.get("max_packet_bytes")
    if isinstance(limit, int) and limit < LARGEST_MESSAGE:
        yield Told(f"the largest image does not fit into max_packet_bytes {limit}", "max_packet_bytes: 300000")


@yaml_rules.error("certificate-shared")
def certificate_shared(settings: Settings) -> Iterator[Told]:
    """The broker takes one connection for each certificate: these processes would throw each other out for ever."""
    if settings.sharers:
        yield Told(f"{', '.join(settings.sharers)} uses the same certificate", "Give each the folder of its own name")


@yaml_rules.warning("server-not-checked")
def server_not_checked(settings: Settings) -> Iterator[Told]:
    """The token and all responses go to whoever answers at that address."""
    influx = settings.content.get("influxdb")
    if not isinstance(influx, Mapping):
        return
    url = str(influx.get("url", ""))
    host = re.sub(r"^[a-z]+://(\[[^]]*]|[^:/]*).*$", r"\1", url).strip("[]")
    if url.startswith("http://") and not is_loopback(host):
        yield Told(f"responses and token go to {host} in plain text", "influxdb.url: https://...")
    if influx.get("verify") is False:
        yield Told("the time-series server's certificate is not checked", "Remove influxdb.verify, or name a ca_file")


def _scalars(value: Any, key: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Each container once: aliases can make a few lines of YAML endless."""
    seen = set() if seen is None else seen
    if isinstance(value, Mapping | list):
        if id(value) in seen:
            return
        seen.add(id(value))
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _scalars(inner, f"{key}.{name}" if key else str(name), seen)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _scalars(inner, f"{key}.{place}", seen)
    else:
        yield key, value
