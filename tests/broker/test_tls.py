"""The client's side of TLS: which files it takes, and what it says of those that it does not."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.access_matrix.site import HOST, Site, provisioned, running_site
from broker.access import Role
from broker.client import Endpoint, MqttClient
from broker.errors import NotConnected, TlsUnusable
from broker.identity.accounts import Account, SiteAccounts
from broker.identity.authority import facts
from broker.identity.folder import Folder
from broker.identity.provisioning import provision
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.tls import Tls, why_no_link
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, SiteId
from configs.node import BrokerSection, NodeConfig, TlsSection
from device_agent.check import _faults_of_broker

HOME, S1 = SiteId("home"), NodeId("s1")
WAIT_S = 120.0


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """Of one provisioned device."""
    folder, _ = provisioned(tmp_path, HOME, [Account(S1, Role.END_DEVICE)])
    return Tls.in_directory(folder.of(S1, Role.END_DEVICE))


def test_the_context_checks_certificate_and_host_name(tls):
    """And takes nothing below TLS 1.2."""
    context = tls.context()

    assert context.check_hostname
    assert ssl.CERT_REQUIRED is context.verify_mode
    assert ssl.TLSVersion.TLSv1_2 is context.minimum_version


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_open_is_refused(tls, mode):
    """With the command that mends it."""
    tls.key_file.chmod(mode)

    with pytest.raises(TlsUnusable, match=f"chmod 600 {tls.key_file}"):
        tls.context()


@pytest.mark.parametrize("name", ["ca_file", "certificate_file", "key_file"])
def test_a_missing_file_is_named(tls, name):
    """That file, not another one."""
    getattr(tls, name).unlink()

    with pytest.raises(TlsUnusable, match=f"{getattr(tls, name)} is not there"):
        tls.context()


@pytest.mark.parametrize(
    ("name", "says"),
    [("ca_file", "holds no certificate"), ("certificate_file", "do not fit"), ("key_file", "do not fit")],
)
def test_a_damaged_file_is_told(tls, name, says):
    """No question on the terminal, no traceback."""
    getattr(tls, name).write_bytes(b"damaged")

    with pytest.raises(TlsUnusable, match=says):
        tls.context()


def test_a_key_of_another_certificate_is_told(tls, tmp_path):
    """Two folders were mixed up."""
    folder, _ = provisioned(tmp_path / "other", HOME, [Account(S1, Role.END_DEVICE)])
    mixed = replace(tls, key_file=Tls.in_directory(folder.of(S1, Role.END_DEVICE)).key_file)

    with pytest.raises(TlsUnusable, match="do not fit together"):
        mixed.context()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_another_user_is_told(tls):
    """Not as missing."""
    tls.certificate_file.chmod(0)

    with pytest.raises(TlsUnusable, match="belongs to another user"):
        tls.context()


def test_a_process_checks_its_files_at_its_start(tls):
    """So that a mistake is one line at once, not a warning every two seconds."""
    section = TlsSection(ca_file=tls.ca_file, certificate_file=tls.certificate_file, key_file=tls.key_file)
    endpoint = BrokerSection(tls=section).endpoint()
    tls.key_file.chmod(stat.S_IRWXU | stat.S_IRGRP)

    assert tls == endpoint.tls
    assert BrokerSection().endpoint().tls is None
    with pytest.raises(TlsUnusable, match="chmod 600"):
        BrokerSection(tls=section).endpoint()


@pytest.mark.mosquitto
def test_a_client_takes_a_renewed_certificate_at_its_next_connection(tmp_path):
    """The agent need not be started again; meanwhile a file that is half copied is only waited for."""
    with running_site(tmp_path, HOME, [Account(S1, Role.END_DEVICE)]) as site:
        served = asyncio.run(_renewed_while_running(site))
        issued = facts(site.tls(S1).certificate_file.read_bytes()).serial

    assert issued == served


async def _renewed_while_running(site: Site) -> str:
    """The serial number of the certificate that the client shows after its second connection."""
    endpoint = replace(site.endpoint(S1), reconnect_min_s=0.05, reconnect_max_s=0.1)
    client = MqttClient(endpoint, HOME, S1, "test")
    shown: list[bytes] = []
    client.on_connect.append(lambda: shown.append(site.tls(S1).certificate_file.read_bytes()))
    away = asyncio.Event()
    client.on_disconnect.append(away.set)
    running = asyncio.create_task(client.run(), name="run s1")
    try:
        await client.wait_connected(WAIT_S)
        site.tls(S1).certificate_file.write_bytes(b"half copied")
        site.process.stop()
        await asyncio.wait_for(away.wait(), WAIT_S)
        provision(site.folder, site.wanted, datetime.now(UTC), frozenset())
        site.process.start()
        await client.wait_connected(WAIT_S)
    finally:
        await client.stop()
        await running
    return facts(shown[-1]).serial


@pytest.mark.mosquitto
def test_a_refused_subscription_is_logged_with_its_filter(tmp_path, caplog):
    """Whoever wrote a node sees what it may not read; what it may read arrives all the same."""
    with running_site(tmp_path, HOME, [Account(S1, Role.END_DEVICE)]) as site:
        asyncio.run(_subscribed_to_too_much(site))

    assert ["tierwise/v1/home/+/report"] == [
        word.removeprefix("filter=")
        for record in caplog.records
        if record.getMessage().startswith("subscription_refused")
        for word in record.getMessage().split()
        if word.startswith("filter=")
    ]


async def _subscribed_to_too_much(site: Site) -> None:
    client = MqttClient(site.endpoint(S1), HOME, S1, "test")
    for node, channel in ((S1, Channel.DECISION), (None, Channel.REPORT)):
        client.subscribe(filter_for(HOME, channel, node), channel, lambda _: None)
    running = asyncio.create_task(client.run(), name="run s1")
    try:
        await client.wait_connected(WAIT_S)
    finally:
        await client.stop()
        await running


@pytest.mark.mosquitto
def test_an_agents_check_tells_whether_the_broker_is_its_sites(tmp_path, capsys):
    """With TLS and its files; a broker that is not trusted, and what is wrong with the files, are its faults."""
    with running_site(tmp_path, HOME, [Account(S1, Role.END_DEVICE)]) as site:
        broker = {"port": site.process.endpoint.port, "tls": asdict(site.tls(S1))}
        right = _faults_of_broker(_node(broker))
        other_host = _faults_of_broker(_node({**broker, "host": "localhost"}))
        site.tls(S1).key_file.chmod(0o644)
        fault = _faults_of_broker(_node(broker))

    assert [] == right
    assert "is this site's (TLSv1.3)" in capsys.readouterr().out
    assert ["certificate is not valid for 'localhost'" in str(error) for error in other_host] == [True]
    assert ["chmod 600" in str(error) for error in fault] == [True]


def _node(broker: dict[str, object]) -> NodeConfig:
    return NodeConfig.model_validate({"version": 1, "site": "home", "node": "s1", "tier": "end", "broker": broker})


@pytest.mark.mosquitto
def test_a_machine_with_a_wrong_clock_is_told_to_set_it(tmp_path: Path) -> None:
    """To a board that starts in 1970 every certificate is one of the future, as this broker's is to us."""
    folder, wanted = Folder(tmp_path / "site"), SiteAccounts(HOME, (HOST,), 8883, (Account(S1, Role.END_DEVICE),))
    provision(folder, wanted, datetime.now(UTC) + timedelta(days=400), frozenset())
    with MosquittoProcess(MosquittoSettings(directory=tmp_path / "broker", identity=folder.broker)) as process:
        port = process.endpoint.port
        endpoint = Endpoint(HOST, port, tls=Tls.in_directory(folder.of(S1, Role.END_DEVICE)))
        told = asyncio.run(asyncio.wait_for(_told(MqttClient(endpoint, HOME, S1, "agent")), WAIT_S))

    assert told.startswith(f"no broker at {endpoint}: ")
    assert "not yet valid" in told
    assert "set this machine's clock" in told


async def _told(client: MqttClient) -> str:
    """Why it is not connected, as soon as it knows."""
    running = asyncio.create_task(client.run(), name="run s1")
    told = ""
    try:
        while "certificate" not in told:
            with pytest.raises(NotConnected) as raised:
                await client.wait_connected(0.05)
            told = str(raised.value)
    finally:
        await client.stop()
        await running
    return told


@pytest.mark.parametrize(
    ("code", "mend"), [(10, "broker renew"), (20, "copy it again"), (62, "under hosts"), (99, "odd")]
)
def test_what_is_wrong_with_the_brokers_certificate_is_told_with_what_mends_it(code: int, mend: str) -> None:
    """What nobody can tell how to mend is told as OpenSSL does."""
    error = ssl.SSLCertVerificationError("odd")
    error.verify_code = code

    assert mend in why_no_link(error)
    assert "odd" == why_no_link(OSError("odd"))
