"""The errors of everything that crosses a process boundary.

TierwiseError                 what a user can be told in one line; never a traceback
├── InvalidName               an id that could widen a topic, an access rule or a file path
├── Refused                   a received message that is not acted on; carries the reason that is counted
├── NotConnected              there is no broker to publish to right now; try again later
│   └── TooManyWaiting        there is one, but it does not take what waits for it already
├── MessageTooLarge           the broker would refuse this publish for ever; do not try again
├── TlsUnusable               certificate or key files that cannot be used; names the file and the way to mend it
├── IdentityUnusable          a provisioned folder, authority or register that cannot be used; names the way to mend it
└── BrokerUnavailable         Mosquitto is missing, or did not start; carries the way to mend it
"""

from __future__ import annotations


class TierwiseError(Exception):
    """What a user can be told in one line."""


class InvalidName(TierwiseError):
    """An id that could widen a topic, an access rule or a file path."""


class Refused(TierwiseError):
    """A received message that is not acted on.

    `reason` is one short word that is counted (`malformed`, `oversized`, `unknown_topic`, `retained`, ...);
    `detail` says what was wrong with this one.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class NotConnected(TierwiseError):
    """There is no broker to publish to right now."""


class TooManyWaiting(NotConnected):
    """There is a broker, but it does not take what waits for it already."""


class MessageTooLarge(TierwiseError):
    """The broker would refuse this publish for ever."""


class BrokerUnavailable(TierwiseError):
    """Mosquitto is missing, or did not start."""


class TlsUnusable(TierwiseError):
    """Certificate or key files that cannot be used."""


class IdentityUnusable(TierwiseError):
    """A provisioned folder, authority or register that cannot be used."""
