"""Table 12, figure 8 and the step times: measured for a moment, and what is made of known measurements."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from broker.errors import TierwiseError
from broker.vocabulary import Link, NodeId, Tier
from configs.orchestrator import Policy
from orchestrator.response_log import LOG_NAME, open_for_writing
from tierwise.observer import ObservedRound
from tierwise.reproduce.artifact import Artifact
from tierwise.reproduce.fleet_run import Site, _Counter, folder
from tierwise.reproduce.measured import monitoring_rows, part, reproduce_figure8, reproduce_steptimes, reproduce_table12
from tierwise.reproduce.message_times import Messages, message_rows, messages_of, share_rows
from tierwise.reproduce.monitoring_cost import Shares
from tierwise.reproduce.step_times import WARM_UP, exploiting_agent, step_times, times_of

ROUNDS = 2
DELAY_MS = 20.0  # configs/demo.yaml
MESSAGES = Messages(
    link=Link.WEAK,
    uplink=[20.0, 22.0, 24.0],
    encode=[9.0, 10.0, 11.0],
    decide_offloaded=[30.0, 31.0, 38.0],
    response_offloaded=[1000.0, 1000.0, 1000.0],
    decide_local=[3.0, 3.0],
    response_local=[500.0, 500.0],
    update=[1.0, 2.0, 3.0, 2.0],
)


class Told:
    """Records what a long measurement tells of itself."""

    def __init__(self) -> None:
        self.fractions: list[float] = []

    def __call__(self, fraction: float, text: str) -> None:
        assert text
        self.fractions.append(fraction)


def silent(fraction: float, text: str) -> None:
    """Nobody listens."""


# -- pure ------------------------------------------------------------------------------------------------------------


def test_table_12_s_rows_are_medians_beside_the_published_figures() -> None:
    """n is how many values there are; the total adds one request's own messages and the median update."""
    rows = {row["message"]: row for row in message_rows(MESSAGES)}

    assert (137, 22.0, 3) == tuple(rows["request"][key] for key in ("published_ms", "ours_ms", "n"))
    assert (2, 2.0, 4) == tuple(rows["update"][key] for key in ("published_ms", "ours_ms", "n"))
    assert (2, 30.0, 5) == tuple(rows["decision"][key] for key in ("published_ms", "ours_ms", "n"))
    assert (141, 55.0, 3) == tuple(rows["total"][key] for key in ("published_ms", "ours_ms", "n"))
    assert (None, 10.0) == tuple(rows["encoding (not a message)"][key] for key in ("published_ms", "ours_ms"))
    assert all(row["p95_ms"] >= row["ours_ms"] for row in rows.values())


def test_broadcasting_is_a_share_of_each_request_s_own_response_time() -> None:
    """1 % with device_only keeps the paper's 2 %, 3.3 % and 5.5 % do not."""
    rows = list(share_rows(MESSAGES))

    assert [1.0, 3.3, 5.5] == [row["share_percent"] for row in rows]
    assert [True, False, False] == [row["agrees"] for row in rows]
    assert [2, 3, 3] == [row["n"] for row in rows]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A log of four requests, one of them fallen back, and of telemetry before and after the first response."""
    (tmp_path / "orchestrator").mkdir()
    response = (
        "INSERT INTO response (time_ns, site, node, request_id, policy, explored, outcome, tier, model, serving_node, "
        "response_ms, decide_ms, encode_ms, uplink_ms, queue_ms, compute_ms, downlink_ms, trained, emulated) "
        "VALUES (?, 'demo', 's1', ?, ?, 0, ?, ?, 'd0', 'x', ?, ?, ?, ?, 0, 0, 0, 0, 1)"
    )
    telemetry = (
        "INSERT INTO telemetry (time_ns, site, node, seq, cpu_percent, memory_percent, link, rtt_ms, queue_length, "
        "overruns, refused, emulated) VALUES (?, 'demo', 's1', 1, 0, 0, ?, ?, 0, 0, 0, 1)"
    )
    with closing(open_for_writing(tmp_path / "orchestrator" / LOG_NAME)) as log:
        log.execute(response, (100, "a", "edge_only", "done", "edge", 1000.0, 5.0, 9.0, 2.0))
        log.execute(response, (101, "b", "edge_only", "fallen_back", "end", 2000.0, 6.0, 9.0, 900.0))
        log.execute(response, (102, "c", "device_only", "done", "end", 460.0, 7.0, 0.0, 0.0))
        log.execute(response, (103, "d", "q_learning", "done", "end", 460.0, 8.0, 0.0, 0.0))
        log.executemany(
            telemetry, [(50, "weak", 120.0), (150, "weak", 22.0), (151, "regular", 1.0), (152, "weak", None)]
        )
    return Site(tmp_path, {NodeId("s1"): Link.WEAK})


def test_only_what_ended_as_its_policy_decided_counts(site: Site) -> None:
    """Neither a fallback nor another policy's requests; no round trip from before the first response."""
    messages = messages_of(site, Link.WEAK)

    assert ([2.0], [9.0], [5.0]) == (messages.uplink, messages.encode, messages.decide_offloaded)
    assert ([7.0], [460.0]) == (messages.decide_local, messages.response_local)
    assert [22.0] == messages.update


def test_what_the_orchestrator_says_at_its_end_is_read(site: Site) -> None:
    """And an orchestrator that said nothing is an error that names its log."""
    log = site.directory / "orchestrator.log"
    log.write_text("started\n")
    with pytest.raises(TierwiseError, match=r"orchestrator\.log"):
        site.decide_times()

    log.write_text(
        "x INFO y orchestrator_stopped decide_median_ms=0.303 decide_p99_ms=0.779 without_agent=2 refused={}\n"
    )
    times = site.decide_times()

    assert (0.303, 0.779, 0, 2) == (times.median_ms, times.p99_ms, times.rounds, times.without_agent)


def test_percentiles_of_steps_are_of_the_calls() -> None:
    """Of 1 to 100 ms: median 50.5, 99th percentile 99; half of each was processor time."""
    wall_ns = np.arange(100, 0, -1) * 1_000_000
    times = times_of(wall_ns, wall_ns // 2)

    assert (50.5, 99.0, 100, 25.25) == (times.median_ms, times.p99_ms, times.count, times.cpu_ms)


def test_monitoring_costs_a_share_of_all_vcpus() -> None:
    """4 % of a core are 4, 2 and 1 % of one, two and four vCPUs, all above 0.8 %."""
    rows = monitoring_rows(dict.fromkeys(Tier, Shares(4.5, 0.5)))

    assert [1, 2, 4] == [row["vcpus"] for row in rows]
    assert [4.0, 2.0, 1.0] == [row["overhead_percent"] for row in rows]
    assert ["d7", "d0", "d0"] == [row["minimum_model"] for row in rows]
    assert [False] * 3 == [row["agrees"] for row in rows]
    for row in rows:
        assert row["overhead_ms"] == pytest.approx(row["minimum_ms"] * row["overhead_percent"] / 100, abs=1e-3)
        assert row["hit_percent"] == pytest.approx(100 * 40 / row["minimum_ms"], rel=1e-3)


def test_monitoring_that_costs_little_agrees() -> None:
    """0.1 % of a core."""
    assert all(row["agrees"] for row in monitoring_rows(dict.fromkeys(Tier, Shares(0.15, 0.05))))


def test_a_part_tells_of_the_whole() -> None:
    """Half of the second of two parts is three quarters."""
    told = Told()

    part(told, 1, 2)(0.5, "half")

    assert [0.75] == told.fractions


def test_rounds_of_all_phases_count_towards_the_whole() -> None:
    """Two phases of two rounds: after the first round of the second, three of four are done."""
    told = Told()
    counter = _Counter([(Policy.EDGE_ONLY, 2), (Policy.DEVICE_ONLY, 2)], "exp-a", told)
    for policy in (Policy.EDGE_ONLY, Policy.DEVICE_ONLY):
        counter.phase(policy, 2)
        for done in (1, 2):
            counter.complete(ObservedRound(done), done)

    assert [0.25, 0.5, 0.75, 1.0] == told.fractions


def test_a_temporary_folder_goes_unless_something_failed() -> None:
    """What an error message names must still be there."""
    with folder(None) as gone:
        (gone / "log").touch()
    with pytest.raises(TierwiseError), folder(None) as kept:  # noqa: PT012  # the folder is what is tested
        (kept / "log").touch()
        raise TierwiseError(f"see {kept}")

    assert not gone.exists()
    assert (kept / "log").exists()
    (kept / "log").unlink()
    kept.rmdir()


@pytest.mark.parametrize("policy", [Policy.Q_LEARNING, Policy.DQN])
def test_steps_are_timed_on_an_agent_that_learns_and_never_explores(policy: Policy) -> None:
    """Every call after the warm-up counts and takes some time; every round was learned, and epsilon is still 0."""
    agent = exploiting_agent(policy)
    times = step_times(agent, 5)

    assert ["decision", "learning", "step"] == list(times)
    assert all(5 == kind.count and 0 < kind.median_ms <= kind.p99_ms and kind.cpu_ms for kind in times.values())
    saved = agent.save()
    assert policy == saved.agent
    assert 0.0 == saved.about["epsilon"]
    assert 0 < saved.about["updates"] <= WARM_UP + 5
    assert WARM_UP >= 64  # the DQN learns from its first whole batch on


# -- on the real stack -----------------------------------------------------------------------------------------------

stack = [pytest.mark.mosquitto, pytest.mark.models, pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(700)]


def marked(test: Callable[..., None]) -> Callable[..., None]:
    """All marks of a test that runs a fleet."""
    for mark in stack:
        test = mark(test)
    return test


def _count(directory: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{directory / 'orchestrator' / LOG_NAME}?mode=ro", uri=True)) as database:
        found: int = database.execute(query).fetchone()[0]
    return found


def _positive(artifact: Artifact, *keys: str) -> bool:
    return all(row[key] > 0 for row in artifact.rows for key in keys)


@marked
def test_table_12_is_measured_from_rows_of_two_logs(tmp_path: Path) -> None:
    """n is the number of rows of the log; on a weak link no message takes less than what its bytes are held back."""
    told = Told()
    artifact = reproduce_table12(ROUNDS, told, tmp_path)

    found = {(row["link"], row["message"]): row for row in artifact.rows}
    assert _positive(artifact, "ours_ms", "p95_ms", "n")
    assert sorted(told.fractions) == told.fractions
    for link in Link:
        done = "SELECT count(*) FROM response WHERE outcome = 'done' AND policy"
        offloaded = _count(tmp_path / link, f"{done} = 'edge_only' AND tier = 'edge'")
        local = _count(tmp_path / link, f"{done} = 'device_only' AND tier = 'end'")
        assert offloaded >= 5 * ROUNDS
        assert offloaded == found[link, "request"]["n"] == found[link, "total"]["n"]
        assert offloaded + local == found[link, "decision"]["n"]
    for message in ("request", "update", "decision", "total"):
        assert found["weak", message]["ours_ms"] >= DELAY_MS
    assert 6 == len(artifact.as_json()["shares"])


@marked
def test_step_times_have_a_row_from_the_stack_for_each_agent(tmp_path: Path) -> None:
    """Decided by the agent itself in every round, never at random, and n is the number of rounds in the log.

    A round that a late node is missing in, device or server, is another problem, with a network of its own that does
    explore; so only rounds of five devices count that were decided after each node's first telemetry.
    """
    whole = (
        "round IN (SELECT round FROM decision GROUP BY round HAVING count(*) = 5 AND min(time_ns) > "
        "(SELECT max(first) FROM (SELECT min(time_ns) AS first FROM telemetry GROUP BY node)))"
    )
    artifact = reproduce_steptimes(4 * ROUNDS, silent, tmp_path, steps=5)

    assert _positive(artifact, "median_ms", "p99_ms", "n")
    for policy in ("q_learning", "dqn"):
        rows = [row for row in artifact.rows if row["agent"] == policy]
        assert ["decision", "learning", "step", "decision"] == [row["step"] for row in rows]
        assert 0 == rows[-1]["without_agent"]
        rounds = _count(tmp_path / policy, "SELECT count(DISTINCT round) FROM decision")
        assert 4 * ROUNDS <= rounds == rows[-1]["n"]
        assert 0 < _count(tmp_path / policy, f"SELECT count(*) FROM decision WHERE {whole}")
        assert 0 == _count(tmp_path / policy, f"SELECT count(*) FROM decision WHERE explored AND {whole}")
        assert 0 == _count(tmp_path / policy, f"SELECT count(*) FROM decision WHERE policy != '{policy}'")


@marked
def test_figure_8_is_measured_on_all_three_tiers(tmp_path: Path) -> None:
    """The agent that monitors used the processor; a picture is drawn."""
    told = Told()
    artifact = reproduce_figure8(2.0, told, tmp_path / "agents")

    assert ["end", "edge", "cloud"] == [row["tier"] for row in artifact.rows]
    assert _positive(artifact, "monitoring_core_percent", "minimum_ms")
    assert all(row["resting_core_percent"] >= 0 for row in artifact.rows)  # counted in ticks of 10 ms
    assert sorted(told.fractions) == told.fractions
    assert artifact.write(tmp_path)[-1].read_bytes().startswith(b"\x89PNG")
