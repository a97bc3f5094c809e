"""The errors of the orchestrator.

TierwiseError
├── TooManyJointActions       more joint actions than a table can hold; another agent, or fewer devices
├── TableFull                 the Q-table has grown to its limit
├── UnfitChoice               an agent chose what a device cannot do
├── CheckpointRefused         a file that is no checkpoint of this agent, version and action space
├── LogRefused                a file that is no response log of this version
├── DirectoryInUse            another orchestrator keeps its files there
└── NothingLogged             a report over no rows
"""

from __future__ import annotations

from broker.errors import TierwiseError


class TooManyJointActions(TierwiseError):
    """More joint actions than a table can hold."""


class TableFull(TierwiseError):
    """The Q-table has grown to its limit."""


class UnfitChoice(TierwiseError):
    """An agent chose what a device cannot do."""


class CheckpointRefused(TierwiseError):
    """A file that is no checkpoint of this agent, version and action space."""


class LogRefused(TierwiseError):
    """A file that is no response log of this version."""


class DirectoryInUse(TierwiseError):
    """Another orchestrator keeps its files there."""


class NothingLogged(TierwiseError):
    """A report over no rows."""
