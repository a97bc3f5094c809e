"""The factored agent: learns each response time from each device's own report, and solves for the joint action.

The paper's agents see one averaged reward for 10^N joint actions. This one uses what is known about such a site: a
local run depends on nobody else, edge and cloud depend on how many share them, like devices are alike. So it has a
model of response times with uncertainties (`orchestrator.response_times`), and each round solves P1 (equation 2) for
optimistic times: what is expected less some standard deviations, which shrink with evidence while their number grows
slowly, so that nothing is locked in. The floor is a constraint of that problem, in integers: no round breaks it,
exploratory ones included. Edge and cloud are entered by doubling counts; what was not used for some rounds is probed.
docs/learning.md explains it, with what was measured.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np

from broker.events import event
from broker.vocabulary import Action, ModelName, Tier
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointImplausible, CheckpointRefused, FloorUnreachable, ModelsChanged
from orchestrator.response_times.carry_over import CarriedOver, carry_over
from orchestrator.response_times.explaining import Decided
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.planning import (
    best_alone,
    cautious,
    costs,
    differ,
    hoped,
    left_for,
    served,
    standing_columns,
    times_ms,
    with_forced,
)
from orchestrator.response_times.probing import Schedule
from orchestrator.response_times.shared_round import Leap
from orchestrator.response_times.site import SiteTimes
from orchestrator.response_times.view import Belief, Noted, View
from orchestrator.solver.bounded import Prices, solve_within
from orchestrator.solver.problem import CLOUD, EDGE, Problem

log = logging.getLogger(__name__)

FORM = 1
TIER_NAMES = {EDGE: Tier.EDGE, CLOUD: Tier.CLOUD}
GAP = 0.001  # a joint action is proven to be this near to the best for the times it is made for
HOPED_GAP = 0.0001  # what a few of a thousand devices may gain on a tier must not drown in it
PROVEN = ("best", "part")  # purposes: what is known is to be proven, hopes are not
NODES = 3  # of the solver's search, for a proof
SHARED_WIDTH = 0.5  # of the optimism about single times: a tier's curve has few unknowns
OVERDUE = 2.0  # times as long as it should wait, then a probe is made by whoever asks next
SPARE = 256  # devices that are gone and still known, beside as many as there are
HELD = 0.002  # in immediate mode a device keeps its action unless another is better by this share

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


class Factored:
    """Decides and learns, in rounds or one request at a time. Mutable.

    `gap`: by what share the last best joint action may be off, certified: for the times that are believed in, a little
    cautiously, and within the limits of entry. `last_view`: what was learned from last, None before. `changes_found`:
    how often a device or tier had changed.
    """

    name = "factored"
    stateful = True
    plans_from = 48  # devices: from there on a request cannot wait for a joint decision of its own

    def __init__(
        self, config: FactoredSection, state: StateSection, models: Mapping[ModelName, int], seed: int | None
    ) -> None:
        self.gap = 0.0
        self.changes_found = 0
        self._config = config
        self._state = state
        self._models = dict(models)
        self._random = np.random.default_rng(seed)
        self._times = SiteTimes(models, state)
        self.schedule = Schedule(config.probe_every_rounds, config.probe_share)
        self._round = self._requests = 0
        self._learned = 0
        self._prices: dict[str, Prices] = {}
        self.last_view: View | None = None
        self._believed: tuple[int, View, Belief] | None = None
        self._found: tuple[int, View, Ints] | None = None

    def reconfigure(self, thresholds: StateSection) -> None:
        """Other thresholds of Table 3, from the next observation on."""
        self._state = thresholds
        self._times.thresholds = thresholds

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        """The best joint action as far as is known, edge and cloud no fuller than was tried."""
        view = self._view(observation)
        return view.actions_of(self._best(view))

    def act(self, observation: Observation) -> Choice:
        """The best joint action for optimistic times, some devices probing. Raises FloorUnreachable."""
        self._round += 1
        view = self._view(observation)
        best = self._best(view)
        columns, forced = self._explore(view, best)
        explored = differ(view, self.belief(view), columns, best)
        if not explored:
            columns, forced = best, {}
        decided = self._decided(view, columns, best, forced)
        return Choice(view.actions_of(columns), explored, why=decided.why, whys=decided.whys)

    def learn(self, experience: Experience) -> None:
        """Take in what each device reported for itself."""
        view = self._view(experience.observation)
        told = experience.choice.actions
        columns = view.columns_of(told)
        as_told = np.array([done == was for done, was in zip(experience.executed, told, strict=True)])
        asked = None if experience.asked is None else np.array(experience.asked)
        noted = self._times.learn(view, columns, experience.response_ms, as_told, asked)
        self.schedule.note(view, columns, noted, self._round)
        self._noted(view, noted)
        with suppress(FloorUnreachable):  # whoever asks next will be told
            self._best(self._view(experience.next_observation))  # most often what is asked for next

    def _noted(self, view: View, noted: Noted) -> None:
        self._learned += 1
        self.last_view = view
        changed = [str(view.observation.devices[place]) for place in noted.changed_devices]
        changed += [TIER_NAMES[tier] for tier in noted.changed_tiers]
        self.changes_found += len(changed)
        if changed:
            event(log, logging.INFO, "change_found", of=", ".join(changed), round=self._round)

    def _view(self, observation: Observation) -> View:
        """The observation as arrays. Whoever is long gone is forgotten, so that a site may run for years."""
        view = self._times.view(observation)
        if self._times.rows > 2 * len(view.rows) + SPARE:
            kept = self._times.newest(2 * len(view.rows))
            self._times.keep(kept)
            self.schedule.keep(kept)
            self.last_view = None
            view = self._times.view(observation)
        return view

    # -- decisions ----------------------------------------------------------------------------------------------

    def belief(self, view: View) -> Belief:
        """What is believed now of the times in this view."""
        if self._believed is None or self._believed[0] != self._learned or not view.same(self._believed[1]):
            self._believed = self._learned, view, self._times.believe(view)
        return self._believed[2]

    def _best(self, view: View) -> Ints:
        if self._found is None or self._found[0] != self._learned or not view.same(self._found[1]):
            caution = self._config.caution
            found = self._for_times(view, -caution, cautious(view, self.belief(view), caution), "best")
            self._found = self._learned, view, found
        return self._found[2]

    def _for_times(self, view: View, width: float | Floats, leaps: Mapping[int, Leap], purpose: str) -> Ints:
        """The joint action for times that are hoped for."""
        solve = partial(self._solve, purpose=purpose)
        return served(solve, view, self.belief(view), self.schedule.tiers, width, leaps)

    def _solve(self, problem: Problem, purpose: str) -> Ints:
        """A joint action, within GAP of the best for these times. It begins with the prices of the round before."""
        proving = purpose in PROVEN
        gap, nodes = (GAP, NODES) if proving else (HOPED_GAP, 1)
        found = solve_within(problem, gap, self._prices.get(purpose), nodes)
        self._prices[purpose] = found.prices
        if proving:
            self.gap = found.gap
        return np.array(found.actions)

    def _width(self) -> float:
        """Of optimism, in standard deviations: it grows slowly, so that evidence alone ends exploring."""
        return self._config.optimism * math.sqrt(2 * math.log(math.e + self._round))

    def _leaps(self, view: View, width: float) -> dict[int, Leap]:
        """How much faster edge and cloud are hoped to be."""
        by, leaps = SHARED_WIDTH * width, {}
        for tier, record in self.schedule.tiers.items():
            if (view.tier == tier).any():
                leap = self._times.leap(view, tier, record.most, self._random)
                leaps[tier] = Leap(by * leap.shared_ms, by * leap.own_ms)
        return leaps

    def _explore(self, view: View, best: Ints) -> tuple[Ints, dict[int, int]]:
        """Columns for optimistic times, and the places that probe, with their tiers."""
        width = self._width()
        drawn = width * (1 - self._config.diversity * self._random.random(view.able.shape))
        belief, leaps = self.belief(view), self._leaps(view, width)
        order = self._random.permutation(len(view.rows))
        forced = self.schedule.forced(view, costs(view, belief, best), self._round, order)
        if forced:
            problem = hoped(view, belief, self.schedule.tiers, drawn, leaps)
            with suppress(FloorUnreachable):  # a probe that the floor does not allow waits
                return self._solve(with_forced(problem, forced), "probing"), forced
        return self._for_times(view, drawn, leaps, "exploring"), {}

    def _decided(
        self, view: View, columns: Ints, best: Ints, forced: Mapping[int, int], held: frozenset[int] = frozenset()
    ) -> Decided:
        limits = {tier: 0 if record.dead else record.most for tier, record in self.schedule.tiers.items()}
        return Decided(view, self.belief(view), columns, best, forced, limits, held)

    # -- one request at a time ----------------------------------------------------------------------------------

    def act_one(self, observation: Observation, place: int, held: Sequence[Action | None]) -> Choice:
        """The device's part in the joint action to which all move, one at a time, each as the floor allows.

        If it does its part already, it may try something that is hoped to be better. If those that were told something
        leave too little of the floor's budget, it takes the best that is left.
        """
        self._requests += 1
        self._round += self._requests % len(observation.devices) == 0
        view = self._view(observation)
        standing = standing_columns(view, held)
        best = int(self._holding(view, standing, place, 0.0)[place])
        forced = self._forced(view, standing, place)
        wanted = [best]
        if best == standing[place] or forced:
            wanted.insert(0, int(self._holding(view, standing, place, self._width(), forced)[place]))
        columns, left = standing.copy(), left_for(view, held, place)
        fitting = [column for column in wanted if view.deficits[column] <= left]
        columns[place] = (
            fitting[0] if fitting else best_alone(view, self.belief(view), self.schedule.tiers, standing, place, left)
        )
        known = columns.copy()
        known[place] = best
        held_places = frozenset(range(len(columns))) - {place}
        decided = self._decided(view, columns, known, forced, held_places)
        return Choice(view.actions_of(columns), bool(columns[place] != best), why=decided.why)

    def _holding(
        self, view: View, standing: Ints, place: int, width: float, forced: Mapping[int, int] | None = None
    ) -> Ints:
        """The best joint action for times that are hoped for of `place`, in which all rather stay."""
        own = np.zeros(view.able.shape)
        own[place] = width
        belief = self.belief(view)
        leaps = self._leaps(view, width) if width else cautious(view, belief, 0.0)
        problem = hoped(view, belief, self.schedule.tiers, own, leaps)
        moving_ms = HELD * np.repeat(times_ms(view, belief, standing)[:, None], len(view.columns), axis=1)
        moving_ms[np.arange(len(standing)), standing] = 0.0
        problem = with_forced(replace(problem, own_ms=problem.own_ms + np.maximum(0.0, moving_ms)), forced or {})
        with suppress(FloorUnreachable):
            return self._solve(problem, "holding" if width else "part")
        return standing

    def _forced(self, view: View, standing: Ints, place: int) -> dict[int, int]:
        """Whether this device probes. The cheapest does; what is overdue whoever asks, for that one may never ask."""
        order = self._random.permutation(len(standing))
        cost = costs(view, self.belief(view), standing)
        forced = self.schedule.forced(view, cost, self._round, order)
        if place not in forced:
            cost.ms[np.arange(len(standing)) != place] = np.inf
            forced = self.schedule.forced(view, cost, self._round, order, OVERDUE)
        return {place: forced[place]} if place in forced else {}

    def learn_one(
        self, observation: Observation, place: int, choice: Choice, executed: Action | None, response_ms: float | None
    ) -> None:
        """Take in one device's report."""
        view = self._view(observation)
        columns = view.columns_of(choice.actions)
        noted = self._times.learn_one(view, place, columns, response_ms, executed == choice.actions[place])
        self.schedule.note_one(view, place, columns, noted, self._round)
        self._noted(view, noted)

    # -- what is kept -------------------------------------------------------------------------------------------

    def save(self) -> Checkpoint:
        """All that is needed to go on exactly here."""
        times, arrays = self._times.save()
        about = {
            "models": list(self._models),
            "times": times,
            "schedule": self.schedule.save(),
            "round": self._round,
            "requests": self._requests,
            "prices": {purpose: list(prices) for purpose, prices in self._prices.items()},
            "random": self._random.bit_generator.state,
            "last": None if self.last_view is None else self.last_view.save(),
        }
        return Checkpoint(self.name, FORM, about, arrays)

    def load(self, checkpoint: Checkpoint) -> None:
        """Take over what was learned, without what is about models that are gone.

        Raises CheckpointRefused; ModelsChanged if none of its models is left.
        """
        checkpoint.expect(self.name, FORM)
        carried = self._for_these_models(checkpoint)
        checkpoint = carried.checkpoint
        about = checkpoint.about
        times = SiteTimes(self._models, self._state)
        schedule = Schedule(self._config.probe_every_rounds, self._config.probe_share)
        random = np.random.default_rng()
        try:
            times.load(about["times"], checkpoint.arrays)
            schedule.load(about["schedule"])
            random.bit_generator.state = about["random"]
            prices = {str(purpose): Prices(*map(float, values)) for purpose, values in about["prices"].items()}
            last = None if about["last"] is None else View.loaded(about["last"])
            round_, requests = int(about["round"]), int(about["requests"])
            if round_ < 0 or requests < 0:
                raise ValueError(f"round {round_}, request {requests}")
        except UNREADABLE as error:
            raise CheckpointImplausible(
                f"what was learned cannot be read ({error}); move it away to start anew"
            ) from error
        self._times, self.schedule, self._random, self._prices = times, schedule, random, prices
        self._round, self._requests, self.last_view = round_, requests, last
        self._learned += 1
        if carried.dropped:
            event(
                log, logging.WARNING, "models_dropped", policy=self.name, models=", ".join(carried.dropped),
                kept=", ".join(self._models), observations_dropped=carried.dropped_observations,
            )  # fmt: skip

    def _for_these_models(self, checkpoint: Checkpoint) -> CarriedOver:
        """The checkpoint with the present models in their order. Accuracies may change: times do not depend on them."""
        learned, present = checkpoint.about.get("models"), [str(model) for model in self._models]
        if not isinstance(learned, list) or not learned or not all(isinstance(name, str) for name in learned):
            raise CheckpointRefused("the checkpoint names no models; move it away to start without it")
        if learned == present[: len(learned)]:
            return CarriedOver(checkpoint, (), 0)  # models that were added come last
        if not set(learned) & set(present) or len(set(learned)) < len(learned):
            raise ModelsChanged("the checkpoint is of other models")
        try:
            return carry_over(checkpoint, present)
        except UNREADABLE as error:
            raise CheckpointImplausible(
                f"what was learned cannot be read ({error}); move it away to start anew"
            ) from error
