"""The doctor over the folders of a site: files that do not fit certificate, broker or site, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.identity.folder import Folder
from configs.loader import load
from configs.site import SiteConfig
from tierwise.doctor.examine import examine
from tierwise.settings_files.templates import site_files
from tierwise.settings_files.writing import write
from tierwise.site_accounts import carry_out


def new_site(root: Path, site: str = "lab") -> Path:
    """As `tierwise config new site` makes it, with two devices."""
    files = site_files({"site": site, "broker.host": "edge.lab"}, 2)
    write({root / name: file for name, file in files.items()}, False)
    return root


def provision(root: Path, *changes: tuple[str, str]) -> Path:
    file = root / "site.yaml"
    change(file, *changes)
    carry_out(load(file, SiteConfig), root, None, frozenset(), lambda _done, _of: None, file)
    Folder(root).authority_key.rename(root / "kept-offline")
    return root


def change(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A provisioned site."""
    return provision(new_site(tmp_path / "lab"))


def found(*places: Path) -> set[tuple[str, str]]:
    """Rule and file name, with the folder that it is in."""
    findings = examine(list(places), datetime.now(UTC)).findings
    return {(finding.rule, "/".join(Path(finding.place).parts[-2:])) for finding in findings}


def test_a_new_and_a_provisioned_site_have_no_findings(tmp_path: Path) -> None:
    """Before there are accounts its ports differ from those that `site.yaml` plans."""
    root = new_site(tmp_path / "lab")
    change(root / "broker/broker.yaml", ("host: 127.0.0.1", "host: 127.0.0.1"))
    for file in root.rglob("n*/*/*.yaml"):
        change(file, ("edge.lab", "127.0.0.1"))
    change(root / "site.yaml", ("edge.lab", "127.0.0.1"))
    before = found(root)

    provision(root)

    assert (set(), set()) == (before, found(root))


def test_a_certificate_of_this_machine_is_not_taken_for_one_of_the_site(tmp_path: Path) -> None:
    """`/etc/tierwise/client.crt` of the machine where the site's folders lie is another one than those of its nodes,
    whose files all name that path."""
    machine = tmp_path / "etc" / "tierwise"
    provision(new_site(tmp_path / "other", "other"))
    shutil.copytree(tmp_path / "other/nodes/s1", machine)
    root = provision(new_site(tmp_path / "lab"), ("node_directory: . ", f"node_directory: {machine} "))
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("s1", "s2"):
        shutil.copy(root / "nodes" / name / "node.yaml", flat / f"{name}.yaml")

    assert set() == found(root)
    assert set() == found(flat)


def other_authority(lab: Path) -> None:
    elsewhere = provision(new_site(lab.parent / "again"))
    for name in ("ca.crt", "client.crt", "client.key"):
        shutil.copy(elsewhere / "nodes/s1" / name, lab / "nodes/s1" / name)


@pytest.mark.parametrize(
    ("spoil", "rules"),
    [
        (lambda lab: change(lab / "nodes/s1/node.yaml", ("site: lab ", "site: home ")), {"site-of-another"}),
        (lambda lab: change(lab / "nodes/s1/node.yaml", ("node: s1 ", "node: s2 ")), {"node-id-of-another"}),
        (other_authority, {"authority-not-the-brokers"}),
        (
            lambda lab: change(lab / "nodes/s1/node.yaml", ("  tls:", "  # tls:"), ("edge.lab", "127.0.0.1")),
            {"tls-missing", "stale-node-file"},
        ),
    ],
)
def test_what_keeps_a_node_from_its_broker_is_found(lab: Path, spoil: Callable[[Path], None], rules: set[str]) -> None:
    """A wrong site, a wrong node id, another authority, or no TLS: each by name, at that node's file alone."""
    spoil(lab)

    assert {(rule, "s1/node.yaml") for rule in rules} == found(lab)


def test_files_that_were_made_before_a_change_of_the_site_are_found(lab: Path, tmp_path: Path) -> None:
    """Those in its folders, and a copy on a node if it is named; none after provisioning again."""
    shutil.copytree(lab / "nodes/s1", tmp_path / "copy")
    change(lab / "site.yaml", ("port: 8883", "port: 9999"))
    stale = found(lab, tmp_path / "copy")
    (lab / "kept-offline").rename(Folder(lab).authority_key)
    provision(lab)

    nodes = {f"{name}/node.yaml" for name in ("s1", "s2", "edge", "cloud", "copy")}
    assert {
        ("stale-node-file", name) for name in {"orchestrator/orchestrator.yaml", "broker/broker.yaml", *nodes}
    } == stale
    assert {("stale-node-file", "copy/node.yaml")} == found(lab, tmp_path / "copy")
