"""The errors of the orchestrator.

TierwiseError
├── TooManyJointActions       more joint actions than a table can hold; another agent, or fewer devices
├── TableFull                 the Q-table has grown to its limit
├── UnfitChoice               an agent chose what a device cannot do
├── CheckpointRefused         a file that is no checkpoint of this agent, version and action space
├── LogRefused                a file that is no response log of this version
├── SimulationRefused         a site, scenario or joint action that cannot be simulated
├── TransferRefused          an agent that has nothing another floor could begin with
├── ProblemRefused            arrays that are no decision problem
├── ProblemTooLarge           more joint actions than brute force goes through
├── FloorUnreachable          no joint action of these devices meets the floor; lower it
├── NotProven                 the solver found no proof of an optimum in its time
├── PolicyUnavailable        a policy whose library is not installed
├── DirectoryInUse            another orchestrator keeps its files there
├── NothingLogged             a report over no rows
├── NotExplained              decisions of a policy that does not say why
├── TooLittleLogged           a log that holds too little of something to fit a calibration
└── OutputRefused             a file that exists already, or cannot be written
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


class SimulationRefused(TierwiseError):
    """A site, scenario or joint action that cannot be simulated."""


class TransferRefused(TierwiseError):
    """An agent that has nothing another floor could begin with."""


class ProblemRefused(TierwiseError):
    """Arrays that are no decision problem."""


class ProblemTooLarge(TierwiseError):
    """More joint actions than brute force goes through."""


class FloorUnreachable(TierwiseError):
    """No joint action of these devices meets the floor."""


class NotProven(TierwiseError):
    """The solver found no proof of an optimum in its time."""


class PolicyUnavailable(TierwiseError):
    """A policy whose library is not installed."""


class DirectoryInUse(TierwiseError):
    """Another orchestrator keeps its files there."""


class NothingLogged(TierwiseError):
    """A report over no rows."""


class NotExplained(TierwiseError):
    """Decisions of a policy that does not say why."""


class TooLittleLogged(TierwiseError):
    """A log that holds too little of something to fit a calibration."""


class OutputRefused(TierwiseError):
    """A file that exists already, or cannot be written."""
