"""The errors of the orchestrator.

TierwiseError
├── TooManyJointActions       more joint actions than a table can hold; another agent, or fewer devices
├── TableFull                 the Q-table has grown to its limit
├── UnfitChoice               an agent chose what a device cannot do
├── CheckpointRefused         a file that is no checkpoint of this agent, version and action space
│   ├── CheckpointImplausible a checkpoint with numbers that no agent can have learned
│   └── ModelsChanged         a checkpoint of other models or accuracies, of which nothing can be carried over
├── GoalRefused               a goal in a file that makes no sense with the models of the manifest
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
├── AlreadyShipping           another shipper of this response log runs
├── InfluxUnavailable         an InfluxDB that takes or answers nothing right now; the rows wait
├── PointsRefused             a write that InfluxDB will never take as it is
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


class CheckpointImplausible(CheckpointRefused):
    """Its numbers are not finite, or beyond all bounds."""


class ModelsChanged(CheckpointRefused):
    """A checkpoint of other models or accuracies, of which nothing can be carried over."""


class GoalRefused(TierwiseError):
    """A goal in a file that makes no sense with the models of the manifest."""


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


class AlreadyShipping(TierwiseError):
    """Another shipper of this response log runs."""


class InfluxUnavailable(TierwiseError):
    """An InfluxDB that takes or answers nothing right now: nothing is wrong with the rows, so they wait.

    `status` is that of HTTP, 0 when there was no answer; `retry_after_s` what the server asked for; `deadline_s` the
    time that it was given, 0 unless that was the reason.
    """

    def __init__(self, message: str, status: int = 0, retry_after_s: float = 0.0, deadline_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.deadline_s = deadline_s
        self.retry_after_s = retry_after_s


class PointsRefused(TierwiseError):
    """A write that InfluxDB will never take as it is: at least one of its points is at fault."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"InfluxDB refuses points ({status}): {message}")
        self.status = status
        self.message = message


class TooLittleLogged(TierwiseError):
    """A log that holds too little of something to fit a calibration."""


class OutputRefused(TierwiseError):
    """A file that exists already, or cannot be written."""
