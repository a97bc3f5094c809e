"""mosquitto.conf as rules see it: options with their lines, and which listener each belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from broker.mosquitto_settings import is_loopback

WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
OF_A_LISTENER = frozenset(
    {
        "bind_address",
        "cafile",
        "capath",
        "certfile",
        "ciphers",
        "crlfile",
        "keyfile",
        "max_connections",
        "mount_point",
        "protocol",
        "psk_hint",
        "require_certificate",
        "tls_version",
        "use_identity_as_username",
        "use_subject_as_username",
        "use_username_as_clientid",
    }
)


@dataclass(frozen=True, slots=True)
class Option:
    """`value` is what stands behind the key; line from 1."""

    value: str
    line: int

    @property
    def is_true(self) -> bool:
        return self.value.lower() in ("true", "1")


@dataclass(slots=True)
class Listener:
    """One `listener PORT [HOST]` and the options below it."""

    port: str
    host: str
    line: int
    options: dict[str, Option] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Nobody on another machine reaches it."""
        return self.host.startswith("/") or is_loopback(self.host)

    @property
    def is_tls(self) -> bool:
        return "certfile" in self.options and "keyfile" in self.options

    def says(self, key: str) -> bool:
        """Whether a switch is on."""
        return key in self.options and self.options[key].is_true

    def __str__(self) -> str:
        return f"listener {self.port} on {self.host or 'every address'}"


@dataclass(slots=True)
class Conf:
    """The whole file."""

    options: dict[str, Option] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)

    @property
    def is_local(self) -> bool:
        """No listener is reached from another machine; without any, Mosquitto 2 makes one like that."""
        return all(listener.is_local for listener in self.listeners)

    def number(self, key: str) -> int | None:
        """The value of a global option, if it is a whole number."""
        option = self.options.get(key)
        return int(option.value) if option is not None and WHOLE_NUMBER.fullmatch(option.value) else None

    def line(self, key: str) -> int | None:
        """Where a global option stands."""
        return self.options[key].line if key in self.options else None


def parse(text: str) -> Conf:
    """Unknown options are kept; which of two equal ones counts is the last, as for Mosquitto."""
    conf = Conf()
    for number, raw in enumerate(text.splitlines(), 1):
        key, _, value = raw.strip().partition(" ")
        if not key or key.startswith("#"):
            continue
        option = Option(value.strip(), number)
        if key in ("listener", "port"):
            port, _, host = option.value.partition(" ")
            conf.listeners.append(Listener(port, host.strip(), number))
        elif key == "bind_address" and conf.listeners:
            conf.listeners[-1].host = option.value
        elif key in OF_A_LISTENER and conf.listeners:
            conf.listeners[-1].options[key] = option
        else:
            conf.options[key] = option
    return conf
