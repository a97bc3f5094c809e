"""Who gets a connection to the secured broker, and which broker gets one of ours."""

from __future__ import annotations

import ssl
from dataclasses import replace

from benchmarks.access_matrix.handshakes import ACCEPTED, attempt, bad_handshakes, bare_handshake
from benchmarks.access_matrix.site import Site
from broker.identity.folder import BROKER_CERTIFICATE, BROKER_KEY
from broker.mosquitto import MosquittoProcess
from broker.vocabulary import NodeId

S1, S2 = NodeId("s1"), NodeId("s2")


def test_a_node_of_the_site_gets_in(own_site: Site) -> None:
    """With its own certificate, at the broker's own address."""
    assert ACCEPTED == attempt(own_site.endpoint(S1))
    assert ACCEPTED == bare_handshake(own_site, S1, ssl.TLSVersion.TLSv1_2)


def test_bad_handshakes_are_refused_for_what_is_bad_about_them(own_site: Site) -> None:
    """Eight of eight, each with its own reason; and who may connect still does."""
    reasons = {
        "revoked": "certificate revoked",
        "other authority": "unknown ca",
        "expired": "certificate expired",
        "not yet valid": "bad certificate",
        "no certificate": "handshake failure",
        "plain TCP": "before it was accepted",
        "TLS 1.1": "protocol version",
        "broker with another host name": "Hostname mismatch",
    }
    told = bad_handshakes(own_site, S1)

    assert reasons.keys() == told.keys()
    assert {} == {name: told[name] for name, reason in reasons.items() if reason not in told[name]}
    assert ACCEPTED == attempt(own_site.endpoint(S1))


def test_a_nodes_certificate_makes_no_broker(own_site: Site) -> None:
    """A node that listens where the broker should is refused by clients: its certificate is good for clients only."""
    thief = own_site.tls(S2)
    for name, file in ((BROKER_CERTIFICATE, thief.certificate_file), (BROKER_KEY, thief.key_file)):
        (own_site.folder.broker / name).write_bytes(file.read_bytes())
    own_site.process.start()

    assert "unsuitable certificate purpose" in attempt(own_site.endpoint(S1))


def test_a_broker_of_another_site_is_refused(own_site: Site, tmp_path) -> None:
    """Whom nobody trusts cannot take a node's messages."""
    from benchmarks.access_matrix.site import provisioned

    folder, _ = provisioned(tmp_path / "other", own_site.wanted.site, [])
    settings = replace(own_site.process.settings, identity=folder.broker, directory=tmp_path / "other-broker")
    with MosquittoProcess(settings) as stranger:
        told = attempt(replace(own_site.endpoint(S1), port=stranger.endpoint.port))

    assert "certificate verify failed" in told
