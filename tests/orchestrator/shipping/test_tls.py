"""TLS to a server with certificates of an authority of our own, good and bad; and what the check says of each."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.shipping_study.compare import compare
from benchmarks.shipping_study.servers import DATABASE, Influxd
from broker.clock import SystemClock
from broker.ports import free_port
from configs.influxdb import InfluxSection
from orchestrator.errors import InfluxUnavailable
from orchestrator.response_log import LOG_NAME
from orchestrator.shipping.checking import Step, check
from orchestrator.shipping.target import Target

pytestmark = pytest.mark.influxdb


class Authority:
    """Signs certificates for 127.0.0.1 and keeps everything in one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = directory / "ca.crt"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=900))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        self.name = name

    def issue(self, ends_in_days: int) -> tuple[Path, Path]:
        """Certificate and key of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder(
                self.name,
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "influx")]),
                key.public_key(),
                x509.random_serial_number(),
            )
            .not_valid_before(now - timedelta(days=800))
            .not_valid_after(now + timedelta(days=ends_in_days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(self.key, hashes.SHA256())
        )
        certificate, private = self.directory / "server.crt", self.directory / "server.key"
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """See Authority."""
    return Authority(tmp_path)


def steps_of(section: InfluxSection) -> dict[str, Step]:
    return {step.name: step for step in check(section, SystemClock())}


def test_rows_travel_by_tls_when_the_authority_is_named(
    directory: Path,
    section: InfluxSection,
    authority: Authority,
    ship: Callable[[Path, InfluxSection], None],
    tmp_path: Path,
) -> None:
    """And to nobody whose certificate it did not sign: then they wait."""
    with Influxd(tmp_path / "secure", auth=True, tls=authority.issue(1)) as secure:
        stranger = section.model_copy(update={"url": secure.url, "database": DATABASE})
        trusted = stranger.model_copy(update={"ca_file": authority.certificate})
        with closing(Target(stranger)) as target, pytest.raises(InfluxUnavailable):
            target.send(["m a=1i 1"])
        ship(directory, trusted)

        assert all(each.equal for each in compare(directory / LOG_NAME, trusted).values())
        assert all(step.good for step in steps_of(trusted).values())
        assert steps_of(trusted)["TLS"].found.startswith("TLSv1.")


def test_the_check_tells_what_is_wrong_with_a_certificate(
    section: InfluxSection, authority: Authority, tmp_path: Path
) -> None:
    """An unknown authority, another host name, a missing file, and verification that is off."""
    with Influxd(tmp_path / "secure", auth=True, tls=authority.issue(1)) as secure:
        named = section.model_copy(update={"url": secure.url, "database": DATABASE, "ca_file": authority.certificate})
        unknown = steps_of(named.model_copy(update={"ca_file": None}))["TLS"]
        other_name = steps_of(named.model_copy(update={"url": secure.url.replace("127.0.0.1", "localhost")}))["TLS"]
        no_file = steps_of(named.model_copy(update={"ca_file": tmp_path / "nowhere.crt"}))["TLS"]
        careless = steps_of(named.model_copy(update={"ca_file": None, "verify": False}))

    assert (False, True) == (unknown.good, "influxdb.ca_file" in unknown.mend)
    assert (False, True) == (other_name.good, "issue one for localhost" in other_name.mend)
    assert (False, True) == (no_file.good, "nowhere.crt: No such file" in no_file.found)
    assert all(step.good for step in careless.values())
    assert "anybody may pose as the server" in careless["TLS"].mend


def test_the_check_tells_of_an_expired_certificate(
    section: InfluxSection, authority: Authority, tmp_path: Path
) -> None:
    """With the clocks as the other suspect."""
    with Influxd(tmp_path / "secure", auth=True, tls=authority.issue(-1)) as secure:
        found = steps_of(
            section.model_copy(update={"url": secure.url, "database": DATABASE, "ca_file": authority.certificate})
        )

    assert (False, True) == (found["TLS"].good, "expired" in found["TLS"].found)
    assert "renew the server's certificate" in found["TLS"].mend
    assert "ping" not in found


def test_the_check_finds_all_well_and_says_with_whom(section: InfluxSection) -> None:
    """Every step, the last of which reads the test point back."""
    found = steps_of(section)

    assert ["token", "name", "connection", "TLS", "ping", "write", "read"] == list(found)
    assert all(step.good for step in found.values())
    assert "InfluxDB 1." in found["ping"].found
    assert "" == found["token"].mend


@pytest.mark.parametrize(
    ("step", "changes", "found", "mend"),
    [
        ("token", {"password_file": Path("/nowhere/token")}, "No such file", "readable by the orchestrator's user"),
        ("name", {"url": "http://no-such-host.invalid:8086"}, "no-such-host.invalid is not known", "influxdb.url"),
        ("connection", {"url": "http://127.0.0.1:{free}"}, "Connection refused", "start the server"),
        ("TLS", {"url": "https://127.0.0.1:{influxd}"}, "no TLS", "http://"),
        ("write", {"username": None, "password_file": None}, "answers 401", "set username and password_file"),
        ("write", {"database": "nowhere"}, "answers 404", "CREATE DATABASE"),
    ],
)
def test_the_check_tells_the_first_thing_that_is_wrong(
    section: InfluxSection, influxd: Influxd, step: str, changes: dict[str, object], found: str, mend: str
) -> None:
    """And how to mend it; what depends on it is not tried."""
    ports = {"free": free_port(), "influxd": influxd.port}
    changes = {key: value.format(**ports) if isinstance(value, str) else value for key, value in changes.items()}

    *before, last = list(check(section.model_copy(update=changes), SystemClock()))

    assert (step, False) == (last.name, last.good)
    assert found in last.found
    assert mend in last.mend
    assert all(each.good for each in before)


def test_the_check_warns_of_a_token_that_others_may_read(section: InfluxSection, password_file: Path) -> None:
    """It works, but says how to close it."""
    password_file.chmod(0o644)

    token = steps_of(section)["token"]

    assert (True, f"chmod 600 {password_file}") == (token.good, token.mend)
    assert "everybody may read" in token.found
