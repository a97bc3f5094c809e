"""What the other examined files say about a YAML file: its certificate, the site that it belongs to, and the broker."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.errors import IdentityUnusable
from broker.identity.authority import Facts, facts, issued_by
from broker.identity.folder import BROKER_CERTIFICATE, Folder
from configs.editing import as_yaml
from configs.loader import ConfigError, load
from configs.site import SiteConfig
from tierwise.doctor.yaml_rules import ClientCertificate, Settings, tls_of
from tierwise.node_files import determined, differences

MAX_CERTIFICATE_BYTES = 1_000_000


@dataclass(slots=True)
class Surroundings:
    """Of all YAML files among those examined."""

    settings: Mapping[Path, Mapping[str, Any]]
    places: Sequence[Path]
    _sites: list[tuple[Path, SiteConfig]] = field(default_factory=list)
    _brokers: list[tuple[Facts, bytes]] = field(default_factory=list)
    _tls_ports: set[int] = field(default_factory=set)
    _users: dict[Path, list[Path]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(
        cls, files: Sequence[Path], settings: Mapping[Path, Mapping[str, Any]], places: Sequence[Path]
    ) -> Surroundings:
        """Read what several files may need. Nothing is raised: what cannot be used is left to other rules."""
        found = cls(settings, [place.resolve() for place in places])
        for path, content in settings.items():
            if "hosts" in content and "nodes" in content:
                with contextlib.suppress(ConfigError):
                    found._sites.append((path, load(path, SiteConfig)))
            elif content.get("identity") and isinstance(content.get("port"), int):
                found._tls_ports.add(content["port"])
            if (certificate := found._certificate(path, content)) is not None:
                found._users[certificate].append(path)
        for path in files:
            if path.name == BROKER_CERTIFICATE and (broker := _read(path)) is not None:
                with contextlib.suppress(IdentityUnusable):
                    found._brokers.append((facts(broker), broker))
        return found

    def of_file(self, path: Path) -> Settings:
        """What the rules may know about the YAML file at `path`."""
        content = self.settings[path]
        certificate = self._certificate(path, content)
        sharers = [str(other) for other in self._users.get(certificate or Path(), ()) if other != path]
        client = None if certificate is None else self._client_certificate(path, content, certificate)
        return Settings(content, tuple(sharers), client, frozenset(self._tls_ports), tuple(self._stale(path, content)))

    def _certificate(self, path: Path, content: Mapping[str, Any]) -> Path | None:
        named = tls_of(content).get("certificate_file")
        return None if named is None else self._here(path, str(named))

    def _here(self, path: Path, named: str) -> Path | None:
        """The file that a YAML file at `path` names, if it is part of what is examined.

        An absolute path outside of that is one of the machine that the YAML file is for, which need not be this one: of
        a provisioned folder the file beside the YAML is meant, which will be copied there.
        """
        try:
            file = Path(named)
            beside = (path.parent / file.name) if file.is_absolute() else (path.parent / file)
            if file.is_absolute() and self._is_examined(file.resolve(), path) and file.is_file():
                return file.resolve()
            return beside.resolve() if beside.is_file() else None
        except (OSError, ValueError):
            return None

    def _is_examined(self, file: Path, path: Path) -> bool:
        folders = [path.resolve().parent, *self.places]
        return any(file == folder or folder in file.parents for folder in folders)

    def _client_certificate(self, path: Path, content: Mapping[str, Any], file: Path) -> ClientCertificate | None:
        certificate = _read(file)
        authority_file = self._here(path, str(tls_of(content).get("ca_file", "")))
        authority = None if authority_file is None else _read(authority_file)
        if certificate is None:
            return None
        try:
            read = facts(certificate)
        except IdentityUnusable:
            return None
        trusts = authority is None or issued_by(certificate, authority)
        brokers = [broker for known, broker in self._brokers if known.site == content.get("site")]
        fits = authority is None or all(issued_by(broker, authority) for broker in brokers)
        return ClientCertificate(read.name, read.site, trusts, fits)

    def _stale(self, path: Path, content: Mapping[str, Any]) -> Iterator[str]:
        """What the site's file determines and this file has otherwise, for each provisioned site that it belongs to."""
        kind = _kind_of(content)
        for site_path, config in self._sites:
            root = _root_of(site_path)
            inside = root is not None and root.resolve() in path.resolve().parents
            if not kind or (kind == "broker" and not inside) or content.get("site", config.site) != config.site:
                continue
            if root is None and not tls_of(content):
                continue  # without accounts another port is right
            wanted = determined(config, kind, content)
            if not inside:
                wanted = {"broker.port": config.port}
            for key, value in differences(content, wanted).items():
                if key == "broker.host" and content["broker"].get("host") in config.hosts:
                    continue
                yield f"{key} is not {as_yaml(value)} as {site_path} says"


def _kind_of(content: Mapping[str, Any]) -> str:
    """What of a site's files it is; empty for another. Looks at keys alone: files with mistakes are judged, too."""
    if not isinstance(content.get("broker"), Mapping):
        return "broker" if "identity" in content else ""
    return "device" if "tier" in content else "orchestrator"


def _root_of(site_file: Path) -> Path | None:
    """The provisioned folder of a site's file, in any layout."""
    beside = site_file.parent
    found = (folder for folder in (beside, beside / "site", beside / "accounts") if Folder(folder).register.exists())
    return next(found, None)


def _read(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_CERTIFICATE_BYTES)
    except OSError:
        return None
