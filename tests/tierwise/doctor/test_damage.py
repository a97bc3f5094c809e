"""Certificates, keys and lists of which a byte is wrong."""

from __future__ import annotations

import base64

import pytest

from tests.tierwise.doctor.test_rules import AUTHORITY, CA, NOW, PAIR, found_by
from tierwise.doctor.key_rules import CertificateFile, RevocationFile, certificate_rules, revocation_rules


@pytest.mark.parametrize("damaged", range(3))
def test_damage_of_a_single_byte_never_ends_the_examination(damaged):
    """Anywhere in a certificate, a key or a list; in a certificate it is found wherever it is, by the signature."""
    content = [PAIR.certificate, PAIR.key, AUTHORITY.revocation_list({"1f": NOW}, NOW)][damaged]
    first, *body, last = content.decode().splitlines()
    der = base64.b64decode("".join(body))
    for place in range(0, len(der), 2):
        wrong = base64.encodebytes(der[:place] + bytes([der[place] ^ 0x55]) + der[place + 1 :]).decode()
        pem = f"{first}\n{wrong}{last}\n".encode()
        certificate, key = (pem, PAIR.key) if damaged == 0 else (PAIR.certificate, pem)
        told = found_by(certificate_rules, CertificateFile(certificate, NOW, key, CA))
        found_by(revocation_rules, RevocationFile(pem, NOW))
        assert damaged > 0 or {"certificate-damaged", "authority-of-another"} & told
