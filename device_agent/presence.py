"""How a node shows that it is there: birth and state on each connect, and its own state kept true."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from broker.client import Inbound, MqttClient
from broker.errors import NotConnected
from broker.events import event
from broker.messages import Birth, State
from broker.topics import Address, Channel
from broker.vocabulary import ModelName, NodeState, Tier

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the agent runs."""

    tier: Tier
    vcpus: int
    emulated: bool


def agent_version() -> str:
    """The installed version of Tierwise; `0+source` when it runs from a source tree that was not installed."""
    try:
        return version("tierwise")
    except PackageNotFoundError:
        return "0+source"


class Presence:
    """Announces a node. Each announcement is acknowledged, so it measures the round trip on the way (`timed`)."""

    def __init__(
        self,
        client: MqttClient,
        identity: Identity,
        models: Callable[[], Mapping[ModelName, str]],
        timed: Callable[[], Callable[[], None]],
        label_sets: Mapping[ModelName, str] | None = None,
    ) -> None:
        self._client = client
        self._identity = identity
        self._models = models
        self._timed = timed
        self._label_sets = label_sets or {}
        self._version = agent_version()
        self._leaving = False
        client.on_connect.append(self.announce)

    def announce(self) -> None:
        """Publish birth and state under the session of this connection."""
        models = self._models()
        birth = Birth(
            session=self._client.session,
            tier=self._identity.tier,
            agent_version=self._version,
            vcpus=self._identity.vcpus,
            models={str(name): sha256 for name, sha256 in models.items()},
            emulated=self._identity.emulated,
            label_sets={str(name): self._label_sets[name] for name in models if name in self._label_sets},
        )
        try:
            address = Address(self._client.site, self._client.node, Channel.BIRTH)
            self._client.publish(address, birth, on_puback=self._timed())
            self._publish_online()
        except NotConnected as error:
            event(log, logging.INFO, "not_announced", reason=error)

    def leave(self) -> None:
        """From now on `stopped` on this node's topic is true."""
        self._leaving = True

    def heal(self, inbound: Inbound) -> None:
        """Publish the state again if this node's own topic says anything but that this session is online.

        The will of a former session may arrive late, and stays retained until somebody contradicts it.
        """
        if not isinstance(inbound.body, State) or self._leaving:
            return
        if inbound.body == State(session=self._client.session, state=NodeState.ONLINE):
            return
        event(log, logging.INFO, "state_healed", found=inbound.body.state, session=inbound.body.session)
        try:
            self._publish_online()
        except NotConnected as error:
            event(log, logging.INFO, "not_announced", reason=error)

    def _publish_online(self) -> None:
        self._client.publish_state(NodeState.ONLINE, on_puback=self._timed())
