"""Rules about keys, certificates and revocation lists."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.identity.authority import DAMAGED, Pair, key_belongs
from tierwise.doctor.finding import Rules, Told

OTHERS = stat.S_IRWXG | stat.S_IRWXO
SOON = timedelta(days=30)
SMALLEST_RSA_BITS, SMALLEST_EC_BITS = 2048, 256
RENEW = "tierwise broker renew, and copy the folder to its machine"


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that is for its owner alone. `is_authority`: the key of an authority."""

    name: str
    mode: int
    is_authority: bool = False


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A certificate; beside it, if they are there, its key and the authority's certificate (PEM)."""

    content: bytes
    now: datetime
    key: bytes | None = None
    authority: bytes | None = None

    def read(self) -> x509.Certificate | None:
        """None where it is damaged, be it in a part that reading alone does not look at."""
        try:
            with _quietly():
                read = x509.load_pem_x509_certificate(self.content)
                _ = read.public_key(), read.extensions
        except DAMAGED:
            return None
        return read


@dataclass(frozen=True, slots=True)
class RevocationFile:
    """A list of revoked certificates (PEM)."""

    content: bytes
    now: datetime


secret_rules: Rules[SecretFile] = Rules()
certificate_rules: Rules[CertificateFile] = Rules()
revocation_rules: Rules[RevocationFile] = Rules()


@secret_rules.error("open-to-others")
def open_to_others(secret: SecretFile) -> Iterator[Told]:
    """Another user of the machine can be this node."""
    if secret.mode & OTHERS:
        yield Told(f"other users may open it (mode {stat.S_IMODE(secret.mode):04o})", f"chmod 600 {secret.name}")


@secret_rules.warning("authority-key-here")
def authority_key_here(secret: SecretFile) -> Iterator[Told]:
    """Whoever takes it can be anybody."""
    if secret.is_authority:
        yield Told("the authority's key lies on this machine", "Keep it offline until it is needed again")


@certificate_rules.error("certificate-damaged")
def certificate_damaged(file: CertificateFile) -> Iterator[Told]:
    """Neither side can use it."""
    if file.read() is None:
        yield Told("this is no certificate", RENEW)


@certificate_rules.error("certificate-expired")
def certificate_expired(file: CertificateFile) -> Iterator[Told]:
    """The other side refuses it."""
    read = file.read()
    if read is not None and read.not_valid_after_utc <= file.now:
        yield Told(f"it expired on {read.not_valid_after_utc:%Y-%m-%d}", RENEW)


@certificate_rules.warning("certificate-expires-soon")
def certificate_expires_soon(file: CertificateFile) -> Iterator[Told]:
    """In thirty days or less."""
    read = file.read()
    if read is not None and timedelta(0) < read.not_valid_after_utc - file.now <= SOON:
        yield Told(f"it expires on {read.not_valid_after_utc:%Y-%m-%d}", RENEW)


@certificate_rules.error("certificate-not-yet-valid")
def certificate_not_yet_valid(file: CertificateFile) -> Iterator[Told]:
    """Here or where it was made a clock is wrong."""
    read = file.read()
    if read is not None and read.not_valid_before_utc > file.now:
        yield Told(f"it begins on {read.not_valid_before_utc:%Y-%m-%d}", "Set this machine's clock, or renew it")


@certificate_rules.error("key-of-another")
def key_of_another(file: CertificateFile) -> Iterator[Told]:
    """Copied from two folders."""
    if file.key is None or file.read() is None:
        return
    with _quietly():
        belongs = key_belongs(Pair(file.content, file.key))
    if not belongs:
        yield Told("the key beside it does not belong to it", "Copy both again from one folder")


@certificate_rules.error("authority-of-another")
def authority_of_another(file: CertificateFile) -> Iterator[Told]:
    """The broker trusts another authority than the one that issued it."""
    read = file.read()
    if read is None or file.authority is None:
        return
    try:
        read.verify_directly_issued_by(x509.load_pem_x509_certificate(file.authority))
    except (*DAMAGED, InvalidSignature):
        yield Told("ca.crt beside it did not issue it", "Copy all files again from one folder")


@certificate_rules.error("weak-key")
def weak_key(file: CertificateFile) -> Iterator[Told]:
    """RSA below 2048 bits or curves below 256 can be broken."""
    read = file.read()
    key = read.public_key() if read is not None else None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SMALLEST_RSA_BITS:
        yield Told(f"its RSA key has {key.key_size} bits", RENEW)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < SMALLEST_EC_BITS:
        yield Told(f"its key is on {key.curve.name}", RENEW)


@certificate_rules.error("broker-without-host")
def broker_without_host(file: CertificateFile) -> Iterator[Told]:
    """Clients compare the name that they connect to, and would refuse it."""
    read = file.read()
    if read is None:
        return
    kinds = {extension.oid: extension.value for extension in read.extensions}
    purposes = kinds.get(x509.ExtendedKeyUsage.oid)
    serves = isinstance(purposes, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.SERVER_AUTH in purposes
    if serves and x509.SubjectAlternativeName.oid not in kinds:
        yield Told("it names no host", "Name them under hosts in site.yaml, and provision again")


@certificate_rules.warning("good-for-both-sides")
def good_for_both_sides(file: CertificateFile) -> Iterator[Told]:
    """A node with such a certificate can pose as the broker."""
    read = file.read()
    if read is None or _is_authority(read):
        return
    try:
        purposes = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        yield Told("it may serve as a broker's and as a client's", RENEW)
        return
    if {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(purposes):
        yield Told("it may serve as a broker's and as a client's", RENEW)


@revocation_rules.error("revocation-list-unusable")
def revocation_list_unusable(file: RevocationFile) -> Iterator[Told]:
    """With a list that is damaged, expired or not yet good Mosquitto refuses everybody."""
    again = "tierwise broker provision writes it anew"
    try:
        read = x509.load_pem_x509_crl(file.content)
    except DAMAGED:
        yield Told("this is no revocation list", again)
        return
    if read.next_update_utc is not None and read.next_update_utc <= file.now:
        yield Told(f"it expired on {read.next_update_utc:%Y-%m-%d}", again)
    if read.last_update_utc > file.now:
        yield Told(f"it begins on {read.last_update_utc:%Y-%m-%d}", f"Set this machine's clock; {again}")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's warnings about certificates that others made: they are for programmers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
