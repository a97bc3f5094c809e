"""`tierwise broker provision`, `renew`, `revoke` and `status`, as whoever runs a site types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from benchmarks.access_matrix.handshakes import ACCEPTED, attempt
from benchmarks.access_matrix.party import Party
from broker.endpoint import Endpoint
from broker.identity.folder import Folder
from broker.ports import free_port
from broker.tls import Tls
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId, SiteId
from configs.loader import load
from configs.mosquitto import MosquittoConfig
from configs.node import BrokerSection, TlsSection
from configs.site import SiteConfig
from tests.commands import tierwise
from tierwise.node_files import bring_up_to_date
from tierwise.person import endpoint_of
from tierwise.site_accounts import accounts_of
from tierwise.watched_files import WatchedFiles

WAIT_S = 120.0
SITE = """
version: 1
site: home
hosts: [127.0.0.1]
listen: 127.0.0.1
nodes: {end: [s1, s2]}
people: {operators: [alice]}
port: 1
"""
TELEMETRY = topic_for(Address(SiteId("home"), NodeId("s3"), Channel.TELEMETRY))


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    file = tmp_path / "site.yaml"
    file.write_text(SITE, encoding="utf-8")
    return file


@contextmanager
def broker_running(directory: Path, *options: str) -> Iterator[int]:
    """`tierwise broker run` with the file that provisioning wrote, on a free port unless options say; its port."""
    command = [sys.executable, "-m", "tierwise", "broker", "run", "--config", str(directory / "broker" / "broker.yaml")]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(
            [*command, *(options or ("--port", "0"))], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield int(re.search(r"listens on 127\.0\.0\.1:(\d+), for those with", process.stdout.readline())[1])
        finally:
            process.terminate()
            process.wait(WAIT_S)


def endpoint(port: int, folder: Path) -> Endpoint:
    return Endpoint("127.0.0.1", port, tls=Tls.in_directory(folder))


def until(condition: Callable[[], bool]) -> bool:
    """Whether `condition`, which itself takes its time, came true within some hundred attempts."""
    return any(condition() for _ in range(1000))


@pytest.mark.mosquitto
@pytest.mark.slow
def test_a_site_is_provisioned_run_extended_and_cut_without_a_restart(tmp_path: Path, site_file: Path) -> None:
    """A node of a running broker is added and heard; another is revoked, thrown out, and then gets no connection."""
    out = tmp_path / "out"
    made = tierwise("broker", "provision", str(site_file), "--output", str(out), "--json")
    with broker_running(out) as port, Party(endpoint(port, out / "nodes/s1")) as victim:
        here = ["--host", "127.0.0.1", "--port", str(port)]
        site_file.write_text(SITE.replace("s2]", "s2, s3]"), encoding="utf-8")
        added = tierwise("broker", "provision", str(site_file), "--output", str(out), "--json", *here)
        with Party(endpoint(port, out / "people/alice")) as alice, Party(endpoint(port, out / "nodes/s3")) as s3:
            alice.subscribe([TELEMETRY])
            s3.publish([(TELEMETRY, b"here")])
            alice.wait_for(b"here")
        alive = victim.is_alive()
        revoked = tierwise("broker", "revoke", "s1", "--directory", str(out), *here)
        ended = victim.ended.wait(WAIT_S)
        refused = until(lambda: "certificate revoked" in attempt(endpoint(port, out / "nodes/s1")))
        kept = attempt(endpoint(port, out / "nodes/s2"))

    assert ["broker", "admin", "orchestrator", "s1", "s2", "alice"] == json.loads(made.stdout)["issued"]
    assert (["s3"], ["s3"]) == tuple(json.loads(added.stdout)[key] for key in ("issued", "changed_in_broker"))
    assert (0, True) == (revoked.returncode, alive), revoked.stderr
    assert (True, True, ACCEPTED) == (ended, refused, kept)


def test_the_status_shows_who_was_revoked(tmp_path: Path, site_file: Path) -> None:
    """As a table and as JSON; without a broker a revocation changes the files and says what is left to do."""
    out = str(tmp_path / "out")
    tierwise("broker", "provision", str(site_file), "--output", out)
    revoked = tierwise("broker", "revoke", "s2", "--directory", out)
    told = json.loads(tierwise("broker", "status", "--directory", out, "--json").stdout)["accounts"]
    shown = tierwise("broker", "status", "--directory", out)

    assert 1 == revoked.returncode
    assert "s2 may still be connected, no running broker has confirmed the revocation" in revoked.stderr
    assert "Run this again" in revoked.stderr
    assert {"s1": "yes", "s2": "revoked, not yet enforced"}.items() <= {
        row["name"]: row["access"] for row in told
    }.items()
    assert re.search(r"s2 .* revoked", shown.stdout)


@pytest.mark.mosquitto
@pytest.mark.slow
@pytest.mark.parametrize("where", ["in the folder", "beside it", "elsewhere"])
def test_a_revocation_finds_the_broker_by_the_sites_file(tmp_path: Path, site_file: Path, where: str) -> None:
    """Host and port are the site's, also where only the register knows them: the live session ends. Without a broker
    the command fails and the status says so, and the same command again completes it; so does provisioning."""
    port = str(free_port())
    site_file.write_text(SITE.replace("port: 1\n", f"port: {port}\n"), encoding="utf-8")
    out = {"in the folder": tmp_path, "beside it": tmp_path / "out", "elsewhere": tmp_path / "a" / "out"}[where]
    tierwise("broker", "provision", str(site_file), "--output", str(out))

    def status() -> dict[str, str]:
        told = json.loads(tierwise("broker", "status", "--directory", str(out), "--json").stdout)["accounts"]
        return {row["name"]: row["access"] for row in told if row["name"] in ("s1", "s2")}

    with broker_running(out, "--port", port) as number, Party(endpoint(number, out / "nodes/s1")) as victim:
        revoked = tierwise("broker", "revoke", "s1", "--directory", str(out))
        ended = victim.ended.wait(WAIT_S)
    first = status()
    missed = tierwise("broker", "revoke", "s2", "--directory", str(out))
    second = status()
    with broker_running(out, "--port", port):
        if where == "beside it":
            again = tierwise("broker", "provision", str(site_file), "--output", str(out))
        else:
            again = tierwise("broker", "revoke", "s2", "--directory", str(out))

    assert (0, True) == (revoked.returncode, ended), revoked.stderr
    assert f"the broker at 127.0.0.1:{port} has ended its session" in revoked.stdout
    assert {"s1": "revoked", "s2": "yes"} == first
    assert 1 == missed.returncode
    assert f"no broker at 127.0.0.1:{port}" in missed.stderr
    assert {"s1": "revoked", "s2": "revoked, not yet enforced"} == second
    assert 0 == again.returncode, again.stderr
    assert {"s1": "revoked", "s2": "revoked"} == status()


def test_renewing_early_replaces_every_certificate(tmp_path: Path, site_file: Path) -> None:
    """`--within-days` wins over the file."""
    out = str(tmp_path / "out")
    tierwise("broker", "provision", str(site_file), "--output", out)
    kept = json.loads(tierwise("broker", "renew", str(site_file), "--output", out, "--json").stdout)
    renewed = json.loads(
        tierwise("broker", "renew", str(site_file), "--output", out, "--within-days", "400", "--json").stdout
    )

    assert (0, 6) == (len(kept["renewed"]), len(renewed["renewed"]))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("status", "--directory", "nowhere"), 1, "register.json is not there"),
        (("revoke", "s1", "--directory", "nowhere"), 1, "register.json is not there"),
        (("revoke", "S1"), 2, "is not a node id"),
        (("provision", "nowhere.yaml"), 1, "cannot be read"),
        (("revoke", "s1", "--directory", "nowhere", "--host", "127.0.0.1"), 1, "register.json is not there"),
        (("run", "--identity", "nowhere"), 1, "provision makes that folder"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, code, says) -> None:
    """Without a traceback, and with the exit code that the help promises."""
    done = tierwise("broker", *arguments)

    assert code == done.returncode
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("nodes: {end: [s1, s1]}", "s1 stands here twice"),
        ("nodes: {edge: [alice]}\npeople: {operators: [alice]}", "alice stands here twice"),
        ("nodes: {cloud: [broker]}", "broker is a name of the broker's own"),
        ("nodes: {}\nvalidity: {certificate_days: 10, renew_days: 10}", "must be less than certificate_days"),
        ("nodes: {}\nhost: x", "did you mean hosts?"),
    ],
)
def test_a_site_file_that_cannot_be_is_refused(tmp_path: Path, change: str, says: str) -> None:
    """Two of one name could speak for each other."""
    file = tmp_path / "site.yaml"
    file.write_text(f"version: 1\nsite: home\nhosts: [edge]\n{change}\n", encoding="utf-8")

    with pytest.raises(Exception, match=re.escape(says)):
        load(file, SiteConfig)


def test_a_large_site_gets_a_broker_that_holds_it(tmp_path: Path) -> None:
    """Its sizes follow from the number of accounts: a thousand and some silent connections, and all that is said."""
    nodes = {"end": tuple(f"s{number}" for number in range(3000))}
    config = SiteConfig.model_validate({"version": 1, "site": "home", "hosts": ("edge",), "nodes": nodes})
    bring_up_to_date(config, Folder(tmp_path), tmp_path / "site.yaml", frozenset(config.names()))
    written = load(tmp_path / "broker" / "broker.yaml", MosquittoConfig)

    assert 3001 == len(accounts_of(config).accounts)
    assert written.max_connections >= 2 * 3001
    assert written.max_queued_messages >= 4 * 3001


def test_a_person_connects_with_a_certificate_of_their_own(tmp_path: Path, site_file: Path) -> None:
    """The one in a node's file would throw the node out, so it is refused; a folder that is none, too."""
    tierwise("broker", "provision", str(site_file), "--output", str(tmp_path))
    files = Tls.in_directory(tmp_path / "nodes" / "s1")
    section = TlsSection(ca_file=files.ca_file, certificate_file=files.certificate_file, key_file=files.key_file)
    broker = BrokerSection(tls=section)

    with pytest.raises(typer.BadParameter, match="throw that process out"):
        endpoint_of(broker, None)
    assert Tls.in_directory(tmp_path / "people" / "alice") == endpoint_of(broker, tmp_path / "people" / "alice").tls
    assert endpoint_of(BrokerSection(), None).tls is None


def test_a_replaced_file_is_noticed_once(tmp_path: Path) -> None:
    """One that is away for a moment is no change."""
    file = tmp_path / "crl.pem"
    file.write_bytes(b"old")
    watched = WatchedFiles([file])
    before = watched.changed()
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(file)
    after = [watched.changed(), watched.changed()]
    file.unlink()

    assert (False, [True, False], False) == (before, after, watched.changed())
