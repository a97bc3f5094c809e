"""`tierwise-agent check` connects as the node would, and tells what keeps it from working with its broker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from benchmarks.access_matrix.party import Party
from benchmarks.access_matrix.site import HOST, Site, provisioned, running_site
from broker.access import Role
from broker.identity.accounts import Account
from broker.identity.revoking import revoke
from broker.ports import free_port
from broker.tls import names_in_certificate
from broker.vocabulary import NodeId, SiteId
from configs.loader import load
from configs.node import NodeConfig
from device_agent.connection_check import ConnectionCheck, check_connection
from device_agent.running import announced, is_running

HOME, S1, S2, EDGE = SiteId("home"), NodeId("s1"), NodeId("s2"), NodeId("edge")
ACCOUNTS = [Account(S1, Role.END_DEVICE), Account(S2, Role.END_DEVICE), Account(EDGE, Role.SERVING_NODE)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with accounts; no test changes it."""
    with running_site(tmp_path_factory.mktemp("secured"), HOME, ACCOUNTS) as site:
        yield site


@dataclass(frozen=True)
class NodeFolder:
    """A node's folder of its own, whose file a test may spoil."""

    folder: Path

    def write(self, **changes: object) -> NodeConfig:
        """`changes` go into the file, those of `broker` into its section; None removes a key."""
        file = self.folder / "node.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["broker"] |= changes.pop("broker", {})
        content |= changes
        content["broker"] = {key: value for key, value in content["broker"].items() if value is not None}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return load(file, NodeConfig)


@pytest.fixture
def of_node(secured: Site, tmp_path: Path) -> Callable[[NodeId, str], NodeFolder]:
    """`of_node(S1, "end")`: a copy of that node's folder, with a file that is right."""

    def make(name: NodeId, tier: str) -> NodeFolder:
        folder = tmp_path / name
        shutil.copytree(secured.tls(name).ca_file.parent, folder)
        tls = {"ca_file": "ca.crt", "certificate_file": "client.crt", "key_file": "client.key"}
        broker = {"host": HOST, "port": secured.process.endpoint.port, "tls": tls}
        content = {"version": 1, "site": "home", "node": str(name), "tier": tier, "broker": broker}
        (folder / "node.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return NodeFolder(folder)

    return make


def told(found: ConnectionCheck) -> str:
    return " | ".join(str(fault) for fault in found.faults)


@pytest.mark.mosquitto
@pytest.mark.parametrize(("name", "tier"), [(S1, "end"), (EDGE, "edge")])
def test_a_node_that_is_right_has_no_faults(of_node, name, tier) -> None:
    """On every tier: its own subscriptions are granted, and its own topic takes what it publishes."""
    found = check_connection(of_node(name, tier).write())

    assert () == found.faults
    assert "lets this node in, and is this site's (TLSv1.3)" in found.summary


@pytest.mark.mosquitto
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"site": "lab"}, "client.crt is of site home: set site: home"),
        ({"node": "s2"}, "client.crt is that of s1: set node: s1, or use the folder of s2"),
        ({"broker": {"tls": None}}, "takes TLS connections only, and broker.tls is missing"),
        ({"tier": "edge"}, "refuses s1 to subscribe to tierwise/v1/home/s1/infer/"),
    ],
)
def test_what_keeps_a_node_from_working_is_a_fault(of_node, changes, says) -> None:
    """A wrong site or node id, no TLS on a port with TLS, or a tier that its account is not for."""
    assert says in told(check_connection(of_node(S1, "end").write(**changes)))


@pytest.mark.mosquitto
@pytest.mark.parametrize("site", ["home", "lab"])
def test_another_authority_is_a_fault(of_node, tmp_path, site) -> None:
    """That of another site, and a new one of the same."""
    other, wanted = provisioned(tmp_path / "other", SiteId(site), ACCOUNTS)
    files = Site(other, wanted, None).tls(S1)
    node = of_node(S1, "end")
    for file in (files.ca_file, files.certificate_file, files.key_file):
        shutil.copy(file, node.folder)

    found = told(check_connection(node.write()))

    assert "is not trusted: " in found
    assert "the broker is of another site, or ca.crt is: copy it again" in found


@pytest.mark.mosquitto
def test_a_broker_that_does_not_know_the_authority_is_a_fault(of_node, tmp_path) -> None:
    """The node trusts the broker, and not the other way round."""
    other, wanted = provisioned(tmp_path / "other", HOME, ACCOUNTS)
    files = Site(other, wanted, None).tls(S1)
    node = of_node(S1, "end")
    for file in (files.certificate_file, files.key_file):
        shutil.copy(file, node.folder)

    assert "does not let this node in: " in told(check_connection(node.write()))


@pytest.mark.mosquitto
def test_without_names_in_the_certificate_the_brokers_refusal_is_told(of_node, monkeypatch) -> None:
    """An authority that others made names no site: then what the broker answers a publish decides."""
    monkeypatch.setattr("device_agent.connection_check.names_in_certificate", lambda _file: ("", ""))
    monkeypatch.setattr("device_agent.connection_check._own_filters", lambda _config: ["tierwise/v1/home/s1/decision"])

    found = told(check_connection(of_node(S1, "end").write(node="s9")))

    assert "refuses s9 to publish on tierwise/v1/home/s9/pong (Not authorized): site and node must be" in found


@pytest.mark.mosquitto
def test_tls_on_a_port_without_is_a_fault(of_node, mosquitto_endpoint) -> None:
    """The other way round."""
    config = of_node(S1, "end").write(broker={"port": mosquitto_endpoint.port})

    assert "if that is its port without TLS, remove broker.tls" in told(check_connection(config))


@pytest.mark.mosquitto
def test_a_revoked_node_is_told(tmp_path) -> None:
    """Once the broker has read the list."""
    with running_site(tmp_path, HOME, ACCOUNTS) as site:
        revoke(site.folder, S1, datetime.now(UTC), None)
        site.process.stop()
        site.process.start()
        tls = site.tls(S1)
        section = {"ca_file": tls.ca_file, "certificate_file": tls.certificate_file, "key_file": tls.key_file}
        broker = {"host": HOST, "port": site.process.endpoint.port, "tls": section}
        config = NodeConfig.model_validate(
            {"version": 1, "site": "home", "node": "s1", "tier": "end", "broker": broker}
        )
        found = told(check_connection(config))

    assert "certificate revoked" in found


@pytest.mark.mosquitto
def test_a_running_agent_keeps_its_connection(of_node, secured) -> None:
    """A second connection with its certificate would end it: then the handshake alone is tried, and that is said."""
    config = of_node(S2, "end").write()
    with Party(replace(secured.endpoint(S2), host=HOST)) as agent:
        with announced(config) as alone:
            found = check_connection(config)
            alive = agent.is_alive()
        took_over = check_connection(config)
        ended = agent.ended.wait(20.0)

    assert (True, ()) == (alone, found.faults)
    assert "the connection was not tried, because an agent of this node runs here" in found.summary
    assert (True, (), True) == (alive, took_over.faults, ended)


def test_an_agent_is_seen_while_it_runs_and_no_longer(tmp_path) -> None:
    """By other processes; by one of another site or broker it is not taken for it."""
    config = NodeConfig.model_validate(
        {"version": 1, "site": "home", "node": "s1", "tier": "end", "broker": {"port": free_port()}}
    )
    other = config.model_copy(update={"site": SiteId("lab")})
    with announced(config) as first, announced(config) as second:
        during = (is_running(config), is_running(other))

    assert (True, False) == (first, second)
    assert ((True, False), False) == (during, is_running(config))


@pytest.mark.mosquitto
def test_on_a_plain_broker_a_check_ends_no_connection(mosquitto_endpoint, site) -> None:
    """It has a client id of its own there."""
    broker = {"host": mosquitto_endpoint.host, "port": mosquitto_endpoint.port}
    config = NodeConfig.model_validate({"version": 1, "site": site, "node": "s1", "tier": "end", "broker": broker})
    found = check_connection(config)

    assert () == found.faults
    assert "lets this node in: it may subscribe and publish" in found.summary


def test_a_broker_that_is_away_is_no_fault(tmp_path) -> None:
    """Agents wait for it."""
    broker = {"host": "127.0.0.1", "port": free_port()}
    config = NodeConfig.model_validate({"version": 1, "site": "home", "node": "s1", "tier": "end", "broker": broker})
    found = check_connection(config)

    assert () == found.faults
    assert "does not answer now (Connection refused); the agent would wait" in found.summary


def test_the_names_in_a_certificate_are_read_without_a_library_for_them(tmp_path) -> None:
    """Long ones too; a file that is none has none."""
    site, node = SiteId("h" * 50), NodeId("n" * 63)
    folder, wanted = provisioned(tmp_path, site, [Account(node, Role.END_DEVICE)])
    files = Site(folder, wanted, None).tls(node)

    assert (site, node) == names_in_certificate(files.certificate_file)
    assert ("", "") == names_in_certificate(files.key_file) == names_in_certificate(tmp_path / "none")


@pytest.mark.mosquitto
@pytest.mark.models
def test_the_command_fails_with_the_reason(of_node) -> None:
    """Exit code 1, one line on standard error, and nothing of the connection on standard output."""
    node = of_node(S1, "end")
    node.write(site="lab", models={"pool": ["d7"]})
    words = [sys.executable, "-m", "device_agent", "check", "--config", str(node.folder / "node.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    node.write(site="home")
    right = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)

    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "set site: home" in done.stderr
    assert (0, "") == (right.returncode, right.stderr)
    assert "lets this node in" in right.stdout
