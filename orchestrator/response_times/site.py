"""All response times of one site: what is believed, as the arrays that a decision needs, and what reports teach.

Devices, classes and tiers get their rows here; whoever left is still known when it comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from broker.vocabulary import Link, ModelName, NodeId, Tier
from configs.orchestrator import StateSection
from orchestrator.agent import Observation
from orchestrator.response_times.change import Cusum
from orchestrator.response_times.contention import TierTimes
from orchestrator.response_times.local import LocalTimes
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.reporters import KEPT_AWAY_MS, MISSES, Reporters
from orchestrator.response_times.shared_round import Leap, SharedRound
from orchestrator.response_times.view import AnyArray, Belief, Bools, Noted, View, part_of
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL
from orchestrator.state import Resources

SERVING = (Tier.EDGE, Tier.CLOUD)
PLACE_OF = {Tier.END: LOCAL, Tier.EDGE: EDGE, Tier.CLOUD: CLOUD}
OUTLIER = 3.0  # times the median of the sharers: of k >= 3 first in, first out, the last takes less than twice the mean
FULL_LEAPS = 0.5  # share of leaps that are about the most sharers that a tier may have
MOST_VIEWS = 64  # observations that are remembered as arrays
LEAST_MS = 0.01  # no response is faster: a report of less is an answer, but its time says nothing
FEW_ASKED = 2
UNKNOWN_LEVEL_MS = 300.0  # of a tier that nobody was on yet, before anything was measured at all


class SiteTimes:
    """Mutable: `learn`, and `thresholds`, which are looked at anew for each observation."""

    def __init__(self, models: Iterable[ModelName], state: StateSection) -> None:
        self.models = {name: number for number, name in enumerate(models)}
        self.local = LocalTimes(len(self.models))
        self.tiers: dict[int, TierTimes] = {}
        self.thresholds = state
        self.reporters = Reporters()
        self._rows: dict[NodeId, int] = {}
        self._kinds: dict[tuple[str, ...], int] = {}
        self._states: dict[tuple[str, ...], int] = {}
        self._device_changes, self._tier_changes = Cusum(), Cusum()
        self._views: dict[int, View] = {}
        self._looks = 0
        self._seen: dict[int, int] = {}  # by row, the look at which it was seen last

    # -- what is seen -------------------------------------------------------------------------------------------

    def view(self, observation: Observation) -> View:
        """The observation as arrays; remembered while the observation lives here."""
        known = self._views.get(id(observation))
        if known is None:
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            known = self._views[id(observation)] = self._view(observation)
            self._looks += 1
            self._seen.update(dict.fromkeys(known.rows.tolist(), self._looks))
        return known

    @property
    def rows(self) -> int:
        """How many devices are known."""
        return len(self._rows)

    def newest(self, count: int) -> Ints:
        """The rows of so many devices that were seen last."""
        return np.array(sorted(sorted(self._rows.values(), key=lambda row: -self._seen.get(row, 0))[:count]))

    def keep(self, rows: Ints) -> None:
        """Forget all devices but these, which get new rows in this order. Views of before are worthless then."""
        self.local.predict(np.array([len(self._rows) - 1]), np.array([0]))  # all have a row
        self.local.keep(rows)
        self._device_changes.keep(rows)
        self.reporters.keep(rows)
        names = {row: name for name, row in self._rows.items()}
        self._rows = {names[row]: at for at, row in enumerate(rows.tolist())}
        self._seen = {at: self._seen.get(row, 0) for at, row in enumerate(rows.tolist())}
        self._views.clear()

    def _view(self, seen: Observation) -> View:
        # Many devices share one list of actions, as one object: each list is looked through once.
        lists = {id(actions): actions for actions in seen.actions}
        columns = tuple(
            sorted(
                {action for actions in lists.values() for action in actions},
                key=lambda action: (PLACE_OF[action.tier], self.models[action.model]),
            )
        )
        place = {action: column for column, action in enumerate(columns)}
        masks = np.zeros((len(lists), len(columns)), dtype=bool)
        for mask, actions in zip(masks, lists.values(), strict=True):
            mask[[place[action] for action in actions]] = True
        number = {key: at for at, key in enumerate(lists)}
        tenths = seen.accuracy_tenths
        best = max(tenths[action.model] for action in columns)
        edge = self._link(seen.state.edge)
        kinds = [self._kind(device, edge) for device in seen.state.devices]
        return View(
            observation=seen,
            columns=columns,
            column=place,
            rows=np.array([self._rows.setdefault(device, len(self._rows)) for device in seen.devices]),
            kinds=np.array(kinds),
            able=masks[[number[id(actions)] for actions in seen.actions]],
            tier=np.array([PLACE_OF[action.tier] for action in columns]),
            deficits=np.array([best - tenths[action.model] for action in columns]),
            models=np.array([self.models[action.model] for action in columns]),
            states=(self._state(seen.state.edge), self._state(seen.state.cloud)),
            budget=len(seen.devices) * (best - seen.floor_tenths),
        )

    def _link(self, node: Resources | None) -> str:
        return "unknown" if node is None else str(node.link)

    def _load(self, node: Resources | None) -> str:
        if node is None:
            return "unknown"
        limits = self.thresholds
        busy = node.cpu_percent >= limits.cpu_busy_percent or node.memory_percent >= limits.memory_busy_percent
        return "busy" if busy else "available"

    def _kind(self, device: Resources | None, edge: str) -> int:
        key = (self._link(device), self._load(device), "weak" if edge == Link.WEAK else "regular")
        return self._kinds.setdefault(key, len(self._kinds))

    def _state(self, node: Resources | None) -> int:
        key = (self._load(node),)
        return self._states.setdefault(key, len(self._states))

    # -- what is believed ---------------------------------------------------------------------------------------

    def believe(self, view: View) -> Belief:
        """Means and standard deviations of everything in the view."""
        devices, local = len(view.rows), view.tier == LOCAL
        own_ms, own_sd = np.full(view.able.shape, np.inf), np.zeros(view.able.shape)
        log_ms, sd = self.local.predict(view.rows, view.kinds)
        of_columns = view.models[local]
        # The mean of T, not of its logarithm; nothing is known of a time beyond its order of magnitude at first.
        own_ms[:, local] = np.exp(np.minimum(13.0, log_ms + self.local.spread.noise**2 / 2))[:, of_columns]
        own_sd[:, local] = sd[:, of_columns]
        shared_ms, shared_sd = np.zeros((2, devices + 1)), np.zeros((2, devices + 1))
        for tier in (EDGE, CLOUD):
            columns = np.flatnonzero(view.tier == tier)
            if not len(columns):
                continue
            times = self._tier(tier)
            for column in columns:
                own_ms[:, column], own_sd[:, column] = times.own(view.kinds, int(view.models[column]))
            away = self.reporters.kept_away(view.rows, tier)
            if away.any():
                own_ms[np.ix_(away, columns)] += KEPT_AWAY_MS
            curve = times.curve(devices, view.states[tier - 1])
            shared_ms[tier - 1], shared_sd[tier - 1] = curve.mean_ms, curve.sd_ms
        own_ms[~view.able] = np.inf
        return Belief(own_ms, own_sd, shared_ms, shared_sd)

    def leap(self, view: View, tier: int, most: int, random: np.random.Generator) -> Leap:
        """What one standard deviation of optimism about the tier looks like: about some device, and `most` sharers or
        fewer, another each time."""
        models = view.models[view.tier == tier]
        most = min(most, len(view.rows))
        sharers = most if random.random() < FULL_LEAPS else int(random.integers(1, most + 1))
        kind, model = int(random.choice(view.kinds)), int(random.choice(models))
        everybody = Counter({kind: sharers}), Counter({model: sharers})
        towards = SharedRound(sharers, 0.0, *everybody, view.states[tier - 1], averaged=sharers)
        return self._tier(tier).leap(towards, len(view.rows), view.kinds, models.tolist())

    def _tier(self, tier: int) -> TierTimes:
        if tier not in self.tiers:
            known = [times.curve(1, 0).mean_ms[1] for times in self.tiers.values() if times.rounds]
            self.tiers[tier] = TierTimes(float(known[0]) if known else UNKNOWN_LEVEL_MS)
        return self.tiers[tier]

    # -- what is learned ----------------------------------------------------------------------------------------

    def learn(
        self,
        view: View,
        columns: Ints,
        given_ms: Sequence[float | None],
        as_chosen: Bools,
        asked: Bools | None = None,
    ) -> Noted:
        """One round: device i did column `columns[i]` in `given_ms[i]`, unless that is None or not `as_chosen[i]`.

        What a device did in place of what it was told says nothing of either: its time contains the failure. A device
        that has not `asked` shares its tier, but lacks no result.
        """
        noted = Noted()
        there = np.array([ms is not None for ms in given_ms]) & as_chosen
        times_ms = np.array([0.0 if ms is None else ms for ms in given_ms])
        tier = view.tier[columns]
        ran = np.flatnonzero((tier == LOCAL) & there & (times_ms >= LEAST_MS))
        if len(ran):
            self._learn_local(view, columns, ran, np.log(times_ms[ran]), noted)
        self.reporters.advance(1.0)
        for number in (EDGE, CLOUD):
            sharers = np.flatnonzero(tier == number)
            if len(sharers):
                of = sharers if asked is None else sharers[asked[sharers]]
                self._learn_round(view, number, columns, sharers, of, there, times_ms, noted)
        return noted

    def _learn_round(
        self,
        view: View,
        tier: int,
        columns: Ints,
        sharers: Ints,
        of: Ints,
        there: Bools,
        times_ms: Floats,
        noted: Noted,
    ) -> None:
        """One tier's part of a round. `of`: the sharers that asked."""
        answered = of[there[of]]
        strange = self._held_back(view, tier, columns, len(sharers), answered, times_ms)
        served, missed = answered[strange == 0], np.setdiff1d(of, answered[strange <= 0])
        verdict = self.reporters.judge(tier, view.rows[served].tolist(), view.rows[missed].tolist())
        if len(of) < len(sharers) and len(of) - len(served) >= len(of) < FEW_ASKED:
            return  # of many sharers one alone was heard of, and it was not served: that may be its own fault
        counted = int(np.isin(view.rows[missed], list(verdict.counted)).sum())
        if verdict.doubtful:
            noted.doubtful.add(tier)
        if len(served) or verdict.dead:
            noted.sharers[tier] = len(sharers)
            noted.answered[tier] = len(sharers) * len(served) // max(1, len(served) + counted)
        if len(served):
            self._learn_tier(view, tier, columns, sharers, len(missed), served, times_ms, noted)

    def _held_back(self, view: View, tier: int, columns: Ints, sharers: int, answered: Ints, times_ms: Floats) -> Ints:
        """(answered,): 1 where a time is held back as too long, -1 as too short, else 0."""
        times, rows = self._tier(tier), view.rows[answered]
        if not times.rounds or not len(answered):
            self.reporters.taken(tier, rows.tolist())
            return np.zeros(len(answered), dtype=np.int64)
        like = list(zip(view.kinds[answered].tolist(), view.models[columns[answered]].tolist(), strict=True))
        known: dict[tuple[int, int], tuple[float, float, float]] = {}
        for kind, model in set(like):
            one = SharedRound(
                sharers, 1.0, Counter({kind: sharers}), Counter({model: sharers}), view.states[tier - 1], 1
            )
            alone = SharedRound(1, 1.0, Counter({kind: 1}), Counter({model: 1}), view.states[tier - 1], 1)
            known[kind, model] = (*times.expect(one), times.expect(alone)[0])
        expected_ms, sd_ms, alone_ms = np.array([known[each] for each in like]).T
        return self.reporters.held_back(tier, rows, times_ms[answered], expected_ms, alone_ms, sd_ms)

    def _learn_local(self, view: View, columns: Ints, ran: Ints, log_ms: Floats, noted: Noted) -> None:
        rows, kinds, models = view.rows[ran], view.kinds[ran], view.models[columns[ran]]
        mean, sd = self.local.predict(rows, kinds)
        each = np.arange(len(ran))
        residuals, sds = log_ms - mean[each, models], np.hypot(sd[each, models], self.local.spread.noise)
        changes = self._device_changes.note(rows, residuals, sds)
        for place, moved in zip(changes.changed, changes.moved, strict=True):
            self.local.shift(int(rows[place]), float(moved))
        noted.changed_devices = ran[changes.changed].tolist()
        noted.suspect_devices = ran[changes.suspect].tolist()
        self.local.learn(rows, models, kinds, log_ms)

    def _learn_tier(
        self,
        view: View,
        tier: int,
        columns: Ints,
        sharers: Ints,
        missing: int,
        answered: Ints,
        times_ms: Floats,
        noted: Noted,
    ) -> None:
        given = times_ms[answered]
        if given.min() < LEAST_MS:
            return
        if len(given) >= 3:
            given = given[given <= OUTLIER * np.median(given)]
        # Whoever is missing was slower than all that came: their mean is at least this. A bound, not a measurement.
        mean_ms = (given.sum() + missing * given.max()) / (len(given) + missing)
        observed = SharedRound(
            len(sharers),
            float(mean_ms),
            Counter(view.kinds[sharers].tolist()),
            Counter(view.models[columns[sharers]].tolist()),
            view.states[tier - 1],
            averaged=len(given) + missing,
        )
        self._note_shared(tier, observed, bool(missing), noted)

    def _note_shared(self, tier: int, observed: SharedRound, only_a_bound: bool, noted: Noted) -> None:
        times = self._tier(tier)
        if not times.rounds:
            if not only_a_bound:
                times.learn(observed)
            return
        expected_ms, sd_ms = times.expect(observed)
        if only_a_bound and observed.mean_ms <= expected_ms:
            return
        moved_ms = observed.mean_ms - expected_ms
        changes = self._tier_changes.note(np.array([tier - 1]), np.array([moved_ms]), np.array([sd_ms]))
        if len(changes.changed):
            times.shift(float(changes.moved[0]), newest=int(changes.since[0]) - 1)
            noted.changed_tiers.append(tier)
        elif len(changes.suspect):
            noted.suspect_tiers.append(tier)
        if len(changes.drifting) and not len(changes.changed):
            times.fade()
        times.learn(observed)

    def learn_one(self, view: View, place: int, columns: Ints, given_ms: float | None, as_told: bool) -> Noted:
        """One request decided on arrival: `place` did its column while the others held theirs.

        On edge and cloud one time is no mean over the sharers, so it is as uncertain as one of them.
        """
        noted = Noted()
        answered = given_ms is not None and as_told
        time_ms = given_ms or 0.0
        sane = answered and time_ms >= LEAST_MS
        tier = int(view.tier[columns[place]])
        if tier == LOCAL:
            if sane:
                self._learn_local(view, columns, np.array([place]), np.log([time_ms]), noted)
            return noted
        sharers = int((view.tier[columns] == tier).sum())
        self.reporters.advance(1.0 / len(view.rows))
        one, row = np.array([place]), int(view.rows[place])
        if answered:
            strange = int(self._held_back(view, tier, columns, sharers, one, np.full(len(columns), time_ms))[0])
            if strange < 0:
                return noted
            answered, sane = not strange, sane and not strange
        self._judge_one(tier, row, sharers, answered, noted)
        if sane:
            kind, model = int(view.kinds[place]), int(view.models[columns[place]])
            everybody = Counter({kind: sharers}), Counter({model: sharers})
            observed = SharedRound(sharers, time_ms, *everybody, view.states[tier - 1], averaged=1)
            self._note_shared(tier, observed, False, noted)
        return noted

    def _judge_one(self, tier: int, row: int, sharers: int, answered: bool, noted: Noted) -> None:
        """A single result that is missing says little of a tier that others use."""
        served, missed = ([row], []) if answered else ([], [row])
        verdict = self.reporters.judge(tier, served, missed, MISSES if sharers > 1 else 1)
        if answered or verdict.dead:
            noted.sharers[tier], noted.answered[tier] = sharers, sharers if answered else 0
        elif verdict.counted and sharers > 1:
            noted.sharers[tier], noted.answered[tier] = sharers, sharers - 1
        elif verdict.doubtful:
            noted.doubtful.add(tier)

    # -- what is kept -------------------------------------------------------------------------------------------

    def save(self) -> tuple[dict[str, Any], dict[str, AnyArray]]:
        """JSON and arrays with which `load` goes on exactly here."""
        about = {
            "rows": list(self._rows),
            "kinds": [list(kind) for kind in self._kinds],
            "states": [list(state) for state in self._states],
            "local": self.local.about(),
            "reporters": self.reporters.save(),
            "tiers": {str(tier): times.save() for tier, times in self.tiers.items()},
        }
        arrays = {f"local_{name}": array for name, array in self.local.observed.save().items()}
        for name, changes in (("devices", self._device_changes), ("tiers", self._tier_changes)):
            arrays |= {f"changes_{name}_{key}": array for key, array in changes.save().items()}
        return about, arrays

    def load(self, about: Mapping[str, Any], arrays: Mapping[str, AnyArray]) -> None:
        """Into a new object. On what is foreign raises KeyError, TypeError, ValueError, IndexError, AttributeError."""
        self._rows = {NodeId(str(name)): row for row, name in enumerate(about["rows"])}
        self._kinds = {tuple(kind): number for number, kind in enumerate(about["kinds"])}
        self._states = {tuple(state): number for number, state in enumerate(about["states"])}
        self.local.load(about["local"], part_of(arrays, "local_"))
        if "reporters" in about:  # not in checkpoints of earlier versions
            self.reporters.load(about["reporters"])
        seen = self.local.observed
        if seen.rows > len(self._rows) or (seen.rows and seen.classes > len(self._kinds)):
            raise ValueError("more devices or classes than names")
        for tier, saved in about["tiers"].items():
            self.tiers[int(tier)] = TierTimes.loaded(saved)
        self._device_changes.load(part_of(arrays, "changes_devices_"))
        self._tier_changes.load(part_of(arrays, "changes_tiers_"))
