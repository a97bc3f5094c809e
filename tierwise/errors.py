"""The errors of the front door.

TierwiseError
├── WrongFilter               a FILTER that names no messages; `str` names the forms that do
├── NoPong                    a node that answered no ping
├── NotCleaned                retained messages that could not be removed, or not for certain
└── GoalRefused               a change of the goal that the orchestrator refused; `str` has its reason
"""

from __future__ import annotations

from broker.errors import TierwiseError


class WrongFilter(TierwiseError):
    """A FILTER that names no messages."""


class NoPong(TierwiseError):
    """A node that answered no ping."""


class NotCleaned(TierwiseError):
    """Retained messages that could not be removed, or not for certain."""


class GoalRefused(TierwiseError):
    """A change of the goal that the orchestrator refused."""
