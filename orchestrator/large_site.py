"""Requests decided at once as cheaply as can be: by the laps of an agent that plans, or, in overload, by no agent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from broker.messages import RoundSummary
from broker.vocabulary import Action, ModelName, NodeId
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Choice, Explanation, Observation, Reason
from orchestrator.checkpoint import Checkpoint
from orchestrator.deciding import SAFE, JointDecision
from orchestrator.laps import Came, Laps, Planning
from orchestrator.nodes import Registry
from orchestrator.observe import Observer
from orchestrator.rounds import RoundEntry
from orchestrator.settling import Decided, delivered, executed_of, summary_with
from orchestrator.standing import Beside, Standing, fit
from orchestrator.state import SystemState

NO_STATE = SystemState(None, None, (None,))
EXPLORING = (Reason.UNCERTAIN, Reason.PROBE)

Save = Callable[[Agent, Checkpoint], None]


class LargeSite:
    """All calls are made in the loop's thread. Only changes of the site take longer the more devices there are."""

    def __init__(self, registry: Registry, observer: Observer, accuracies: Accuracies, save: Save) -> None:
        self._registry = registry
        self._observer = observer
        self._accuracies = accuracies
        self._save = save
        self._standing = Standing(accuracies)
        self._laps: dict[int, Laps] = {}

    def laps_of(self, agent: Agent, now_s: float) -> Laps | None:
        """The laps of this agent, if the site goes by them now."""
        if id(agent) not in self._laps:
            if not isinstance(agent, Planning):
                return None
            self._laps[id(agent)] = Laps(agent, self._accuracies, partial(self._save, agent))
        laps = self._laps[id(agent)]
        return laps if laps.serves(len(self._registry.online_devices(now_s))) else None

    def tell(self, device: NodeId, action: Action, fallback: ModelName) -> None:
        """A decision has left for `device`, however it was made."""
        self._standing.tell(device, action, fallback)

    def decide(self, laps: Laps, agent: Agent, device: NodeId, floor: int, now_s: float) -> JointDecision | None:
        """Its part of the plan in force, as far as the floor allows; a safe local model before there is a plan."""
        self._turn(laps, floor, now_s)
        lap = laps.in_force
        part = None if lap is None else lap.parts.get(device)
        able, beside = self._around(device, now_s)
        if not able:
            return None
        if part is None or part.action not in able:
            laps.want()
        action, fallback, is_part = fit(part, self._standing.held(device), able, beside, floor, self._accuracies)
        why = part.explanation if part is not None and is_part else None
        choice = Choice((action,), why is not None and why.reason in EXPLORING, (fallback,), _saying(why))
        by = agent if lap is not None else None
        seen = self._seen(device, able, floor)
        teach = partial(_teach, laps, device, action)
        name = SAFE if by is None else agent.name
        return JointDecision(seen, choice, (fallback,), name, by, 0, (), (beside.count, beside.tenths), teach)

    def cheaply(self, device: NodeId, floor: int, now_s: float) -> JointDecision | None:
        """The cheapest local model that the floor allows the device by itself and beside what the others hold."""
        able, beside = self._around(device, now_s)
        if not able:
            return None
        action, fallback, _ = fit(None, None, able, beside, floor, self._accuracies)
        seen = self._seen(device, able, floor)
        return JointDecision(seen, Choice((action,)), (fallback,), SAFE, None, 0, (), (beside.count, beside.tenths))

    def close(self) -> None:
        """End all threads. Blocks until each has learned what came last."""
        for laps in self._laps.values():
            laps.close()

    def _turn(self, laps: Laps, floor: int, now_s: float) -> None:
        lap = laps.in_force
        if lap is not None and lap.observation.floor_tenths != floor:
            laps.want()
        online = self._registry.online_devices(now_s)
        laps.turn(lambda: self._observer.observe(online, floor, now_s), now_s)

    def _around(self, device: NodeId, now_s: float) -> tuple[tuple[Action, ...], Beside]:
        """What the device can do, and what the others hold."""
        online, offered = self._registry.online_devices(now_s), self._observer.offered(now_s)
        if not self._standing.is_of(online, offered):
            self._standing.of_site(online, offered, ((one, self._observer.able(one, offered)) for one in online))
        return self._observer.able(device, offered), self._standing.beside(device)

    def _seen(self, device: NodeId, able: tuple[Action, ...], floor: int) -> Observation:
        """Of the one device; no agent sees it."""
        return Observation(NO_STATE, (device,), (able,), floor, self._accuracies.tenths)


def _teach(laps: Laps, device: NodeId, told: Action, executed: Action | None, response_ms: float | None) -> None:
    laps.note(device, Came(told, executed, response_ms))


def _saying(why: Explanation | None) -> Callable[[int], Explanation] | None:
    return None if why is None else lambda _place: why


def settle_beside(
    entry: RoundEntry, decided: Decided, beside: tuple[int, int], accuracies: Accuracies
) -> tuple[Action | None, float | None, RoundSummary]:
    """As `immediate.settle_one`, with what the others hold known as a number and the sum of its accuracies."""
    joint = decided.joint
    report = delivered(entry, joint.observation.devices[0])
    chosen, executed = joint.choice.actions[0], executed_of(report)
    response_ms = None if report is None else report.response_ms
    ran = chosen.model if executed is None or executed.model not in accuracies.tenths else executed.model
    count, tenths = beside
    floor, together = joint.observation.floor_tenths, (count + 1)
    ran_tenths, chosen_tenths = tenths + accuracies.tenths[ran], tenths + accuracies.tenths[chosen.model]
    percent, met = ran_tenths / (10 * together), ran_tenths >= together * floor
    summary = summary_with(decided, [response_ms], percent, met, chosen_tenths >= together * floor)
    return executed, response_ms, summary
