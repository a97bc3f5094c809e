"""The Quality of Service Goal in force, and what must outlive the process beside the agents: one small JSON file.

A goal that a person set survives a restart, unless the goal of the YAML file was changed meanwhile: then that wins.
Round numbers never repeat: the file holds a number that no announced round has had.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from broker.durable_file import replace_durably
from broker.errors import Refused, TierwiseError
from broker.events import event
from broker.messages import Goal, GoalSet
from broker.private_files import PRIVATE
from configs.orchestrator import GoalSection, Policy
from orchestrator.accuracy import Accuracies, floor_tenths
from orchestrator.checkpoint import open_regular
from orchestrator.errors import CheckpointRefused

log = logging.getLogger(__name__)

FORM = 1
MAX_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class GoalInForce:
    """Floor in tenths of a point, policy, and a version that grows with every change."""

    floor_tenths: int
    policy: Policy
    policy_version: int

    def message(self) -> Goal:
        """What is published on `goal`."""
        return Goal(
            accuracy_floor_percent=self.floor_tenths / 10, policy=self.policy, policy_version=self.policy_version
        )

    def changed(self, wanted: GoalSet, accuracies: Accuracies) -> GoalInForce:
        """This goal with what `wanted` names; always a new version. Raises Refused (`bad_goal`)."""
        try:
            policy = self.policy if wanted.policy is None else Policy(wanted.policy)
            percent = wanted.accuracy_floor_percent
            floor = self.floor_tenths if percent is None else floor_tenths(percent)
        except ValueError as error:
            known = ", ".join(Policy)
            raise Refused("bad_goal", f"no policy {wanted.policy!r}; there are {known}") from error
        except TierwiseError as error:
            raise Refused("bad_goal", str(error)) from error
        if floor > accuracies.best_tenths:
            raise Refused("bad_goal", f"no model reaches {floor / 10} %, the best has {accuracies.best_tenths / 10} %")
        return GoalInForce(floor, policy, self.policy_version + 1)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content. `configured_*`: the YAML goal when it was written."""

    form: int
    next_round: int
    policy_version: int
    floor_tenths: int
    policy: str
    configured_floor_tenths: int
    configured_policy: str


def read_memory(path: Path) -> Memory | None:
    """What a former process left, None when there is nothing. Raises CheckpointRefused."""
    try:
        memory = msgspec.json.decode(_content(path), type=Memory)
        Policy(memory.policy)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointRefused(f"{path} cannot be read ({error}); move it away to start without it") from error
    if memory.form != FORM:
        raise CheckpointRefused(f"{path} has form {memory.form}, not {FORM}; move it away to start without it")
    return memory


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read(MAX_FILE_BYTES)


def write_memory(path: Path, memory: Memory) -> None:
    """Replace the file durably. Raises OSError."""
    replace_durably(path, lambda file: file.write(msgspec.json.encode(memory)), PRIVATE)


def goal_at_start(configured: GoalSection, memory: Memory | None) -> GoalInForce:
    """The remembered goal while the YAML's is the same as then, else the YAML's under a new version."""
    fresh = GoalInForce(floor_tenths(configured.accuracy_floor), configured.policy, 1)
    if memory is None:
        return fresh
    if (memory.configured_floor_tenths, memory.configured_policy) == (fresh.floor_tenths, fresh.policy):
        return GoalInForce(memory.floor_tenths, Policy(memory.policy), memory.policy_version)
    return replace(fresh, policy_version=memory.policy_version + 1)


def warn_of(goal: GoalInForce, accuracies: Accuracies) -> None:
    """Say that no model reaches the floor: all devices are then told the most accurate ones."""
    if goal.floor_tenths > accuracies.best_tenths:
        best = accuracies.best_tenths / 10
        event(log, logging.WARNING, "floor_out_of_reach", floor=goal.floor_tenths / 10, most_accurate=best)


def memory_of(goal: GoalInForce, configured: GoalSection, next_round: int) -> Memory:
    """What to write now."""
    return Memory(
        form=FORM,
        next_round=next_round,
        policy_version=goal.policy_version,
        floor_tenths=goal.floor_tenths,
        policy=goal.policy,
        configured_floor_tenths=floor_tenths(configured.accuracy_floor),
        configured_policy=configured.policy,
    )
