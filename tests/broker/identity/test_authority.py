"""Certificates, keys and the list of revoked ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.errors import IdentityUnusable
from broker.identity.authority import BACKDATED, Authority, Pair, as_certified, facts, key_belongs, revoked_serials
from broker.vocabulary import NodeId, SiteId

HOME, S1 = SiteId("home"), NodeId("s1")


@pytest.fixture
def authority(now) -> Authority:
    """Good for a hundred days."""
    return Authority.create(HOME, now, 100)


def test_a_clients_certificate_is_its_name_and_good_for_a_client_alone(authority, now):
    """EC P-256; the common name is the node id; no other purpose."""
    pair = authority.issue_client(S1, now, 10)
    extensions = x509.load_pem_x509_certificate(pair.certificate).extensions
    key = load_pem_private_key(pair.key, password=None)

    assert "s1" == facts(pair.certificate).name
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert [ExtendedKeyUsageOID.CLIENT_AUTH] == list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert authority.issued(pair.certificate)
    assert key_belongs(pair)


def test_the_brokers_certificate_names_its_hosts(authority, now):
    """Names and addresses, each as what it is."""
    pair = authority.issue_broker(NodeId("broker"), ["edge.local", "192.168.1.10", "::1"], now, 10)
    names = x509.load_pem_x509_certificate(pair.certificate).extensions
    alternatives = names.get_extension_for_class(x509.SubjectAlternativeName).value

    assert ["edge.local"] == alternatives.get_values_for_type(x509.DNSName)
    assert ["192.168.1.10", "::1"] == [str(found) for found in alternatives.get_values_for_type(x509.IPAddress)]


def test_a_certificate_never_outlives_its_authority(authority, now):
    """A year was asked for, and the authority has a hundred days."""
    told = facts(authority.issue_client(S1, now, 365).certificate)

    assert now + timedelta(days=100) == told.expires == authority.expires
    assert now - BACKDATED == told.begins


def test_an_authority_survives_being_written_and_read(authority, now):
    """What the loaded one issues is of the same authority."""
    again = Authority.load(authority.pem())

    assert authority.issued(again.issue_client(S1, now, 10).certificate)


def test_another_authority_issued_nothing_of_ours(authority, now):
    """Though it has the same site's name."""
    assert not Authority.create(HOME, now, 100).issued(authority.issue_client(S1, now, 10).certificate)
    assert not authority.issued(b"not a certificate")


def test_the_list_of_revoked_ones_holds_as_long_as_the_authority(authority, now):
    """An expired list would make Mosquitto refuse everybody."""
    serials = {facts(authority.issue_client(S1, now, 10).certificate).serial for _ in range(3)}
    listed, until = revoked_serials(authority.revocation_list(dict.fromkeys(serials, now), now))

    assert serials == listed
    assert authority.expires == until


@pytest.mark.parametrize("part", ["certificate", "key"])
def test_damaged_files_are_named_as_such(authority, now, part):
    """Neither a traceback nor a new authority in silence."""
    pem = authority.pem()
    broken = Pair(b"x", pem.key) if part == "certificate" else Pair(pem.certificate, b"x")

    with pytest.raises(IdentityUnusable, match="damaged"):
        Authority.load(broken)
    with pytest.raises(IdentityUnusable, match="not a certificate"):
        facts(b"x")
    with pytest.raises(IdentityUnusable, match="not a revocation list"):
        revoked_serials(b"x")
    assert not key_belongs(broken)


def test_the_key_of_another_authority_is_refused(authority, now):
    """Two copies that were mixed up must not sign anything."""
    with pytest.raises(IdentityUnusable, match="does not belong"):
        Authority.load(Pair(authority.pem().certificate, Authority.create(HOME, now, 1).pem().key))


def test_two_spellings_of_an_address_are_one(authority, now):
    """So a broker's certificate is not issued anew at each run because the site's file spells it otherwise."""
    hosts = ["FD00:0::1", "127.0.0.1", "edge.local"]
    pair = authority.issue_broker(NodeId("broker"), hosts, now, 10)

    assert as_certified(hosts) == facts(pair.certificate).hosts == {"fd00::1", "127.0.0.1", "edge.local"}
