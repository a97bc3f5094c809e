"""What is wrong with the connection to an InfluxDB, and how to mend it: one step after the other, from name to point.

A step that fails ends the check: the later ones depend on it. All that is written is one test point, in a measurement
of its own, `tierwise_check`.
"""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from broker.clock import Clock
from broker.errors import TierwiseError
from configs.influxdb import InfluxApi, InfluxSection
from orchestrator.errors import InfluxUnavailable, PointsRefused
from orchestrator.shipping.credentials import read_credentials
from orchestrator.shipping.influxql import InfluxReader, QueryRefused
from orchestrator.shipping.points import CHECK
from orchestrator.shipping.shipper import check_point
from orchestrator.shipping.target import Target, mend_of_write
from orchestrator.shipping.transport import MAX_ANSWER_BYTES, tls_context


@dataclass(frozen=True, slots=True)
class Step:
    """What was looked at, whether it is well, what was found, and how to mend it ('' where there is nothing to do)."""

    name: str
    good: bool
    found: str
    mend: str = ""


Steps = Iterator[Step]


def check(section: InfluxSection, clock: Clock) -> Steps:
    """The steps, each as soon as it is done; ends after the first that is not good."""
    for part in (_secret, _name, _connection, _tls, _ping, lambda each: _write(each, clock), _read):
        for step in part(section):
            yield step
            if not step.good:
                return


def _secret(section: InfluxSection) -> Steps:
    try:
        credentials = read_credentials(section)
    except InfluxUnavailable as error:
        yield Step("token", False, str(error), "put it there, readable by the orchestrator's user alone")
        return
    if not credentials.header(InfluxApi.AUTO):
        yield Step("token", True, "none is configured: right for a server that asks for none")
        return
    if section.username is None:
        file, variable, found = section.token_file, section.token_environment, f"{len(credentials.token)} characters"
    else:
        file, variable = section.password_file, section.password_environment
        found = f"user {section.username}, password of {len(credentials.password)} characters"
    where = str(file or f"${variable}")
    open_to = _open_to(file)
    if open_to:
        yield Step("token", True, f"{found} in {where}, which {open_to} may read too", f"chmod 600 {file}")
    else:
        yield Step("token", True, f"{found} in {where}")


def _open_to(file: Path | None) -> str:
    if file is None:
        return ""
    mode = file.stat().st_mode
    return "everybody" if mode & stat.S_IROTH else "its group" if mode & stat.S_IRGRP else ""


def _place(section: InfluxSection) -> tuple[str, int]:
    parts = urlsplit(section.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _name(section: InfluxSection) -> Steps:
    host, port = _place(section)
    try:
        found = sorted({entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError) as error:
        mend = "correct influxdb.url, or this machine's DNS or /etc/hosts"
        yield Step("name", False, f"{host} is not known: {getattr(error, 'strerror', None) or error}", mend)
        return
    yield Step("name", True, f"{host} is {', '.join(map(str, found))}")


def _connection(section: InfluxSection) -> Steps:
    host, port = _place(section)
    try:
        socket.create_connection((host, port), timeout=section.timeout_s).close()
    except OSError as error:
        why = error.strerror or str(error)
        mend = f"start the server, open port {port} in a firewall on the way, or correct the port in influxdb.url"
        yield Step("connection", False, f"{host}:{port}: {why}", mend)
        return
    yield Step("connection", True, f"{host}:{port} takes connections")


def _tls(section: InfluxSection) -> Steps:
    host, port = _place(section)
    if not section.url.startswith("https:"):
        local = host in ("localhost", "127.0.0.1", "::1")
        mend = "" if local else "the token travels in the clear: give the server a certificate, and use https://"
        yield Step("TLS", True, "not used", mend)
        return
    try:
        context = tls_context(section)
    except InfluxUnavailable as error:
        yield Step("TLS", False, str(error), "name a readable file of certificates (PEM)")
        return
    try:
        with (
            socket.create_connection((host, port), timeout=section.timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            version = secure.version()
    except ssl.SSLCertVerificationError as error:
        yield Step("TLS", False, f"the certificate is not accepted: {error.verify_message}", _mend_of(error, host))
    except ssl.SSLError as error:
        mend = "the port may speak plain HTTP: try http:// in influxdb.url, or name the port that speaks TLS"
        yield Step("TLS", False, f"no TLS: {error.reason or error}", mend)
    except OSError as error:
        yield Step("TLS", False, f"{host}:{port}: {error.strerror or error}", "see the server's own log")
    else:
        note = "" if section.verify else "verify is false: anybody may pose as the server, and gets the token"
        yield Step("TLS", True, f"{version}, {'certificate accepted' if section.verify else 'not verified'}", note)


def _mend_of(error: ssl.SSLCertVerificationError, host: str) -> str:
    said = error.verify_message.lower()
    if "expired" in said:
        return "renew the server's certificate, and look at both machines' clocks"
    if "not yet valid" in said:
        return "look at both machines' clocks"
    if "mismatch" in said or "not valid for" in said:
        return f"use a name in influxdb.url that the certificate has, or issue one for {host}"
    return "name the certificate of the authority that signed it in influxdb.ca_file"


def _ping(section: InfluxSection) -> Steps:
    reader = InfluxReader(section)
    try:
        server = reader.server()
    except InfluxUnavailable as error:
        mend = "is that an InfluxDB, and not another service? Correct influxdb.url"
        if error.status in (401, 403, 404):  # InfluxDB 3 asks for a token here; others hide it
            yield Step("ping", True, f"{error}: the server does not say what it is")
            return
        yield Step("ping", False, str(error), mend)
        return
    finally:
        reader.close()
    yield Step("ping", True, str(server) or "answers, without telling a version")


def _write(section: InfluxSection, clock: Clock) -> Steps:
    target = Target(section)
    try:
        target.send([check_point(int(clock.wall() * 1e9))])
    except InfluxUnavailable as error:
        yield Step("write", False, str(error), _mend_of_write(section, error.status))
        return
    except PointsRefused as error:
        mend = f"drop the measurement {CHECK} there if its field has another type; else see the server's own log"
        yield Step("write", False, str(error), mend)
        return
    else:
        path = "/write" if target.api is InfluxApi.V1 else "/api/v2/write"
        yield Step("write", True, f"a test point in {CHECK} of {section.place}, by {path}")
    finally:
        target.close()


def _mend_of_write(section: InfluxSection, status: int) -> str:
    if _is_v1(section) and (mend := mend_of_write(section, InfluxApi.V1, status)):
        return mend
    mends: dict[int, str] = {
        0: "the server is too slow or broken, or a proxy before it: see its log, or raise influxdb.timeout_s",
        200: "is that an InfluxDB, and not another service or a proxy's page? Correct influxdb.url",
        401: "put a token that the server knows into token_file or token_environment",
        403: f"give the token the right to write to {section.place}",
        404: f"make the bucket {section.place}, or correct influxdb.bucket, org and url; a proxy that only passes "
        "/api/v2/write on to an InfluxDB 1.x needs influxdb.api: v2, other 1.x need v1",
        429: "wait, or raise the server's limits",
    }
    return mends.get(status, "the server is not well, or a proxy before it: see its log")


def _is_v1(section: InfluxSection) -> bool:
    if section.api is not InfluxApi.AUTO:
        return section.api is InfluxApi.V1
    reader = InfluxReader(section)
    try:
        return section.username is not None or reader.server().api is InfluxApi.V1
    except InfluxUnavailable:
        return False
    finally:
        reader.close()


def _read(section: InfluxSection) -> Steps:
    mend = "shipping works without it; `tierwise report --source influxdb` needs InfluxQL on /query"
    reader = InfluxReader(section)
    try:
        if _product(reader) == "VictoriaMetrics":
            yield Step("read", True, "not tried: VictoriaMetrics answers PromQL, and no InfluxQL", mend)
            return
        question = f'SELECT "written" FROM "{CHECK}" ORDER BY time DESC LIMIT 1'
        rows = sum(len(series.rows) for series in reader.ask(question, MAX_ANSWER_BYTES) if series.name == CHECK)
    except QueryRefused as error:
        yield Step("read", False, str(error), mend)
    except InfluxUnavailable as error:
        if error.status in (401, 403):
            mend = f"give the token or user the right to read {section.place}; {mend}"
        elif error.status == 404:
            mend = f"InfluxDB 2: influx v1 dbrp create --db {section.place} --rp autogen --bucket-id ...; {mend}"
        yield Step("read", False, str(error), mend)
    except TierwiseError as error:
        yield Step("read", False, str(error), mend)
    else:
        if rows:
            yield Step("read", True, "the test point came back by InfluxQL")
        else:
            yield Step("read", False, "InfluxQL answers, but the test point is not there", mend)
    finally:
        reader.close()


def _product(reader: InfluxReader) -> str:
    try:
        return reader.server().product
    except InfluxUnavailable:
        return ""
