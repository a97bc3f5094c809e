"""The nouns that every process shares: ids, tier, model, action, node state, link, outcome,
metric.

They are types, not bare strings. An id is checked once, where it enters (`node_id`, `site_id`, `request_id`,
`model_name`); behind that door it can be put into a topic or a file name as it is.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from broker.errors import InvalidName

SiteId = NewType("SiteId", str)
NodeId = NewType("NodeId", str)
RequestId = NewType("RequestId", str)
ModelName = NewType("ModelName", str)

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"  # \Z: `$` would let a line feed through
NAME_RULE = "1 to 63 of a-z, 0-9 and -, with no - at either end"
REQUEST_ID_PATTERN = r"^[A-Za-z0-9_-]{8,64}\Z"
LABEL_SET_PATTERN = r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z"
IMAGENET = "imagenet-1000"  # the label set of d0 to d7
MODEL_PATTERN = r"^[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?\Z"


class Tier(StrEnum):
    """Where a task runs: S, E and C of section 4.1."""

    END = "end"
    EDGE = "edge"
    CLOUD = "cloud"


class NodeState(StrEnum):
    """The retained state of a node; `offline` is its last will."""

    ONLINE = "online"
    STOPPED = "stopped"
    OFFLINE = "offline"


class Link(StrEnum):
    """The bandwidth component of the state (Table 3)."""

    REGULAR = "regular"
    WEAK = "weak"


class Outcome(StrEnum):
    """How a request ended. Every request ends in exactly one of them."""

    DONE = "done"
    FALLEN_BACK = "fallen_back"
    FAILED = "failed"


class Metric(StrEnum):
    """The accuracy that floors and averages of a site are about."""

    TOP5 = "top5"
    TOP1 = "top1"


@dataclass(frozen=True, slots=True)
class Action:
    """What one device does with one request: which model runs on which tier."""

    tier: Tier
    model: ModelName

    def __str__(self) -> str:
        return f"{self.model}@{self.tier}"


def _checked(kind: str, pattern: str, rule: str, value: str) -> str:
    if not re.fullmatch(pattern, value):
        raise InvalidName(f"{value!r} is not a {kind}: use {rule}")
    return value


def site_id(value: str) -> SiteId:
    """`value` as a SiteId. Raises InvalidName."""
    return SiteId(_checked("site id", NAME_PATTERN, NAME_RULE, value))


def node_id(value: str) -> NodeId:
    """`value` as a NodeId. Raises InvalidName."""
    return NodeId(_checked("node id", NAME_PATTERN, NAME_RULE, value))


def request_id(value: str) -> RequestId:
    """`value` as a RequestId. Raises InvalidName."""
    return RequestId(_checked("request id", REQUEST_ID_PATTERN, "8 to 64 letters, digits, - and _", value))


def model_name(value: str) -> ModelName:
    """`value` as a ModelName. Raises InvalidName."""
    return ModelName(_checked("model name", MODEL_PATTERN, "1 to 32 of a-z, 0-9, - and _", value))


def new_request_id() -> RequestId:
    """A request id that no other device will draw (128 random bits)."""
    return RequestId(secrets.token_hex(16))
