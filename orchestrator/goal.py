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
from broker.vocabulary import Metric
from configs.orchestrator import GoalSection, Policy
from configs.section import floor_too_low
from orchestrator.accuracy import Accuracies, floor_tenths
from orchestrator.checkpoint import open_regular
from orchestrator.errors import CheckpointRefused, GoalRefused

log = logging.getLogger(__name__)

FORM = 1
MAX_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class GoalInForce:
    """Floor in tenths of a point, policy, and a version that grows with every change."""

    floor_tenths: int
    policy: Policy
    policy_version: int
    metric: Metric = Metric.TOP5

    def message(self) -> Goal:
        """What is published on `goal`."""
        return Goal(
            accuracy_floor_percent=self.floor_tenths / 10,
            policy=self.policy,
            policy_version=self.policy_version,
            metric=self.metric,
        )

    def changed(self, wanted: GoalSet, accuracies: Accuracies) -> GoalInForce:
        """This goal with what `wanted` names; always a new version. Raises Refused (`bad_goal`)."""
        percent = wanted.accuracy_floor_percent
        if percent is not None and (why := floor_fault(percent, accuracies)):
            raise Refused("bad_goal", why)
        try:
            policy = self.policy if wanted.policy is None else Policy(wanted.policy)
            floor = self.floor_tenths if percent is None else floor_tenths(percent)
        except ValueError as error:
            known = ", ".join(Policy)
            raise Refused("bad_goal", f"no policy {wanted.policy!r}; there are {known}") from error
        except TierwiseError as error:
            raise Refused("bad_goal", str(error)) from error
        return replace(self, floor_tenths=floor, policy=policy, policy_version=self.policy_version + 1)


def floor_fault(percent: float, accuracies: Accuracies) -> str | None:
    """Why a floor in % makes no sense with these models; None where it does."""
    best, worst = accuracies.best_tenths / 10, accuracies.worst_tenths / 10
    if percent > best:
        return f"no model reaches {percent:g} %, the best has {best:g} %"
    return floor_too_low(percent, worst, best)


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content. `configured_*`: the YAML goal when it was written."""

    form: int
    next_round: int
    policy_version: int
    floor_tenths: int
    policy: str
    configured_floor_tenths: int
    configured_policy: str
    configured_metric: str = "top5"


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
    fresh = GoalInForce(floor_tenths(configured.accuracy_floor), configured.policy, 1, configured.metric)
    if memory is None:
        return fresh
    former = memory.configured_floor_tenths, memory.configured_policy, memory.configured_metric
    if former == (fresh.floor_tenths, fresh.policy, fresh.metric):
        return GoalInForce(memory.floor_tenths, Policy(memory.policy), memory.policy_version, fresh.metric)
    return replace(fresh, policy_version=memory.policy_version + 1)


def check_models(configured: GoalSection, goal: GoalInForce, accuracies: Accuracies) -> None:
    """Compare the goal with the models. Raises GoalRefused for a YAML floor below all models, or without any model.

    A floor that no model reaches is only logged: all devices are then told the most accurate ones. So is one that was
    set earlier and is below all models now.
    """
    if not accuracies.tenths:
        raise GoalRefused(
            f"no model of the manifest has the label set {configured.label_set} and a known {configured.metric} "
            "accuracy; set goal.label_set and goal.metric, or add a network (tierwise zoo add)"
        )
    best, worst = accuracies.best_tenths / 10, accuracies.worst_tenths / 10
    if why := floor_too_low(configured.accuracy_floor, worst, best):
        raise GoalRefused(f"goal.accuracy_floor: {why}")
    floor = goal.floor_tenths / 10
    if floor > best:
        event(log, logging.WARNING, "floor_out_of_reach", floor=floor, most_accurate=best)
    if floor_too_low(floor, worst, best):
        event(log, logging.WARNING, "floor_below_all_models", floor=floor, least_accurate=worst)


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
        configured_metric=configured.metric,
    )
