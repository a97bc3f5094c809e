"""`tierwise doctor` over the files of a site, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.access import Role
from broker.errors import TierwiseError
from broker.identity.accounts import Account, SiteAccounts
from broker.identity.folder import Folder
from broker.identity.provisioning import provision
from broker.vocabulary import NodeId, SiteId
from tierwise.doctor.examine import Examined, examine

NOW = datetime.now(UTC)
LAUGHS = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [{f'*{former},' * 9}]\n" for former, name in zip("abcdefghi", "bcdefghij", strict=True)
)


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tierwise", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A provisioned folder without the authority's key."""
    folder = Folder(tmp_path / "site")
    accounts = (Account(NodeId("s1"), Role.END_DEVICE), Account(NodeId("s2"), Role.END_DEVICE))
    provision(folder, SiteAccounts(SiteId("home"), ("edge.local",), 8883, accounts), NOW, frozenset())
    folder.authority_key.unlink()
    return folder.root


def test_a_provisioned_site_has_no_findings(site: Path) -> None:
    """Exit code 0, and the number of files that were examined."""
    done = doctor("--security", str(site))

    assert (0, "16 files examined: 0 errors, 0 warnings.\n") == (done.returncode, done.stdout), done.stderr


def test_errors_are_told_with_their_place_and_how_to_mend_them(site: Path) -> None:
    """Exit code 1; as lines and as JSON."""
    key = site / "nodes" / "s1" / "client.key"
    key.chmod(0o644)
    told = doctor("--security", str(site))
    as_json = doctor("--security", "--json", str(site))
    finding = json.loads(as_json.stdout)["findings"][0]

    assert (1, 1) == (told.returncode, as_json.returncode)
    assert f"error {key}: other users may open it (mode 0644). chmod 600 client.key. [open-to-others]" in told.stdout
    assert ("open-to-others", str(key)) == (finding["rule"], finding["place"])


def test_without_the_security_option_mistakes_in_yaml_files_count_too(site: Path, tmp_path: Path) -> None:
    """As `tierwise config check` tells them."""
    file = tmp_path / "device.yaml"
    file.write_text("version: 1\nsite: home\nnode: s1\ntier: end\nbrokr: {}\n", encoding="utf-8")

    assert 0 == doctor("--security", str(file)).returncode
    assert "did you mean broker?" in doctor(str(file)).stdout


def test_the_rules_can_be_listed() -> None:
    """Each with its severity and why it is one."""
    listed = json.loads(doctor("--rules", "--json").stdout)

    assert "error" == listed["plain-listener"]["severity"]
    assert all(rule["why"] for rule in listed.values())
    assert "plain-listener" in doctor("--rules").stdout


@pytest.mark.parametrize(("arguments", "code", "says"), [((), 2, "name files"), (("nowhere",), 1, "is not there")])
def test_mistakes_of_the_caller_are_told(arguments, code, says) -> None:
    """Without a traceback."""
    done = doctor(*arguments)

    assert code == done.returncode
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_there_is_an_error() -> None:
    """A name that was mistyped must not look like a clean bill of health."""
    with pytest.raises(TierwiseError, match="nowhere is not there"):
        examine([Path("nowhere")], NOW)


def test_files_of_one_machine_that_share_a_certificate_are_found(site: Path, tmp_path: Path) -> None:
    """Both are named; the same path on two machines is two certificates."""
    here = site / "nodes" / "s1"
    tls = {"ca_file": f"{here}/ca.crt", "certificate_file": f"{here}/client.crt", "key_file": f"{here}/client.key"}
    content = yaml.safe_dump({"broker": {"host": "edge.local", "tls": tls}})
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(content, encoding="utf-8")
    found = examine([tmp_path], NOW).findings

    assert {str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")} == {finding.place for finding in found}
    assert {"certificate-shared"} == {finding.rule for finding in found}


def test_time_alone_makes_findings(site: Path) -> None:
    """Every certificate of the site, a year later; and its list when the authority has expired."""
    soon = {finding.rule for finding in examine([site], NOW + timedelta(days=340)).findings}
    late = {finding.rule for finding in examine([site], NOW + timedelta(days=366)).findings}
    end = {finding.rule for finding in examine([site], NOW + timedelta(days=3651)).findings}

    assert ({"certificate-expires-soon"}, {"certificate-expired"}) == (soon, late)
    assert {"certificate-expired", "revocation-list-unusable"} == end


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"defaultACLAccess": ' + b"9" * 5000 + b"}",
        b'{"defaultACLAccess": []}',
        b'{"defaultACLAccess": {}, "roles": [1]}',
        b'{"defaultACLAccess": {}, "roles": [{"rolename": "x", "acls": [{"allow": true}]}]}',
        b'{"defaultACLAccess": {}, "clients": [{"username": "x", "roles": "x"}]}',
    ],
)
def test_what_cannot_be_read_is_a_finding(site: Path, content: bytes) -> None:
    """Nothing is passed over in silence."""
    (site / "broker" / "dynamic-security.json").write_bytes(content)

    assert ["unreadable"] == [finding.rule for finding in examine([site], NOW).findings]


@pytest.mark.parametrize(
    "content",
    [
        "version: 1\na: &a [*a]\n",
        LAUGHS,
        f"version: 1\nbroker: {{tls: {{certificate_file: {'x' * 5000}}}}}\n",
        "a: [",
    ],
    ids=["of itself", "a thousand million laughs", "a very long path", "cut off"],
)
def test_odd_yaml_ends_nothing(tmp_path: Path, content: str) -> None:
    """It is read, or left to `config check`."""
    (tmp_path / "odd.yaml").write_text(content, encoding="utf-8")

    assert Examined(1, []) == examine([tmp_path], NOW)


def test_what_is_too_large_or_closed_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole in what was examined must be seen; links that lead nowhere are no files."""
    with (tmp_path / "huge.conf").open("wb") as file:
        file.truncate(200_000_000)
    (tmp_path / "closed").mkdir()
    (tmp_path / "loop.conf").symlink_to("loop.conf")
    scan = os.scandir

    def closed(path: Path | str) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = examine([tmp_path], NOW).findings

    assert {str(tmp_path / "huge.conf"), str(tmp_path / "closed")} == {finding.place for finding in found}
    assert {"unreadable"} == {finding.rule for finding in found}
