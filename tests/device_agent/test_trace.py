"""The report that a request ends in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Report, Result
from broker.vocabulary import ModelName, NodeId, Outcome, RequestId, Tier
from device_agent.requester.trace import Trace
from device_agent.service.job import Served


def trace() -> Trace:
    return Trace(RequestId("r" * 16), NodeId("s1"), ModelName("d0"), issued_s=100.0)


def served(compute_ms: float = 400.0) -> Served:
    return Served("cat", True, queue_ms=1.0, compute_ms=compute_ms, emulated=False)


def test_local_run() -> None:
    """Decided, run here: done, no uplink, no downlink, and the service's own times."""
    record = trace()
    record.decided_s = 100.01
    record.done_here(served(), 100.412)
    report = record.report(101.0)

    assert (Outcome.DONE, True, Tier.END, "s1", "cat") == (
        report.outcome,
        report.decided,
        report.tier,
        report.serving_node,
        report.label,
    )
    assert 412.0 == pytest.approx(report.response_ms)
    assert [10.0, 0.0, 0.0, 1.0, 400.0, 0.0] == pytest.approx(list(msgspec.structs.astuple(report.stages)))


def test_offloaded_run() -> None:
    """What no other stage explains is the downlink."""
    record = trace()
    record.decided_s, record.encode_s, record.uplink_s = 100.01, 0.005, 0.003
    result = Result(request_id=record.request_id, model="d0", queue_ms=2.0, compute_ms=360.0, label="dog", trained=True)
    record.done_there(result, NodeId("edge"), Tier.EDGE, 100.384)
    report = record.report(101.0)

    assert (Outcome.DONE, Tier.EDGE, "edge", "dog") == (
        report.outcome,
        report.tier,
        report.serving_node,
        report.label,
    )
    assert [10.0, 5.0, 3.0, 2.0, 360.0, 4.0] == pytest.approx(list(msgspec.structs.astuple(report.stages)))


def test_fallen_back_run() -> None:
    """The time waited in vain is part of the response time, shown as queue, and the reason is told."""
    record = trace()
    record.decided_s, record.encode_s, record.uplink_s = 100.01, 0.005, 0.003
    record.fail("edge: busy")
    record.done_here(served(compute_ms=400.0), 101.0)
    report = record.report(101.5)

    assert (Outcome.FALLEN_BACK, Tier.END, "s1", "edge: busy") == (
        report.outcome,
        report.tier,
        report.serving_node,
        report.reason,
    )
    assert [10.0, 5.0, 3.0, 582.0, 400.0, 0.0] == pytest.approx(list(msgspec.structs.astuple(report.stages)))


def test_undecided_run() -> None:
    """Without a decision a local label is fallen back, and the wait for the decision is its first stage."""
    record = trace()
    record.decision_lost_s = 101.5
    record.fail("no decision")
    record.done_here(served(), 101.9)
    report = record.report(102.0)

    assert (Outcome.FALLEN_BACK, False, 1500.0) == (report.outcome, report.decided, report.stages.decide_ms)


def test_nothing_answered() -> None:
    """A request that nobody answered has failed; it ends when it is reported."""
    record = trace()
    report = record.report(100.25)

    assert (Outcome.FAILED, None, 250.0) == (report.outcome, report.label, report.response_ms)


@given(
    decide=st.floats(0, 10),
    encode=st.floats(0, 10),
    uplink=st.floats(0, 10),
    queue=st.floats(0, 1e4),
    compute=st.floats(0, 1e4),
    total=st.floats(0, 50),
    path=st.sampled_from(["here", "there", "fallback", "nowhere"]),
)
def test_every_report_can_be_sent_and_its_stages_do_not_exceed_it(
    decide: float, encode: float, uplink: float, queue: float, compute: float, total: float, path: str
) -> None:
    """Whatever another machine says of its times, no stage is negative, and the report passes its own validation."""
    record = trace()
    record.decided_s, record.encode_s, record.uplink_s = 100.0 + decide, encode, uplink
    if path == "there":
        result = Result(request_id=record.request_id, model="d0", queue_ms=queue, compute_ms=compute, label="x" * 300)
        record.done_there(result, NodeId("edge"), Tier.EDGE, 100.0 + total)
    elif path != "nowhere":
        if path == "fallback":
            record.fail("y" * 1000)
        record.done_here(Served("x" * 1000, True, queue, compute, False), 100.0 + total)
    report = record.report(100.0 + total)

    assert report == msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert sum(msgspec.structs.astuple(report.stages)) <= report.response_ms * (1 + 1e-9)


def test_a_reason_that_is_no_utf_8_is_told_as_far_as_it_is() -> None:
    """The name of a file may hold any bytes; a report that could not be encoded would end the requester."""
    record = trace()
    record.fail("/models/\udcff/d0.tflite is missing")

    assert "/models/?/d0.tflite is missing" == record.report(101.0).reason
