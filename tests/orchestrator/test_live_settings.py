"""Settings of the orchestrator that change while it runs: each live one has its effect, in real parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.errors import Refused
from broker.messages import Birth, Heartbeat, Report, Round, RoundSummary, Stages, State, Telemetry
from broker.vocabulary import Action, Link, ModelName, NodeId, NodeState, Outcome, RequestId, SiteId, Tier
from configs.orchestrator import OrchestratorConfig, Policy, RoundsSection, StateSection
from configs.reloading import live_keys
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Thresholded
from orchestrator.agents.discretisation import discretise
from orchestrator.checkpoint import Checkpoint
from orchestrator.deciding import JointDecision
from orchestrator.finishing import Finisher, Surroundings
from orchestrator.goal import Memory
from orchestrator.log_rows import Listener, TelemetryRow
from orchestrator.log_store import TRIMMED_AT
from orchestrator.log_writer import LogWriter
from orchestrator.nodes import Registry
from orchestrator.pace import Pace
from orchestrator.policies import Policies
from orchestrator.retention import MIN_KEPT_ROWS, Retention
from orchestrator.rounds import GRACE_S, Asked, RoundBook, RoundEntry
from orchestrator.settling import Decided

S1, S2 = NodeId("s1"), NodeId("s2")


def test_a_round_that_is_being_collected_ends_by_the_new_window() -> None:
    """It began under a window of a minute."""
    book = RoundBook(1, 60.0, 5.0)
    book.ask(S1, RequestId("r1"), 0.0)
    before = book.due({S1, S2}, 0.3)
    book.reconfigure(0.2, 5.0)

    assert ([], 0.2) == (before, book.next_event_s())
    assert [1] == [entry.number for entry in book.due({S1, S2}, 0.3)]


@pytest.mark.parametrize(("deadline_s", "second_ends_s"), [(9.0, 10.0), (1.0, 5.0)])
def test_a_deadline_counts_for_rounds_that_are_decided_after_it(deadline_s: float, second_ends_s: float) -> None:
    """The first round's devices were told 5 s; the second ends by the new one, but never before the first."""
    book = RoundBook(1, 0.1, 5.0)
    book.ask(S1, RequestId("r1"), 0.0)
    book.due({S1}, 0.0)
    book.reconfigure(0.1, deadline_s)
    book.ask(S2, RequestId("r2"), 1.0)
    book.due({S2}, 1.0)

    ends = {
        entry.number: now_s for now_s in (4.9, 5.0, 5.1, 9.9, 10.0, 20.0) for entry in book.complete(now_s + GRACE_S)
    }
    assert {1: 5.0, 2: second_ends_s} == ends


def test_rounds_are_announced_in_the_new_period() -> None:
    """Again after 0.1 s where it was a minute."""
    pace = Pace(RoundsSection(open_period_s=60))
    pace.opening(4, idle=True, now_s=10.0)
    before = pace.opening(4, idle=True, now_s=10.2)
    pace.reconfigure(RoundsSection(open_period_s=0.1))

    assert before is None
    assert Round(round=4, open=True) == pace.opening(4, idle=True, now_s=10.2)


def test_a_silent_node_is_gone_by_the_new_timeout() -> None:
    """And back by a longer one."""
    registry = Registry(3.0)
    registry.on_birth(S1, Birth(session=5, tier=Tier.END, agent_version="1", vcpus=1, models={}))
    registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    registry.on_heartbeat(S1, Heartbeat(session=5, seq=0), 0.0)
    seen = [registry.online_devices(2.0)]
    for timeout_s in (1.0, 10.0):
        registry.reconfigure(timeout_s, None)
        seen.append(registry.online_devices(2.0))

    assert [{S1}, set(), {S1}] == seen


def test_a_node_serves_its_tier_as_soon_as_it_is_named() -> None:
    """Its birth was refused before."""
    registry = Registry(3.0, {Tier.EDGE: []})
    with pytest.raises(Refused, match="not_a_serving_node"):
        registry.on_birth(S1, Birth(session=5, tier=Tier.EDGE, agent_version="1", vcpus=1, models={}))
    registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    registry.on_heartbeat(S1, Heartbeat(session=5, seq=0), 0.0)
    seen = [registry.serving(Tier.EDGE, 1.0)]
    registry.reconfigure(3.0, {Tier.EDGE: [S1]})
    seen.append(registry.serving(Tier.EDGE, 1.0))

    assert [None, S1] == [None if node is None else node.node for node in seen]


@pytest.mark.parametrize("policy", [Policy.Q_LEARNING, Policy.OFFLOAD_ONLY, Policy.FACTORED])
@pytest.mark.parametrize("key", ["cpu_busy_percent", "memory_busy_percent"])
def test_busy_begins_at_the_new_threshold(
    accuracies: Accuracies, observe: Any, tmp_path: Path, policy: Policy, key: str
) -> None:
    """A device at 50 % is available before and busy after, for agents in use and for those that come later."""
    config = OrchestratorConfig.model_validate({"version": 1, "site": "home", "files": {"directory": tmp_path}})
    changed = config.model_copy(update={"state": StateSection(**{key: 40.0})})
    device = replace(observe(1).state.devices[0], cpu_percent=50.0, memory_percent=50.0)
    seen = replace(observe(1), state=replace(observe(1).state, devices=(device,)))
    policies = Policies(config, accuracies)
    agent: Any = policies.agent(policy)
    assert isinstance(agent, Thresholded)

    before = _busy(agent, seen)
    policies.reconfigure(changed)

    assert (False, True) == (before, _busy(agent, replace(seen)))
    assert _busy(Policies(changed, accuracies).agent(policy), replace(seen))
    later = Policies(config, accuracies)
    later.reconfigure(changed)
    assert _busy(later.agent(policy), replace(seen))


def _busy(agent: Any, seen: Any) -> bool:
    """How the agent itself sees the one device of `seen`."""
    if agent.name == "factored":
        return "busy" == agent._times._load(seen.state.devices[0])
    learner = getattr(agent, "_learner", agent)
    return 1 in discretise(seen.state, learner._thresholds)[6:8]


def test_so_many_rows_of_telemetry_are_kept_from_now_on(accuracies: Accuracies, tmp_path: Path) -> None:
    """All are kept under a limit of a million, and four under one of four."""
    clock = ManualClock()
    listener = Listener(stored=lambda _ids: None, foreign=lambda _ids: None)
    writer = LogWriter(tmp_path / "log.sqlite3", SiteId("home"), accuracies.tenths, listener, clock, 1000)
    telemetry = Telemetry(seq=1, cpu_percent=1.0, memory_percent=1.0, link=Link.REGULAR)
    counts = []
    for limit, rows in ((10**6, TRIMMED_AT + 7), (4, 3)):
        writer.reconfigure(limit)
        writer._store([TelemetryRow(S1, Tier.END, telemetry)] * rows)
        counts += writer.connection.execute("SELECT count(*) FROM telemetry").fetchone()
    writer.connection.close()

    assert [TRIMMED_AT + 7, 4] == counts


@pytest.mark.parametrize("limit", [Retention(days=1.0), Retention(max_bytes=1)])
def test_rows_are_kept_as_long_as_the_new_limits_say(accuracies: Accuracies, tmp_path: Path, limit: Retention) -> None:
    """All without a limit; a hundred of two hundred as soon as one of age or size is there."""
    clock = ManualClock()
    listener = Listener(stored=lambda _ids: None, foreign=lambda _ids: None)
    writer = LogWriter(tmp_path / "log.sqlite3", SiteId("home"), accuracies.tenths, listener, clock, 10**6)
    telemetry = Telemetry(seq=1, cpu_percent=1.0, memory_percent=1.0, link=Link.REGULAR)
    writer._store([TelemetryRow(S1, Tier.END, telemetry)] * (2 * MIN_KEPT_ROWS))
    counts = []
    for keeps in (Retention(), limit):
        clock.advance(100_000.0)
        writer.reconfigure(10**6, keeps)
        writer._delete_old()
        counts += writer.connection.execute("SELECT count(*) FROM telemetry").fetchone()
    writer.connection.close()

    assert [2 * MIN_KEPT_ROWS, MIN_KEPT_ROWS] == counts


class Counting:
    """An agent that counts how often it is saved."""

    name, stateful, saves = "counting", True, 0

    def act(self, observation: Any) -> Choice:
        raise NotImplementedError

    def learn(self, experience: Any) -> None: ...

    def save(self) -> Checkpoint:
        self.saves += 1
        return Checkpoint(self.name, 1)

    def load(self, checkpoint: Checkpoint) -> None: ...


def test_what_was_learned_is_saved_after_the_new_number_of_rounds(
    accuracies: Accuracies, observe: Any, tmp_path: Path
) -> None:
    """One round under a thousand saves nothing; the next, under one, does."""
    agent, told = Counting(), asyncio.Queue[int]()
    memory = Memory(
        form=1, next_round=9, policy_version=1, floor_tenths=0, policy="random", configured_floor_tenths=0,
        configured_policy="random",
    )  # fmt: skip

    def announce(_number: int, _summary: RoundSummary | None) -> None:
        told.put_nowait(agent.saves)

    async def scenario() -> list[int]:
        policies: Any = Policies(OrchestratorConfig.model_validate({"version": 1, "site": "home"}), accuracies)
        policies.checkpoint_path = lambda agent: tmp_path / f"{agent.name}.npz"
        around = Surroundings(lambda seen: seen, lambda: memory, announce)
        finisher = Finisher(tmp_path, 1000, policies, accuracies, around)
        running = asyncio.create_task(finisher.run(), name="finisher")
        d0 = Action(Tier.END, ModelName("d0"))
        saves = []
        async with asyncio.timeout(120):
            for number, every in ((1, 1000), (2, 1)):
                finisher.reconfigure(every)
                joint = JointDecision(observe(1), Choice((d0,)), (ModelName("d0"),), "counting", agent, None, ())
                report = Report(
                    request_id=f"request-{number}", outcome=Outcome.DONE, decided=True, tier=Tier.END, model="d0",
                    serving_node="s1", response_ms=1.0, stages=Stages(),
                )  # fmt: skip
                entry = RoundEntry(number, 0.0, {S1: Asked(S1, RequestId(report.request_id), report)})
                finisher.finish(entry, Decided(joint, 1, 5000.0, 10_000.0))
                saves.append(await told.get())
            await finisher.close()
        running.cancel()
        return saves

    assert [0, 1] == asyncio.run(scenario())


# Where each live key is tried out; those of None, by the orchestrator as a process (live/test_live_settings.py).
TRIED: dict[str, Callable[..., None] | None] = {
    "goal.accuracy_floor": None,
    "goal.policy": None,
    "rounds.min_devices": None,
    "log_level": None,
    "rounds.window_ms": test_a_round_that_is_being_collected_ends_by_the_new_window,
    "rounds.deadline_ms": test_a_deadline_counts_for_rounds_that_are_decided_after_it,
    "rounds.open_period_s": test_rounds_are_announced_in_the_new_period,
    "state.cpu_busy_percent": test_busy_begins_at_the_new_threshold,
    "state.memory_busy_percent": test_busy_begins_at_the_new_threshold,
    "serving_nodes": test_a_node_serves_its_tier_as_soon_as_it_is_named,
    "liveness.heartbeat_timeout_s": test_a_silent_node_is_gone_by_the_new_timeout,
    "files.retention_days": test_rows_are_kept_as_long_as_the_new_limits_say,
    "files.max_megabytes": test_rows_are_kept_as_long_as_the_new_limits_say,
    "files.telemetry_rows": test_so_many_rows_of_telemetry_are_kept_from_now_on,
    "files.checkpoint_every_rounds": test_what_was_learned_is_saved_after_the_new_number_of_rounds,
}


def test_every_live_key_is_tried_out_and_no_other() -> None:
    """A field that is marked live without being handled, or handled without the mark, is noticed here."""
    assert live_keys(OrchestratorConfig) == set(TRIED)
