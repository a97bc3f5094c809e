"""A site's certificate authority: EC P-256, one certificate a name, and the list of those that were revoked.

A node's certificate is good for a client only and the broker's for a server only, so that no node can pose as the
broker. The common name is the node id: Mosquitto takes it for the user name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.errors import IdentityUnusable
from broker.tls import ISSUER_PREFIX
from broker.vocabulary import NodeId, SiteId

BACKDATED = timedelta(hours=1)  # clocks of a site are seldom further apart
# What reading raises for files of which some bytes are wrong.
DAMAGED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What a certificate says. `serial` is hexadecimal, as in the register; `site` is that of the authority that issued
    it, empty where others made that."""

    name: str
    site: str
    serial: str
    begins: datetime
    expires: datetime
    hosts: frozenset[str]


class Authority:
    """Issues certificates, and the list of revoked ones."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, site: SiteId, now: datetime, valid_days: int) -> Authority:
        """A new one for `site`."""
        key = ec.generate_private_key(ec.SECP256R1())
        # The serial tells two authorities of one site apart: equal names with other keys make confusing errors.
        serial = x509.random_serial_number()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{ISSUER_PREFIX}{site}"[:64]),
                x509.NameAttribute(NameOID.COMMON_NAME, f"authority {serial:x}"[:26]),
            ]
        )
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = _builder(name, name, key.public_key(), serial, now, now + timedelta(days=valid_days))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        subject_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return cls(builder.add_extension(subject_id, critical=False).sign(key, SHA256()), key)

    @classmethod
    def load(cls, pair: Pair) -> Authority:
        """The one whose `pem` this is. Raises IdentityUnusable."""
        try:
            key = load_pem_private_key(pair.key, password=None)
            certificate = x509.load_pem_x509_certificate(pair.certificate)
            belongs = key.public_key() == certificate.public_key()
        except DAMAGED as error:
            raise IdentityUnusable(f"the authority's key or certificate is damaged: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not belongs:
            raise IdentityUnusable("the authority's key does not belong to its certificate")
        return cls(certificate, key)

    @property
    def begins(self) -> datetime:
        """Nothing of its own is good before."""
        return self._certificate.not_valid_before_utc

    @property
    def expires(self) -> datetime:
        """No certificate or list of its outlives it."""
        return self._certificate.not_valid_after_utc

    def pem(self) -> Pair:
        """Certificate and key; the key opens the site to whoever has it."""
        return Pair(self._certificate.public_bytes(Encoding.PEM), _key_pem(self._key))

    def issue_client(self, name: NodeId, now: datetime, valid_days: int) -> Pair:
        """For a node or a person, with a new key."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, (), now, valid_days)

    def issue_broker(self, name: NodeId, hosts: Sequence[str], now: datetime, valid_days: int) -> Pair:
        """For the broker, good for `hosts` (names or addresses) alone, with a new key."""
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, hosts, now, valid_days)

    def revocation_list(self, revoked: Mapping[str, datetime], now: datetime) -> bytes:
        """PEM; `revoked` tells when each serial number was revoked.

        It is good for as long as the authority: with an older one Mosquitto would refuse everybody.
        """
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        # A clock that is far ahead must not keep a list from being made: the live session has ended by then.
        begins = min(now, self.expires) - BACKDATED
        builder = builder.last_update(begins).next_update(self.expires)
        for serial, when in sorted(revoked.items()):
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(when).build()
            builder = builder.add_revoked_certificate(entry)
        number = x509.CRLNumber(int(now.timestamp() * 1000))
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(number, critical=False).add_extension(issuer, critical=False)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def issued(self, certificate: bytes) -> bool:
        """Whether this authority signed `certificate` (PEM)."""
        try:
            x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(self._certificate)
        except (*DAMAGED, InvalidSignature):
            return False
        return True

    def _issue(
        self, name: NodeId, purpose: x509.ObjectIdentifier, hosts: Sequence[str], now: datetime, valid_days: int
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        expires = min(now + timedelta(days=valid_days), self.expires)
        serial = x509.random_serial_number()
        builder = _builder(subject, self._certificate.subject, key.public_key(), serial, now, expires)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return Pair(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM), _key_pem(key))


def facts(certificate: bytes) -> Facts:
    """What `certificate` (PEM) says. Raises IdentityUnusable."""
    try:
        read = x509.load_pem_x509_certificate(certificate)
        names = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return Facts(
            name=str(names[0].value) if names else "",
            site=_site(read.issuer),
            serial=f"{read.serial_number:x}",
            begins=read.not_valid_before_utc,
            expires=read.not_valid_after_utc,
            hosts=frozenset(_hosts(read)),
        )
    except DAMAGED as error:
        raise IdentityUnusable(f"not a certificate: {error}") from error


def issued_by(certificate: bytes, authority: bytes) -> bool:
    """Whether `authority` signed `certificate` (both PEM); False, too, for what is neither."""
    try:
        signer = x509.load_pem_x509_certificate(authority)
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(signer)
    except (*DAMAGED, InvalidSignature):
        return False
    return True


def key_belongs(pair: Pair) -> bool:
    """Whether the key of `pair` is that of its certificate; False, too, for what is neither."""
    try:
        key = load_pem_private_key(pair.key, password=None)
        return key.public_key() == x509.load_pem_x509_certificate(pair.certificate).public_key()
    except DAMAGED:
        return False


def revoked_serials(revocation_list: bytes) -> tuple[frozenset[str], datetime]:
    """The serial numbers on a list (PEM), and when it expires. Raises IdentityUnusable."""
    try:
        read = x509.load_pem_x509_crl(revocation_list)
    except DAMAGED as error:
        raise IdentityUnusable(f"not a revocation list: {error}") from error
    return frozenset(f"{entry.serial_number:x}" for entry in read), read.next_update_utc or datetime.max.replace(
        tzinfo=UTC
    )


def as_certified(hosts: Sequence[str]) -> frozenset[str]:
    """`hosts` as `facts` tells them of a certificate that was issued for them: addresses have several spellings."""
    return frozenset(str(_host(host).value) for host in hosts)


def _site(issuer: x509.Name) -> str:
    names = issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    name = str(names[0].value) if names else ""
    return name.removeprefix(ISSUER_PREFIX) if name.startswith(ISSUER_PREFIX) else ""


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    now: datetime,
    expires: datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(serial).not_valid_before(now - BACKDATED).not_valid_after(expires)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
