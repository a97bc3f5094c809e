"""The YAML file in each node's folder: complete from the start, later brought up to date in its broker section alone.

Three layouts are known. Each folder has its own file (what is made now). A folder of an earlier provisioning has a
`broker-section.yaml`, which its owner put into a file elsewhere: it stays so. Files of an earlier `config new site` lie
beside `site.yaml`: they are what a folder's file begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from broker.access import ROLE_OF_TIER, Role
from broker.identity.files import PUBLIC, read_if_there, write_whole
from broker.identity.folder import Folder
from broker.tls import CA_NAME, CERTIFICATE_NAME, KEY_NAME
from broker.vocabulary import NodeId, Tier
from configs.editing import NoSuchPlace, put
from configs.kinds import schema_of
from configs.loader import ConfigError, loads, text_of
from configs.site import SiteConfig

NODE_FILE, ORCHESTRATOR_FILE, BROKER_FILE = "node.yaml", "orchestrator.yaml", "broker.yaml"
SECTION_FILE = "broker-section.yaml"  # of earlier layouts
BROKER = NodeId("broker")
KIND_OF_TIER = {Tier.END: "device", Tier.EDGE: "edge", Tier.CLOUD: "cloud"}
FORMER_HEADER = (
    "# Written anew by each `tierwise broker provision`: tierwise broker run --config broker.yaml\n"
    "# On another machine copy this folder there, and name its place: --identity . --directory run\n"
)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a thousand files take seconds instead of a minute


class CannotEdit(Exception):  # never leaves this module
    """A file was changed so that our keys cannot be rewritten and all else kept."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a site that has a file of its own: a node or the orchestrator. `kind` is that of its template."""

    name: NodeId
    kind: str
    role: Role

    @property
    def file(self) -> str:
        return ORCHESTRATOR_FILE if self.kind == "orchestrator" else NODE_FILE


@dataclass(slots=True)
class FileChanges:
    """What was done to the files, by name. `left` tells why a file that is not up to date was left as it is."""

    written: list[NodeId] = field(default_factory=list)
    rewritten: list[NodeId] = field(default_factory=list)
    left: dict[NodeId, str] = field(default_factory=dict)


def members_of(config: SiteConfig) -> Iterator[Member]:
    """The orchestrator, then the nodes of each tier."""
    yield Member(config.orchestrator, "orchestrator", Role.ORCHESTRATOR)
    for tier, names in config.tiers().items():
        yield from (Member(name, KIND_OF_TIER[tier], ROLE_OF_TIER[tier]) for name in names)


def determined(config: SiteConfig, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted key: what the site's file determines in a file of `kind`, for a site with accounts.

    `content` is that file as it is now: an order of serving nodes that a person chose is one of preference, and stays.
    """
    if kind == "broker":
        return {"host": config.listen, "port": config.port, "identity": "."}
    where = config.node_directory
    files = {"ca_file": CA_NAME, "certificate_file": CERTIFICATE_NAME, "key_file": KEY_NAME}
    tls = {key: str(where / name) for key, name in files.items()}
    wanted = {"broker.host": config.hosts[0], "broker.port": config.port, "broker.tls": tls}
    if kind == "orchestrator":
        for tier in (Tier.EDGE, Tier.CLOUD):
            key = f"serving_nodes.{tier}"
            wanted[key] = _in_present_order(config.tiers()[tier], _at(content, key))
    return wanted


def _in_present_order(names: Sequence[str], present: Any) -> list[str]:
    """`names`, those first that are `present`, in its order."""
    first = [name for name in present if name in names] if isinstance(present, list) else []
    return [*dict.fromkeys([*first, *names])]


def differences(content: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `wanted` that `content`, a parsed file, has otherwise or not at all."""
    return {key: value for key, value in wanted.items() if _at(content, key) != value}


def bring_up_to_date(
    config: SiteConfig, folder: Folder, site_file: Path, without: frozenset[NodeId] = frozenset()
) -> FileChanges:
    """Write the files that are missing, and in the others what the site's file determines. `without` get none.

    Raises IdentityUnusable where a file cannot be written.
    """
    changes, beside = FileChanges(), site_file.parent
    _bring(changes, BROKER, folder.broker / BROKER_FILE, lambda: _former(beside, BROKER_FILE) or _shipped("broker"),
           lambda text: _broker_file(text, config))  # fmt: skip
    templates = {kind: put(_shipped(kind), "site", config.site) for kind in ("orchestrator", *KIND_OF_TIER.values())}
    templates = {kind: _edited(text, config, kind) for kind, text in templates.items()}
    for member in members_of(config):
        if member.name not in without:
            _bring_member(changes, member, folder.of(member.name, member.role), config, templates, beside)
    return changes


def _bring_member(
    changes: FileChanges, member: Member, place: Path, config: SiteConfig, templates: Mapping[str, str], beside: Path
) -> None:
    if (place / SECTION_FILE).exists() and not (place / member.file).exists():
        section = yaml.safe_dump(_nested(determined(config, member.kind, {})), sort_keys=False)
        text = f"# For the YAML file of {member.name}, in place of its broker section.\n{section}"
        _bring(changes, member.name, place / SECTION_FILE, lambda: text, lambda _: text)
        return

    def begin() -> str:
        former = ORCHESTRATOR_FILE if member.kind == "orchestrator" else f"{member.name}.yaml"
        return _former(beside, former, config, member) or put(templates[member.kind], "node", member.name)

    _bring(changes, member.name, place / member.file, begin, lambda text: _edited(text, config, member.kind))


def _bring(
    changes: FileChanges, name: NodeId, path: Path, begin: Callable[[], str], edit: Callable[[str], str]
) -> None:
    try:
        content = read_if_there(path)
        former = None if content is None else text_of(content, str(path))
        text = edit(begin() if former is None else former)
    except (CannotEdit, NoSuchPlace, ConfigError) as error:
        changes.left[name] = f"{path}: {error}"
        return
    if text != former:
        write_whole(path, text.encode(), PUBLIC if former is None else path.stat().st_mode & 0o777, durable=False)
        (changes.written if former is None else changes.rewritten).append(name)


def _edited(text: str, config: SiteConfig, kind: str, more: Mapping[str, Any] | None = None) -> str:
    """`text` with what the site's file determines, and `more`; everything else as it is.

    Raises CannotEdit, NoSuchPlace, ConfigError.
    """
    before = _parsed(text)
    wanted = {**determined(config, kind, before), **(more or {})}
    wrong = differences(before, wanted)
    if not wrong:
        return text
    changed = text
    for key, value in wrong.items():
        changed = put(changed, key, value)
    after = _parsed(changed)
    if differences(after, wanted) or _others(before, wanted) != _others(after, wanted):
        raise CannotEdit(f"{', '.join(wrong)} cannot be changed without changing something else: write it by hand")
    loads(changed, schema_of(kind), "line")
    return changed


def _broker_file(text: str, config: SiteConfig) -> str:
    """Its sizes follow from how many clients there are; larger ones stay."""
    text = text.replace(FORMER_HEADER, "# tierwise broker run --config broker.yaml\n")
    content, clients = _parsed(text), len(config.names()) + 1
    sizes = {
        # Connections that say nothing hold a slot for 95 s; as many again as there are clients may be such.
        "max_connections": max(2000, 2 * clients + 200),
        # The orchestrator receives telemetry, heartbeat, request and report of everybody at once.
        "max_queued_messages": max(1000, 4 * clients),
    }
    present = {key: content.get(key) for key in sizes}
    small = {key: least for key, least in sizes.items() if not isinstance(now := present[key], int) or now < least}
    return _edited(text, config, "broker", small)


def _former(beside: Path, name: str, config: SiteConfig | None = None, member: Member | None = None) -> str | None:
    """The file of an earlier `config new site`, if it is a good one and of this member."""
    content = read_if_there(beside / name)
    if content is None:
        return None
    try:
        text = text_of(content, name)
        found = loads(text, schema_of(member.kind if member is not None else "broker"), name).model_dump()
    except ConfigError:
        return None
    if member is None or config is None:
        return text
    return text if (found["site"], found["node"]) == (config.site, member.name) else None


def _shipped(kind: str) -> str:
    return (resources.files("configs") / f"{kind}.yaml").read_text(encoding="utf-8")


def _parsed(text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CannotEdit("it is not YAML: correct it (tierwise config check), and provision again") from error
    if not isinstance(content, dict):
        raise CannotEdit("it holds no keys: correct it (tierwise config check), and provision again")
    return content


def _at(content: Mapping[str, Any], key: str) -> Any:
    value: Any = content
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _others(content: Any, wanted: Mapping[str, Any], prefix: str = "") -> Any:
    """`content` without the keys of `wanted`."""
    if not isinstance(content, Mapping):
        return content
    inner = {key: _others(value, wanted, f"{prefix}{key}.") for key, value in content.items()}
    return {key: value for key, value in inner.items() if f"{prefix}{key}" not in wanted and value not in ({}, None)}


def _nested(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Of dotted keys that stand in `broker`, as they stand in a file."""
    return {"broker": {key.removeprefix("broker."): value for key, value in wanted.items() if "broker." in key}}
