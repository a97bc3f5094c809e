"""One folder for each node, complete as it is made, and kept up to date without a person's edits being lost."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from broker.identity.folder import Folder
from configs.kinds import kind_of, schema_of
from configs.loader import load
from configs.mosquitto import MosquittoConfig
from configs.node import NodeConfig
from configs.orchestrator import OrchestratorConfig
from configs.section import Section
from configs.site import SiteConfig
from tierwise.__main__ import main
from tierwise.node_files import bring_up_to_date, members_of

FOLDERS = {"broker", "nodes/orchestrator", "nodes/edge", "nodes/cloud", *(f"nodes/s{number}" for number in range(1, 6))}


def tierwise(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, in this process: starting one takes most of a second."""
    out, err, words = io.StringIO(), io.StringIO(), ["tierwise", *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A new site of five devices whose broker is on another machine; not provisioned."""
    done = tierwise("config", "new", "site", "--site", "lab", "--broker-host", "edge.lab", "--output", tmp_path / "lab")
    assert 0 == done.returncode, done.stderr
    return tmp_path / "lab"


def files_of(lab: Path) -> dict[str, Section]:
    """Each YAML file of the folders, loaded."""
    paths = sorted([*lab.glob("broker/*.yaml"), *lab.glob("nodes/*/*.yaml")])
    return {
        str(path.relative_to(lab).parent): load(path, schema_of(kind_of(path.read_text("utf-8")))) for path in paths
    }


def shipped(kind: str) -> str:
    return (Path(__file__).parents[2] / "configs" / f"{kind}.yaml").read_text(encoding="utf-8")


def change(file: Path, *pairs: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def provision(lab: Path) -> dict[str, Any]:
    done = tierwise("broker", "provision", lab / "site.yaml", "--json")
    assert 0 == done.returncode, done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr}


def test_a_new_site_needs_one_more_command_and_nothing_is_to_be_merged(lab: Path) -> None:
    """Each folder has its certificate and a whole file that names it, and all name the one port of the broker."""
    provision(lab)
    files = files_of(lab)
    broker = files.pop("broker")

    assert FOLDERS == {"broker", *files}
    assert isinstance(broker, MosquittoConfig)
    assert ("0.0.0.0", 8883, lab / "broker") == (broker.host, broker.port, broker.identity)
    for folder, config in files.items():
        assert isinstance(config, NodeConfig | OrchestratorConfig)
        assert folder == f"nodes/{config.node}"
        assert ("edge.lab", 8883) == (config.broker.host, config.broker.port)
        config.broker.endpoint()  # reads the certificate and the key
        assert lab / folder / "client.key" == config.broker.tls.key_file
    assert [] == list(lab.rglob("broker-section.yaml"))


def test_a_copied_folder_runs_where_it_is(lab: Path, tmp_path: Path) -> None:
    """Paths in it are taken from its own place, not from where the process is started."""
    provision(lab)
    (lab / "nodes" / "s1").rename(tmp_path / "elsewhere")

    assert tmp_path / "elsewhere" / "ca.crt" == load(tmp_path / "elsewhere/node.yaml", NodeConfig).broker.tls.ca_file


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("port: 8883", "port: 9999"), ("edge.lab", 9999, "client.key")),
        (("[edge.lab]", "[edge2.lab, edge.lab]"), ("edge2.lab", 8883, "client.key")),
        (("node_directory: . ", "node_directory: /etc/tierwise"), ("edge.lab", 8883, "/etc/tierwise/client.key")),
    ],
)
def test_a_changed_site_is_brought_into_every_file_and_edits_stay(lab: Path, pair, expected) -> None:
    """Comments and values that a person changed are as they were; only what the site's file determines is rewritten."""
    provision(lab)
    edited = lab / "nodes" / "s1" / "node.yaml"
    change(edited, ("  queue_length: 8  ", "  queue_length: 5  "), ("keepalive_s: 5 ", "keepalive_s: 7 "))
    with edited.open("a", encoding="utf-8") as file:
        file.write("# my own remark\n")
    before = edited.read_text(encoding="utf-8")
    change(lab / "site.yaml", pair)

    done = provision(lab)
    after = edited.read_text(encoding="utf-8")
    section = load(edited, NodeConfig).broker

    assert FOLDERS - {"broker"} <= {f"nodes/{name}" for name in done["files_updated"]}
    key = section.tls.key_file
    assert expected == (section.host, section.port, str(key.relative_to(edited.parent) if lab in key.parents else key))
    changed = [new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert all(any(word in line for word in ("host:", "port:", "tls:")) for line in changed)
    assert after.endswith("# my own remark\n")
    assert (5, 7) == (load(edited, NodeConfig).service.queue_length, section.keepalive_s)
    assert [] == provision(lab)["files_updated"]


@pytest.mark.parametrize(
    "text",
    ["version: 1\nbroker: [1\n", "site: lab\nbroker: edge.lab\n", "x: &b {host: a}\nbroker: *b\n"],
)
def test_a_file_that_cannot_be_edited_is_left_and_named(lab: Path, text: str) -> None:
    """Not YAML, no section, or one that something else refers to: nothing of it is lost, and the rest is done."""
    provision(lab)
    file = lab / "nodes" / "s2" / "node.yaml"
    file.write_text(text, encoding="utf-8")
    change(lab / "site.yaml", ("port: 8883", "port: 9999"))

    done = provision(lab)

    assert (["s2"], text) == (done["files_left"], file.read_text(encoding="utf-8"))
    assert "s2" not in done["files_updated"]
    assert "not brought up to date: " in done["stderr"]
    assert str(file) in done["stderr"]
    assert "Traceback" not in done["stderr"]


def test_a_node_that_is_added_gets_a_whole_folder(lab: Path) -> None:
    """The others stay as they are."""
    provision(lab)
    change(lab / "site.yaml", ("s5]", "s5, s6]"), ("edge: [edge]", "edge: [edge, edge2]"))

    done = provision(lab)
    files = files_of(lab)

    assert {"s6", "edge2"} == set(done["files_written"])
    assert ["orchestrator"] == done["files_updated"]
    assert {"edge": ("edge", "edge2"), "cloud": ("cloud",)} == files["nodes/orchestrator"].serving_nodes
    assert ("end", "edge") == (files["nodes/s6"].tier, files["nodes/edge2"].tier)
    files["nodes/s6"].broker.endpoint()


def test_the_orchestrator_is_told_who_may_serve_and_a_preference_stays(lab: Path) -> None:
    """A file without the key gets it; an order that a person chose is kept, new nodes come last, gone ones leave."""
    file = lab / "nodes" / "orchestrator" / "orchestrator.yaml"
    change(lab / "site.yaml", ("edge: [edge]", "edge: [e1, e2, e3]"), ("cloud: [cloud]", "cloud: []"))
    change(file, ("  edge: [edge] ", "  edge: [e3, gone, e1] "))
    provision(lab)
    ordered = load(file, OrchestratorConfig).serving_nodes
    comments = re.findall(r"#.*", file.read_text("utf-8"))
    text = file.read_text("utf-8")
    file.write_text(re.sub(r"serving_nodes:.*?\n\n", "", text, flags=re.DOTALL), "utf-8")
    without = load(file, OrchestratorConfig).serving_nodes
    provision(lab)

    assert {"edge": ("e3", "e1", "e2"), "cloud": ()} == ordered
    assert re.findall(r"#.*", shipped("orchestrator")) == comments
    assert without is None
    assert {"edge": ("e1", "e2", "e3"), "cloud": ()} == load(file, OrchestratorConfig).serving_nodes


def test_a_site_of_an_earlier_layout_is_found_and_keeps_it(lab: Path, tmp_path: Path) -> None:
    """Its nodes' files are elsewhere: the section for them is renewed, and no file is made that would replace them."""
    first = tierwise("broker", "provision", lab / "site.yaml", "--output", lab / "accounts", "--json")
    for name in ("s1", "orchestrator"):
        place = lab / "accounts" / "nodes" / name
        for file in place.glob("*.yaml"):
            file.unlink()
        (place / "broker-section.yaml").write_text("broker: {host: old, port: 1}\n", encoding="utf-8")
    for name in ("nodes", "broker"):
        (lab / name).rename(tmp_path / name)

    done = provision(lab)

    assert 0 == first.returncode
    assert not (lab / "authority").exists()
    assert {"s1", "orchestrator"} == set(done["files_updated"])
    assert ["broker-section.yaml"] == [file.name for file in (lab / "accounts/nodes/s1").glob("*.yaml")]
    section = (lab / "accounts/nodes/s1/broker-section.yaml").read_text(encoding="utf-8")
    assert "host: edge.lab" in section
    assert "port: 8883" in section


def test_files_of_an_earlier_new_site_are_what_folders_begin_with(tmp_path: Path) -> None:
    """What was set there is not lost: the orchestrator's floor, and a device's pool."""
    site = SiteConfig.model_validate(
        {"version": 1, "site": "lab", "hosts": ("edge.lab",), "nodes": {"end": ("s1", "s2")}}
    )
    (tmp_path / "orchestrator.yaml").write_text("version: 1\nsite: lab\ngoal: {accuracy_floor: 77.0}\n", "utf-8")
    (tmp_path / "s1.yaml").write_text(
        "version: 1\nsite: lab\nnode: s1\ntier: end\nmodels: {pool: [d7]}  # mine\n", "utf-8"
    )
    (tmp_path / "s2.yaml").write_text("version: 1\nsite: other\nnode: s2\ntier: end\nmodels: {pool: [d7]}\n", "utf-8")

    bring_up_to_date(site, Folder(tmp_path / "new"), tmp_path / "site.yaml")
    folders = tmp_path / "new" / "nodes"

    assert 77.0 == load(folders / "orchestrator" / "orchestrator.yaml", OrchestratorConfig).goal.accuracy_floor
    assert "# mine" in (folders / "s1" / "node.yaml").read_text("utf-8")
    assert ("d7",) == load(folders / "s1" / "node.yaml", NodeConfig).models.pool
    assert ("d7",) != load(folders / "s2" / "node.yaml", NodeConfig).models.pool


def test_a_broker_file_of_an_earlier_provisioning_keeps_its_store(tmp_path: Path) -> None:
    """Retained messages are not lost by provisioning again."""
    site = SiteConfig.model_validate({"version": 1, "site": "lab", "hosts": ("edge.lab",), "nodes": {}})
    file = tmp_path / "broker" / "broker.yaml"
    file.parent.mkdir()
    file.write_text(
        f"version: 1\nhost: 0.0.0.0\nidentity: {tmp_path}/broker\nport: 1884\ndirectory: {tmp_path}/broker/run\n"
        "max_connections: 5000\nmax_queued_messages: 1000\n",
        encoding="utf-8",
    )

    bring_up_to_date(site, Folder(tmp_path), tmp_path / "site.yaml")
    broker = load(file, MosquittoConfig)

    assert (8883, tmp_path / "broker" / "run", 5000) == (broker.port, broker.directory, broker.max_connections)
    assert tmp_path / "broker" == broker.identity


def test_every_member_has_a_file() -> None:
    """People have none: their commands take options, and `--tls-directory`."""
    nodes = {"end": ("s1",), "edge": ("e",), "cloud": ("c",)}
    site = SiteConfig.model_validate(
        {"version": 1, "site": "lab", "hosts": ("h",), "nodes": nodes, "people": {"operators": ("alice",)}}
    )

    assert ["orchestrator", "s1", "e", "c"] == [member.name for member in members_of(site)]
