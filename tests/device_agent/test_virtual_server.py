"""The virtual servers of emulated nodes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.emulation.virtual_server import FirstInFirstOut, Happened, ProcessorSharing, Step, VirtualServer

contentions = st.floats(0, 3)
works = st.floats(0.01, 2.0)
arrivals = st.lists(st.tuples(st.floats(0, 3.0), works), min_size=1, max_size=12)


def run(server: VirtualServer, jobs: list[tuple[float, float]]) -> list[Happened]:
    happened = []
    for key, (at_s, work_s) in sorted(enumerate(jobs), key=lambda job: job[1][0]):
        server.admit(key, work_s, at_s)
        happened += server.advance(at_s)
    while (finish_s := server.next_finish_s) is not None:
        happened += server.advance(finish_s)
    return happened


def finishes(server: VirtualServer, jobs: list[tuple[float, float]]) -> dict[int, float]:
    return {step.key: step.at_s for step in run(server, jobs) if step.step is Step.FINISHED}


@given(contentions, works, st.floats(0, 100))
def test_sharing_one_job_alone(contention: float, work_s: float, at_s: float) -> None:
    """One job alone takes its reference time, whatever the contention."""
    finished = finishes(ProcessorSharing(contention), [(at_s, work_s)])

    assert math.isclose(at_s + work_s, finished[0], abs_tol=1e-9)


@given(contentions, works, st.integers(1, 20))
def test_sharing_equal_jobs_started_together(contention: float, work_s: float, count: int) -> None:
    """n equal jobs that start together all end at reference x (1 + c(n-1))."""
    finished = finishes(ProcessorSharing(contention), [(0.0, work_s)] * count)

    assert {work_s * (1 + contention * (count - 1))} == set(finished.values())


def test_sharing_gives_the_papers_figures() -> None:
    """Five users of d0 take 1140 ms at the edge and 665 ms in the cloud (section 6.1.1)."""
    edge = finishes(ProcessorSharing(0.535), [(0.0, 0.363)] * 5)
    cloud = finishes(ProcessorSharing(0.208), [(0.0, 0.363)] * 5)

    assert 1140 == round(edge[0] * 1000)
    assert 665 == round(cloud[0] * 1000)


@given(contentions, arrivals)
def test_sharing_conserves_work(contention: float, jobs: list[tuple[float, float]]) -> None:
    """The total speed, integrated over the time in which jobs were there, is the work that they brought."""
    happened = run(ProcessorSharing(contention), jobs)
    done_s, present = 0.0, 0
    for step, following in pairwise([*happened, happened[-1]]):
        present += 1 if step.step is Step.STARTED else -1
        if present:
            done_s += (following.at_s - step.at_s) * present / (1 + contention * (present - 1))

    assert math.isclose(sum(work_s for _, work_s in jobs), done_s, rel_tol=1e-6, abs_tol=1e-9)


@given(contentions, arrivals, st.tuples(st.floats(0, 3.0), works))
def test_sharing_more_load_never_finishes_a_job_earlier(
    contention: float, jobs: list[tuple[float, float]], one_more: tuple[float, float]
) -> None:
    """With one job more, no other job finishes earlier."""
    before = finishes(ProcessorSharing(contention), jobs)
    after = finishes(ProcessorSharing(contention), [*jobs, one_more])

    assert all(after[key] >= before[key] - 1e-9 for key in before)


@given(contentions, arrivals, st.lists(st.floats(0, 6.0), max_size=8))
def test_sharing_does_not_depend_on_who_looks(
    contention: float, jobs: list[tuple[float, float]], looks: list[float]
) -> None:
    """Reading the clock in between (telemetry does) changes no finishing time."""
    expected = finishes(ProcessorSharing(contention), jobs)
    server = ProcessorSharing(contention)
    found: dict[int, float] = {}
    moments = sorted([(at_s, key, work_s) for key, (at_s, work_s) in enumerate(jobs)] + [(at, -1, 0.0) for at in looks])
    for at_s, key, work_s in moments:
        if key < 0:
            server.busy_s(at_s)
        else:
            server.admit(key, work_s, at_s)
    found = {step.key: step.at_s for step in server.advance(1e6) if step.step is Step.FINISHED}

    assert expected.keys() == found.keys()
    assert all(math.isclose(expected[key], found[key], abs_tol=1e-6) for key in expected)


def test_sharing_speeds_up_when_a_job_is_withdrawn() -> None:
    """A job that is withdrawn stops slowing the other one down."""
    server = ProcessorSharing(1.0)
    server.admit(0, 1.0, 0.0)
    server.admit(1, 1.0, 0.0)
    server.withdraw(1, 1.0)  # both have done half

    assert 1.5 == server.next_finish_s


@given(arrivals, st.integers(1, 4))
def test_fifo_serves_in_order_at_full_speed(jobs: list[tuple[float, float]], servers: int) -> None:
    """Jobs start in the order of their arrival, never more at once than servers, and run for their reference time."""
    happened = run(FirstInFirstOut(servers), jobs)
    started = {step.key: step.at_s for step in happened if step.step is Step.STARTED}
    finished = {step.key: step.at_s for step in happened if step.step is Step.FINISHED}
    order = [key for key, _ in sorted(enumerate(jobs), key=lambda job: job[1][0])]
    present, most = 0, 0
    for step in happened:
        present += 1 if step.step is Step.STARTED else -1
        most = max(most, present)

    assert order == [step.key for step in happened if step.step is Step.STARTED]
    assert most <= servers
    assert all(math.isclose(finished[key] - started[key], jobs[key][1], abs_tol=1e-9) for key in order)


@given(arrivals, st.integers(1, 4), st.tuples(st.floats(0, 3.0), works))
def test_fifo_more_load_never_finishes_a_job_earlier(
    jobs: list[tuple[float, float]], servers: int, one_more: tuple[float, float]
) -> None:
    """With one job more, no other job finishes earlier."""
    before = finishes(FirstInFirstOut(servers), jobs)
    after = finishes(FirstInFirstOut(servers), [*jobs, one_more])

    assert all(after[key] >= before[key] - 1e-9 for key in before)


def test_fifo_does_not_run_what_has_expired() -> None:
    """A job whose deadline passes while it waits expires, and the one behind it starts in its place."""
    server = FirstInFirstOut(1)
    server.admit(0, 1.0, 0.0)
    server.admit(1, 1.0, 0.0, deadline_s=0.5)
    server.admit(2, 1.0, 0.0, deadline_s=5.0)

    expected = [
        Happened(Step.STARTED, 0, 0.0),
        Happened(Step.FINISHED, 0, 1.0),
        Happened(Step.EXPIRED, 1, 1.0),
        Happened(Step.STARTED, 2, 1.0),
        Happened(Step.FINISHED, 2, 2.0),
    ]
    assert expected == server.advance(9.0)


def test_fifo_starts_the_next_job_when_one_is_withdrawn() -> None:
    """Withdrawing the running job lets the next one start at that moment."""
    server = FirstInFirstOut(1)
    server.admit(0, 1.0, 0.0)
    server.admit(1, 1.0, 0.0)
    server.withdraw(0, 0.25)

    assert Happened(Step.STARTED, 1, 0.25) in server.advance(0.25)
    assert 1.25 == server.next_finish_s


@pytest.mark.parametrize(("count", "expected_s"), [(1, 0.25), (2, 0.5), (4, 1.0), (8, 1.0)])
def test_busy_is_the_share_of_vcpus_in_use(count: int, expected_s: float) -> None:
    """n jobs keep a node of four vCPUs busy for n quarters of the time, and never more than all of it."""
    server = ProcessorSharing(0.0, vcpus=4)
    for key in range(count):
        server.admit(key, 10.0, 0.0)

    assert expected_s == server.busy_s(1.0)


def test_busy_counts_no_idle_time() -> None:
    """A node without jobs is not busy, before its first job and after its last."""
    server = FirstInFirstOut(1)
    server.advance(5.0)
    server.admit(0, 1.0, 7.0)

    assert 1.0 == server.busy_s(20.0)
