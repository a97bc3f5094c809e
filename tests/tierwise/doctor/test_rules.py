"""Every rule of the doctor finds its bad example, and none finds anything in what we write ourselves."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.access import Role
from broker.identity.accounts import ADMIN, Account
from broker.identity.authority import Authority
from broker.identity.dynsec import configuration
from broker.mosquitto_settings import MosquittoSettings, render
from broker.vocabulary import NodeId, SiteId
from tests.tierwise.doctor.test_yaml_rules import YAML_EXAMPLES
from tierwise.doctor.account_rules import Accounts, account_rules
from tierwise.doctor.broker_rules import broker_rules
from tierwise.doctor.conf import parse
from tierwise.doctor.examine import ALL_RULES
from tierwise.doctor.finding import Rules
from tierwise.doctor.key_rules import (
    CertificateFile,
    RevocationFile,
    SecretFile,
    certificate_rules,
    revocation_rules,
    secret_rules,
)
from tierwise.doctor.limit_rules import limit_rules

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LOG_RULES = ["session-taken-over"]  # test_log_rules.py
HOME, S1, EDGE = SiteId("home"), NodeId("s1"), NodeId("edge")
AUTHORITY = Authority.create(HOME, NOW, 1000)
CA = AUTHORITY.pem().certificate
PAIR = AUTHORITY.issue_client(S1, NOW, 100)
BROKER = AUTHORITY.issue_broker(NodeId("broker"), ["edge.local"], NOW, 100)
ACCOUNTS = [Account(S1, Role.END_DEVICE), Account(EDGE, Role.SERVING_NODE), Account(NodeId("boss"), Role.OPERATOR)]


def found_by(rules: Rules[Any], thing: Any) -> set[str]:
    """Names of the rules that find something."""
    return {finding.rule for finding in rules.judge(Path("file"), thing)}


@pytest.fixture
def good_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A secured mosquitto.conf for every address, as we write it when we are not root."""
    for name in ("ca.crt", "broker.crt", "broker.key", "crl.pem", "dynamic-security.json", "plugin.so"):
        (tmp_path / name).touch()
    monkeypatch.setattr("broker.mosquitto_settings.find_plugin", lambda: tmp_path / "plugin.so")
    monkeypatch.setattr("broker.mosquitto_settings.os.geteuid", lambda: 1000)
    return render(MosquittoSettings(directory=tmp_path, host="0.0.0.0", port=8883, identity=tmp_path))


def without(*lines: str) -> Callable[[str], str]:
    return lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(tuple(f"{key} " for key in lines))
    )


def changed(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def plus(line: str) -> Callable[[str], str]:
    return lambda text: f"{text}{line}\n"


BROKER_EXAMPLES: dict[str, Callable[[str], str]] = {
    "anonymous-access": changed("allow_anonymous false", "allow_anonymous true"),
    "plain-listener": plus("listener 1883"),
    "no-client-certificate": changed("require_certificate true", "require_certificate false"),
    "old-tls": changed("tlsv1.2", "tlsv1.1"),
    "no-revocation-list": without("crlfile"),
    "name-not-from-certificate": without("use_identity_as_username"),
    "client-id-takeover": without("use_username_as_clientid"),
    "no-access-rules": without("plugin", "plugin_opt_config_file"),
    "acl-file": plus("acl_file /dev/null"),
    "password-file": plus("password_file /dev/null"),
    "settings-per-listener": changed("per_listener_settings false", "per_listener_settings true"),
    "runs-as-root": plus("user root"),
    "file-missing": changed("crl.pem", "other.pem"),
    "includes": plus("include_dir /etc/mosquitto/conf.d"),
}
LIMIT_EXAMPLES: dict[str, Callable[[str], str]] = {
    "no-delay": without("set_tcp_nodelay"),
    "packet-size-unlimited": without("max_packet_size"),
    "packet-size-too-small": changed("max_packet_size 300000", "max_packet_size 100000"),
    "queue-bytes-unlimited": changed("max_queued_bytes 50000000", "max_queued_bytes 0"),
    "queue-length-unlimited": changed("max_queued_messages 1000", "max_queued_messages 0"),
    "connections-unlimited": without("max_connections"),
    "keep-alive-unlimited": changed("max_keepalive 60", "max_keepalive 0"),
    "quality-of-service": changed("max_qos 1", "max_qos 2"),
}


@pytest.mark.parametrize("name", BROKER_EXAMPLES)
def test_a_bad_mosquitto_conf_is_found(good_conf, name):
    """The good one is not; the bad one differs in one thing."""
    assert set() == found_by(broker_rules, parse(good_conf))
    assert name in found_by(broker_rules, parse(BROKER_EXAMPLES[name](good_conf)))


@pytest.mark.parametrize("name", LIMIT_EXAMPLES)
def test_a_bad_limit_is_found(good_conf, name):
    """And that one alone."""
    assert set() == found_by(limit_rules, parse(good_conf))
    assert {name} == found_by(limit_rules, parse(LIMIT_EXAMPLES[name](good_conf)))


def test_the_plain_broker_of_the_demo_is_not_reproached_with_being_open(tmp_path):
    """On loopback, accounts and TLS protect nobody from anybody."""
    text = render(MosquittoSettings(directory=tmp_path, port=1883))

    assert set() == found_by(broker_rules, parse(text))


@pytest.mark.parametrize("host", ["", " 0.0.0.0", " 192.168.1.10", "\nbind_address 10.0.0.1"])
def test_an_open_broker_of_old_is_found_at_every_address(host):
    """What many an installation begins with, and the line to look at."""
    conf = parse(f"listener 1883{host}\nallow_anonymous true\n")
    told = {finding.rule: finding.place for finding in broker_rules.judge(Path("m.conf"), conf)}

    assert {"anonymous-access", "plain-listener", "no-access-rules", "client-id-takeover"} == told.keys()
    assert "m.conf:1" == told["plain-listener"]


@pytest.mark.parametrize("value", ["²", "--5", "9" * 5000, "many", ""])
def test_a_limit_that_is_no_number_is_no_limit(good_conf, value):
    """Mosquitto would refuse it; we say that there is none."""
    text = changed("max_packet_size 300000", f"max_packet_size {value}")(good_conf)

    assert {"packet-size-unlimited"} == found_by(limit_rules, parse(text))


def good_accounts() -> dict[str, Any]:
    return json.loads(configuration(HOME, ACCOUNTS, [NodeId("gone")]))


def _allowing(role: int, kind: str, topic: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["roles"][role]["acls"].append({"acltype": kind, "topic": topic, "allow": True})


ACCOUNT_EXAMPLES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "allowed-by-default": lambda content: content["defaultACLAccess"].update(subscribe=True),
    "anonymous-group": lambda content: content.update(anonymousGroup="everybody"),
    "control-of-accounts": _allowing(1, "publishClientSend", "$CONTROL/#"),
    "more-than-a-site": _allowing(1, "publishClientSend", "tierwise/v1/+/s1/state"),
    "disabled-with-rights": lambda content: content["clients"][1].update(disabled=True),
    "role-of-another": lambda content: content["clients"][1]["roles"].append({"rolename": "admin"}),
    "rights-of-no-role": _allowing(1, "publishClientSend", "tierwise/v1/home/s2/state"),
}


@pytest.mark.parametrize("name", ACCOUNT_EXAMPLES)
def test_a_bad_account_is_found(name):
    """The good ones are not, an operator's wide subscription and the administrator's rights included."""
    bad = good_accounts()
    ACCOUNT_EXAMPLES[name](bad)

    assert set() == found_by(account_rules, Accounts(good_accounts()))
    assert name in found_by(account_rules, Accounts(bad))


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        ("subscribePattern", "#"),
        ("publishClientReceive", "+/v1/#"),
        ("publishClientSend", "tierwise/v1/home/#"),
        ("publishClientReceive", "tierwise/v1/home/s1/#"),
        ("subscribePattern", "tierwise/v1/#"),
    ],
)
def test_a_rule_without_an_end_is_found(kind, topic):
    """Wherever its wildcard stands."""
    bad = good_accounts()
    _allowing(1, kind, topic)(bad)

    assert "more-than-a-site" in found_by(account_rules, Accounts(bad))


def test_an_empty_accounts_file_allows_delivery_by_default():
    """What is left out is allowed there by the plugin."""
    assert {"allowed-by-default"} == found_by(account_rules, Accounts({}))


SECRET_EXAMPLES = {
    "open-to-others": SecretFile("client.key", stat.S_IFREG | 0o640),
    "authority-key-here": SecretFile("ca.key", stat.S_IFREG | 0o600, is_authority=True),
}


@pytest.mark.parametrize("name", SECRET_EXAMPLES)
def test_a_bad_secret_is_found(name):
    """A key of a node that its user alone may read is not."""
    assert set() == found_by(secret_rules, SecretFile("client.key", stat.S_IFREG | 0o600))
    assert {name} == found_by(secret_rules, SECRET_EXAMPLES[name])


def self_signed(key: Any, purposes: Iterable[x509.ObjectIdentifier] = (), names: tuple[str, ...] = ()) -> bytes:
    """A certificate such as other tools make."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s1")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=100))
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if names:
        hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(hosts, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
CERTIFICATE_EXAMPLES: dict[str, Callable[[], CertificateFile]] = {
    "certificate-damaged": lambda: CertificateFile(b"", NOW),
    "certificate-expired": lambda: CertificateFile(PAIR.certificate, NOW + timedelta(days=100)),
    "certificate-expires-soon": lambda: CertificateFile(PAIR.certificate, NOW + timedelta(days=71)),
    "certificate-not-yet-valid": lambda: CertificateFile(PAIR.certificate, NOW - timedelta(days=1)),
    "key-of-another": lambda: CertificateFile(PAIR.certificate, NOW, key=BROKER.key),
    "authority-of-another": lambda: CertificateFile(PAIR.certificate, NOW, authority=BROKER.certificate),
    "weak-key": lambda: CertificateFile(self_signed(rsa.generate_private_key(65537, 1024), [CLIENT]), NOW),
    "broker-without-host": lambda: CertificateFile(self_signed(ec.generate_private_key(ec.SECP256R1()), [SERVER]), NOW),
    "good-for-both-sides": lambda: CertificateFile(self_signed(ec.generate_private_key(ec.SECP256R1())), NOW),
}


@pytest.mark.parametrize("name", CERTIFICATE_EXAMPLES)
def test_a_bad_certificate_is_found(name):
    """And what is bad about it, alone; ours are not."""
    assert set() == found_by(certificate_rules, CertificateFile(PAIR.certificate, NOW, PAIR.key, CA))
    assert set() == found_by(certificate_rules, CertificateFile(BROKER.certificate, NOW, BROKER.key, CA))
    assert set() == found_by(certificate_rules, CertificateFile(CA, NOW))
    assert {name} == found_by(certificate_rules, CERTIFICATE_EXAMPLES[name]())


def test_more_bad_keys_are_found():
    """A curve that is too small, both purposes told, and an authority that is none."""
    small = self_signed(ec.generate_private_key(ec.SECP192R1()), [CLIENT])
    both = self_signed(ec.generate_private_key(ec.SECP256R1()), [CLIENT, SERVER], ("edge",))

    assert {"weak-key"} == found_by(certificate_rules, CertificateFile(small, NOW))
    assert {"good-for-both-sides"} == found_by(certificate_rules, CertificateFile(both, NOW))
    assert {"authority-of-another"} == found_by(
        certificate_rules, CertificateFile(PAIR.certificate, NOW, authority=b"")
    )


@pytest.mark.parametrize(
    "bad",
    [
        RevocationFile(b"", NOW),
        RevocationFile(AUTHORITY.revocation_list({}, NOW), NOW + timedelta(days=1000)),
        RevocationFile(AUTHORITY.revocation_list({}, NOW + timedelta(days=1)), NOW),
    ],
    ids=["damaged", "expired", "not yet good"],
)
def test_a_bad_revocation_list_is_found(bad):
    """It would lock everybody out."""
    assert set() == found_by(revocation_rules, RevocationFile(AUTHORITY.revocation_list({}, NOW), NOW))
    assert {"revocation-list-unusable"} == found_by(revocation_rules, bad)


def test_every_rule_has_a_bad_example():
    """A rule without one could be a rule that finds nothing."""
    examples = [BROKER_EXAMPLES, LIMIT_EXAMPLES, ACCOUNT_EXAMPLES, SECRET_EXAMPLES, CERTIFICATE_EXAMPLES, YAML_EXAMPLES]
    names = [rule.name for rule in ALL_RULES]

    elsewhere = ["revocation-list-unusable", *LOG_RULES]
    assert sorted(names) == sorted([*(name for kind in examples for name in kind), *elsewhere])
    assert all(rule.check.__doc__ for rule in ALL_RULES)


def test_the_administrators_own_rights_are_no_finding():
    """They are wider than anybody's, and described, too."""
    content = good_accounts()

    assert ADMIN == content["roles"][0]["rolename"]
    assert set() == found_by(account_rules, Accounts({**content, "roles": content["roles"][:1]}))
