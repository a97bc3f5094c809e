"""Changes the accounts of a running Mosquitto, as its administrator, over its dynamic-security plugin.

A foreground client for a command of a person: it connects, asks, waits for the answers, and leaves.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from broker.codec import decode, encode
from broker.endpoint import Endpoint
from broker.errors import IdentityUnusable, NotConnected, Refused
from broker.identity.accounts import Account
from broker.identity.dynsec import Command, commands_to_add, rights
from broker.identity.folder import Folder
from broker.messages import State
from broker.tls import Tls, why_no_link
from broker.topics import CONTROL, CONTROL_RESPONSE, Address, Channel, topic_for
from broker.vocabulary import NodeId, NodeState, SiteId

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.2
BATCH = 40  # commands; the answers to so many stay far below the broker's largest packet
NOT_THERE = ("Client not found", "Role not found")

Answer = dict[str, Any]


@dataclass(slots=True)
class _Heard:
    """What the broker said. paho knows this, not the Control: no cycle keeps its sockets open."""

    answers: dict[str, Answer] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    problem: str = ""
    subscribed: bool = False

    def on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self.problem = str(code)
        else:
            client.subscribe(CONTROL_RESPONSE, qos=1)

    def on_subscribe(self, _client: Any, _userdata: Any, _mid: int, codes: list[Any], _properties: Any) -> None:
        self.subscribed = not codes[0].is_failure
        if codes[0].is_failure:
            self.problem = f"{codes[0]}; use the certificate in the folder admin"

    def on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic != CONTROL_RESPONSE:
            self.states[message.topic] = bytes(message.payload)
            return
        for answer in json.loads(message.payload).get("responses", []):
            if "correlationData" in answer:
                self.answers[answer["correlationData"]] = answer


class Control:
    """A connection as administrator; a context manager. Raises NotConnected, TlsUnusable when it cannot be made.

    `other_hosts` are tried, in order, where nothing answers at the endpoint's own.
    """

    def __init__(self, endpoint: Endpoint, other_hosts: Sequence[str] = ()) -> None:
        self._endpoint = endpoint
        self._other_hosts = other_hosts
        self._heard = _Heard()
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        if endpoint.tls is not None:
            self._mqtt.tls_set_context(endpoint.tls.context())
        self._mqtt.on_socket_open = _without_delay
        self._mqtt.on_connect = self._heard.on_connect
        self._mqtt.on_subscribe = self._heard.on_subscribe
        self._mqtt.on_message = self._heard.on_message

    def __enter__(self) -> Control:
        self._connect()
        self._wait(lambda: self._heard.subscribed, CONNECT_TIMEOUT_S, "it did not let the administrator in")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop(POLL_S)

    def _connect(self) -> None:
        failures: list[str] = []
        first: OSError | None = None
        for host in (self._endpoint.host, *self._other_hosts):
            try:
                self._mqtt.connect(host, self._endpoint.port, self._endpoint.keepalive_s)
            except OSError as error:
                failures.append(f"no broker at {host}:{self._endpoint.port}: {why_no_link(error)}")
                first = first or error
            else:
                self._endpoint = replace(self._endpoint, host=host)
                return
        raise NotConnected("; ".join(failures)) from first

    def run(self, commands: Sequence[Command]) -> list[Answer]:
        """The answer to each. What was to be removed and is not there is no error; other refusals raise
        IdentityUnusable. Raises NotConnected when the connection ends."""
        found: list[Answer] = []
        for start in range(0, len(commands), BATCH):
            found += self._run(commands[start : start + BATCH])
        for command, answer in zip(commands, found, strict=True):
            error = answer.get("error")
            if error is not None and not (error in NOT_THERE and _only_takes_away(command)):
                name = command.get("username", command.get("rolename", ""))
                raise IdentityUnusable(f"the broker refused {command['command']} {name}: {error}")
        return found

    def apply(self, site: SiteId, accounts: Iterable[Account]) -> list[Account]:
        """Make the broker's accounts what they should be; those that were missing or had other rights. A session ends
        only where its rights change."""
        wanted = list(accounts)
        asks = [{"command": "getClient", "username": account.name} for account in wanted]
        asks += [{"command": "getRole", "rolename": account.name} for account in wanted]
        answers = self.run(asks)
        clients, roles = answers[: len(wanted)], answers[len(wanted) :]
        changed = [
            account
            for account, client, role in zip(wanted, clients, roles, strict=True)
            if not (_is_open(client, account) and _allows(role) == set(rights(site, account)))
        ]
        self.run([command for account in changed for command in commands_to_add(site, account)])
        return changed

    def say_offline(self, site: SiteId, node: NodeId) -> None:
        """Publish a retained `offline` for `node`, under its own session, unless it is none or said so already."""
        topic = topic_for(Address(site, node, Channel.STATE))
        self._heard.states.clear()
        self._subscribe(topic)  # what is retained arrives with the answer, or never
        self._subscribe(CONTROL_RESPONSE)
        try:
            said = decode(Channel.STATE, self._heard.states.get(topic, b""))
        except Refused:
            return
        if isinstance(said, State) and said.state is NodeState.ONLINE:
            gone = encode(State(session=said.session, state=NodeState.OFFLINE))
            sent = self._mqtt.publish(topic, gone, qos=1, retain=True)
            self._wait(sent.is_published, ANSWER_TIMEOUT_S, "it does not acknowledge")

    def _subscribe(self, topic: str) -> None:
        self._heard.subscribed = False
        self._mqtt.subscribe(topic, qos=0)
        self._wait(lambda: self._heard.subscribed, ANSWER_TIMEOUT_S, "it does not answer a subscription")

    def _run(self, commands: Sequence[Command]) -> list[Answer]:
        tags = [secrets.token_hex(8) for _ in commands]
        tagged = [{**command, "correlationData": tag} for command, tag in zip(commands, tags, strict=True)]
        self._mqtt.publish(CONTROL, json.dumps({"commands": tagged}).encode(), qos=1)
        self._wait(lambda: all(tag in self._heard.answers for tag in tags), ANSWER_TIMEOUT_S, "it does not answer")
        return [self._heard.answers.pop(tag) for tag in tags]

    def _wait(self, done: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not done():
            result = self._mqtt.loop(POLL_S)
            if self._heard.problem:
                raise NotConnected(f"the broker at {self._endpoint} refused the administrator: {self._heard.problem}")
            if result is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise NotConnected(f"the connection to {self._endpoint} ended: {mqtt.error_string(result)}")
            if time.monotonic() > deadline_s:
                raise NotConnected(f"no answer from the broker at {self._endpoint}: {otherwise}")


def administrator(folder: Folder, hosts: Sequence[str], port: int) -> Control:
    """Who may change the accounts of the broker at the first of `hosts` that answers. Raises TlsUnusable."""
    endpoint = Endpoint(hosts[0], port, KEEPALIVE_S, tls=Tls.in_directory(folder.admin))
    return Control(endpoint, hosts[1:])


def _only_takes_away(command: Command) -> bool:
    return command["command"].startswith(("delete", "disable", "get")) or command.get("roles") == []


def _is_open(answer: Answer, account: Account) -> bool:
    client = answer.get("data", {}).get("client", {})
    roles = [role["rolename"] for role in client.get("roles", [])]
    return [account.name] == roles and not client.get("disabled", False)


def _allows(answer: Answer) -> set[tuple[str, str]]:
    acls = answer.get("data", {}).get("role", {}).get("acls", [])
    return {(acl["acltype"], acl["topic"]) for acl in acls if acl["allow"]}


def _without_delay(_client: Any, _userdata: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
