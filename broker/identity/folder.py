"""The provisioned folder of one site.

authority/    ca.crt, ca.key, register.json: keep ca.key off machines that are on the net, but for when it is used
broker/       for the broker's machine: ca.crt, broker.crt, broker.key, crl.pem, dynamic-security.json, broker.yaml
nodes/NAME/   for that node or the orchestrator: ca.crt, client.crt, client.key, node.yaml or orchestrator.yaml;
              where it serves or orchestrates also ticket.key
people/NAME/  for that person: ca.crt, client.crt, client.key
admin/        for whoever runs this site, the same: changes accounts while the broker runs

`tierwise.node_files` writes the YAML files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.access import Role
from broker.errors import IdentityUnusable
from broker.identity.accounts import ADMIN
from broker.identity.files import PRIVATE, read_if_there, write_whole
from broker.tls import CA_NAME, CERTIFICATE_NAME, KEY_NAME
from broker.vocabulary import NodeId

if TYPE_CHECKING:
    from broker.identity.authority import Authority, Pair

BROKER_CERTIFICATE, BROKER_KEY = "broker.crt", "broker.key"
REVOCATION_LIST = "crl.pem"
DYNAMIC_SECURITY = "dynamic-security.json"
PEOPLE = (Role.OPERATOR, Role.OBSERVER)


@dataclass(frozen=True, slots=True)
class Folder:
    """Where what stands, under `root`."""

    root: Path

    @property
    def authority(self) -> Path:
        return self.root / "authority"

    @property
    def authority_key(self) -> Path:
        return self.authority / "ca.key"

    @property
    def register(self) -> Path:
        return self.authority / "register.json"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the folder."""
        return self.root / ".lock"

    @property
    def broker(self) -> Path:
        return self.root / "broker"

    @property
    def admin(self) -> Path:
        return self.root / "admin"

    def of(self, name: NodeId, role: Role) -> Path:
        """The folder to be copied to a node, the orchestrator or a person."""
        if name == ADMIN:
            return self.admin
        return self.root / ("people" if role in PEOPLE else "nodes") / name

    def load_authority(self) -> Authority:
        """Raises IdentityUnusable; also where the key was moved away."""
        # Here, not above: a revocation reaches the broker before it needs cryptography, which takes long to import.
        from broker.identity.authority import Authority, Pair

        certificate, key = read_if_there(self.authority / CA_NAME), read_if_there(self.authority_key)
        if certificate is None:
            raise IdentityUnusable(
                f"{self.root} holds no authority: take it from your last copy, or choose a new folder"
            )
        if key is None:
            raise IdentityUnusable(
                f"{self.authority_key} is not there: bring the authority's key back for as long as this takes"
            )
        return Authority.load(Pair(certificate, key))

    def write_client(self, folder: Path, pair: Pair, authority: bytes) -> None:
        """All that one client needs. If a power cut damages a file, the next `provision` finds out and issues anew."""
        write_whole(folder / CA_NAME, authority, durable=False)
        write_whole(folder / KEY_NAME, pair.key, PRIVATE, durable=False)
        write_whole(folder / CERTIFICATE_NAME, pair.certificate, durable=False)

    def write_broker(self, pair: Pair, authority: bytes) -> None:
        """Certificate and key of the broker."""
        write_whole(self.broker / CA_NAME, authority)
        write_whole(self.broker / BROKER_KEY, pair.key, PRIVATE)
        write_whole(self.broker / BROKER_CERTIFICATE, pair.certificate)
