"""The Intelligent Service, real and emulated: one suite for what holds for both, and what each does its own way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.clock import Clock, ManualClock, SystemClock
from broker.vocabulary import ModelName, NodeId, Tier
from configs.demo import DemoConfig
from configs.loader import load
from device_agent.emulation.virtual_server import FirstInFirstOut, ProcessorSharing
from device_agent.service.emulated import EmulatedService
from device_agent.service.job import Declined, Job, Refusal, Served
from device_agent.service.service import IntelligentService, RealService
from model_zoo.errors import BadImage, ModelCorrupt, ModelMissing

CONFIGS = Path(__file__).parents[2] / "configs"
D0 = ModelName("d0")
Make = Callable[[Any], IntelligentService]


def job(name: str, deadline_s: float = math.inf, model: str = "d0") -> Job:
    return Job(ModelName(model), name.encode(), deadline_s)


def real(models: Any) -> IntelligentService:
    return RealService(models, slots=1, limit=2, clock=SystemClock())


def emulated(models: Any) -> IntelligentService:
    return EmulatedService(models, FirstInFirstOut(1), {D0: 100.0}, limit=2, clock=SystemClock(), slots=1)


def shared(models: Any, clock: Clock, reference_ms: float = 5.0) -> EmulatedService:
    return EmulatedService(models, ProcessorSharing(1.0), {D0: reference_ms}, 3, clock)


async def inferred(service: EmulatedService) -> None:
    """Return when the inferences that have begun are known to the service to have ended."""
    await asyncio.get_running_loop().run_in_executor(service._thread, lambda: None)


def passes(service: EmulatedService, clock: ManualClock, ms: float) -> None:
    """Let emulated time pass; what the service's timer does at its end is done at once."""
    clock.advance(ms / 1000)
    service._step()


one_worker = pytest.mark.parametrize("make", [real, emulated])


@one_worker
def test_a_job_gets_its_label(make: Make, models: Any) -> None:
    """A job alone ends with the label of its model, and says whether its times are emulated."""

    async def scenario() -> None:
        service = make(models)
        models.gate.set()
        served = await service.submit(job("a"))

        assert isinstance(served, Served)
        assert ("d0 of a", service.emulated) == (served.label, served.emulated)
        await service.drain(5.0)

    asyncio.run(scenario())


@one_worker
def test_one_job_more_than_the_limit_is_refused_at_once(make: Make, models: Any) -> None:
    """With one worker and one place to wait, the third job is `busy` before any has ended."""

    async def scenario() -> None:
        service = make(models)
        first, second, third = (service.submit(job(name)) for name in "abc")

        assert [False, False, True] == [future.done() for future in (first, second, third)]
        assert Refusal.BUSY is third.result().refusal  # type: ignore[union-attr]
        models.gate.set()
        assert ["d0 of a", "d0 of b"] == [(await future).label for future in (first, second)]  # type: ignore[union-attr]
        await service.drain(5.0)

    asyncio.run(scenario())


@one_worker
def test_a_job_whose_deadline_passes_while_it_waits_is_not_run(make: Make, models: Any) -> None:
    """It is refused `expired`, and its photograph never reaches the model."""

    async def scenario() -> None:
        service = make(models)
        first = service.submit(job("a"))
        second = service.submit(job("b", deadline_s=SystemClock().monotonic()))
        models.gate.set()

        assert isinstance(await first, Served)
        assert Refusal.EXPIRED is (await second).refusal  # type: ignore[union-attr]
        assert ["a"] == models.started
        await service.drain(5.0)

    asyncio.run(scenario())


@one_worker
def test_draining_hands_back_what_waits_and_finishes_what_runs(make: Make, models: Any) -> None:
    """The running job ends with its label, the waiting one and any later one with `stopping`."""

    async def scenario() -> None:
        service = make(models)
        first, second = service.submit(job("a")), service.submit(job("b"))
        drained = asyncio.create_task(service.drain(20.0))
        assert Refusal.STOPPING is (await second).refusal  # type: ignore[union-attr]
        late = service.submit(job("c"))
        models.gate.set()
        await drained

        assert isinstance(first.result(), Served)
        assert Refusal.STOPPING is late.result().refusal  # type: ignore[union-attr]

    asyncio.run(scenario())


@one_worker
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadImage("no photograph"), Refusal.BAD_IMAGE),
        (ModelMissing("d0", "somewhere"), Refusal.UNKNOWN_MODEL),  # type: ignore[arg-type]
        (ModelCorrupt("d0.tflite", "a", "b", "mend"), Refusal.FAILED),  # type: ignore[arg-type]
        (RuntimeError("the graph cannot be run"), Refusal.FAILED),
        (KeyError("a defect"), Refusal.FAILED),
    ],
)
def test_an_error_declines_its_job_and_the_next_one_runs(
    make: Make, models: Any, error: Exception, expected: Refusal
) -> None:
    """Whatever an inference raises, its job ends, and so does the next."""

    async def scenario() -> None:
        service = make(models)
        models.gate.set()
        models.error = error
        declined = await service.submit(job("a"))
        models.error = None

        assert isinstance(declined, Declined)
        assert expected is declined.refusal
        assert isinstance(await service.submit(job("b")), Served)
        await service.drain(5.0)

    asyncio.run(scenario())


@one_worker
def test_a_job_that_is_given_up_while_it_waits_is_not_run(make: Make, models: Any) -> None:
    """Cancelling the future takes the job out of the queue, and its place is free again."""

    async def scenario() -> None:
        service = make(models)
        first, second = service.submit(job("a")), service.submit(job("b"))
        second.cancel()
        await asyncio.sleep(0)
        third = service.submit(job("c"))
        models.gate.set()

        assert isinstance(await first, Served)
        assert isinstance(await third, Served)
        assert ["a", "c"] == models.started
        await service.drain(5.0)

    asyncio.run(scenario())


def test_real_jobs_run_together_as_far_as_there_are_slots(models: Any) -> None:
    """Time-shared, every admitted job is in service at once."""

    async def scenario() -> None:
        service = RealService(models, slots=3, limit=3, clock=SystemClock())
        futures = [service.submit(job(name)) for name in "abc"]

        assert (3, 0) == (service.in_service, service.waiting)
        models.gate.set()
        assert ["d0 of a", "d0 of b", "d0 of c"] == [(await future).label for future in futures]  # type: ignore[union-attr]
        await service.drain(5.0)

    asyncio.run(scenario())


def test_emulated_result_is_held_back_until_the_virtual_finish(models: Any) -> None:
    """A job alone reports its reference time exactly, and not before, though the inference has ended."""

    async def scenario() -> None:
        clock = ManualClock()
        service = shared(models, clock, reference_ms=40.0)
        models.gate.set()
        future = service.submit(job("a"))
        await inferred(service)
        passes(service, clock, 39.9)
        assert not future.done()
        passes(service, clock, 0.2)
        served = await future

        assert isinstance(served, Served)
        assert math.isclose(40.0, served.compute_ms, abs_tol=1e-6)
        assert (0.0, 0) == (served.queue_ms, service.overruns)
        await service.drain(5.0)

    asyncio.run(scenario())


def test_emulated_jobs_slow_each_other_down(models: Any) -> None:
    """With contention 1, three jobs that come together take three times the reference time."""

    async def scenario() -> None:
        clock = ManualClock()
        service = shared(models, clock, reference_ms=100.0)
        models.gate.set()
        futures = [service.submit(job(name)) for name in "abc"]
        await inferred(service)
        passes(service, clock, 1000.0)
        served = await asyncio.gather(*futures)

        assert [300.0] * 3 == [round(one.compute_ms, 6) for one in served if isinstance(one, Served)]
        await service.drain(5.0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("tier", "users", "paper_ms"), [(Tier.END, 1, 459.0), (Tier.EDGE, 5, 1140.0), (Tier.CLOUD, 5, 665.0)]
)
def test_the_nodes_of_the_demo_serve_in_the_papers_times(models: Any, tier: Tier, users: int, paper_ms: float) -> None:
    """Section 6.1.1: 459 ms alone on a device, 1140 and 665 ms with five users of edge and cloud, within 5 %."""
    emulate = load(CONFIGS / "demo.yaml", DemoConfig).emulate[tier]

    async def scenario() -> list[Served | Declined]:
        clock = ManualClock()
        server = ProcessorSharing(emulate.contention, emulate.vcpus)
        service = EmulatedService(models, server, emulate.reference_ms, users, clock)
        models.gate.set()
        futures = [service.submit(job(f"image {user}")) for user in range(users)]
        await inferred(service)
        passes(service, clock, 5000.0)
        served = await asyncio.gather(*futures)
        assert 0 == service.overruns
        await service.drain(5.0)
        return served

    served = asyncio.run(scenario())

    for one in served:
        assert isinstance(one, Served)
        assert one.compute_ms == pytest.approx(paper_ms, rel=0.05)


def test_an_inference_that_overran_is_counted_and_reported_as_long_as_it_was(models: Any) -> None:
    """The virtual server was done first; the result comes when it is there, and its time says so."""

    async def scenario() -> None:
        clock = ManualClock()
        service = shared(models, clock, reference_ms=1.0)
        future = service.submit(job("a"))
        passes(service, clock, 50.0)
        assert not future.done()
        models.gate.set()
        served = await future

        assert isinstance(served, Served)
        assert 50.0 == round(served.compute_ms, 6)
        assert 1 == service.overruns
        await service.drain(5.0)

    asyncio.run(scenario())


def test_emulated_job_given_up_while_it_runs_frees_the_node(models: Any) -> None:
    """The virtual server forgets a job that nobody waits for."""

    async def scenario() -> None:
        service = shared(models, SystemClock(), reference_ms=1e6)
        future = service.submit(job("a"))
        future.cancel()
        await asyncio.sleep(0)

        assert 0 == service.in_service
        models.gate.set()
        await service.drain(5.0)

    asyncio.run(scenario())


def test_a_model_without_an_emulated_time_is_unknown(models: Any) -> None:
    """It is declined at once."""

    async def scenario() -> None:
        service = shared(models, SystemClock())

        assert Refusal.UNKNOWN_MODEL is (await service.submit(job("a", model="d7"))).refusal  # type: ignore[union-attr]
        await service.drain(5.0)

    asyncio.run(scenario())


def test_emulated_cpu_is_busy_while_a_job_is_in_service(models: Any) -> None:
    """One job on one emulated vCPU is 100 %, none is 0 %, whatever this machine does."""

    async def scenario() -> None:
        clock = ManualClock()
        service = shared(models, clock, reference_ms=1e6)
        service.cpu_percent()
        clock.advance(10.0)
        idle = service.cpu_percent()
        future = service.submit(job("a"))
        service.cpu_percent()
        clock.advance(10.0)

        assert (0.0, 100.0) == (idle, round(service.cpu_percent(), 6))
        future.cancel()
        models.gate.set()
        await asyncio.sleep(0)
        await service.drain(5.0)

    asyncio.run(scenario())


@one_worker
def test_draining_hands_back_what_does_not_end_in_time(make: Make, models: Any) -> None:
    """No job is left without an answer: one that outlasts the patience of `drain` ends with `stopping`."""

    async def scenario() -> None:
        service = make(models)
        future = service.submit(job("a"))
        await service.drain(0.02)

        assert future.done()
        assert Refusal.STOPPING is future.result().refusal  # type: ignore[union-attr]
        models.gate.set()

    asyncio.run(scenario())


def test_a_flood_of_jobs_or_of_models_that_are_not_here_does_not_flood_the_log(
    models: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends them is told each time; the log has a line for a few."""
    caplog.set_level("INFO")
    monkeypatch.setattr("device_agent.service.inference.check_stranger", lambda _image: None)

    async def scenario() -> None:
        service = RealService(models, slots=1, limit=2, clock=ManualClock())
        models.error = ModelMissing("d9", Path("somewhere"))
        running = [service.submit(Job(ModelName("d9"), b"x", math.inf, NodeId("s1"))) for _ in range(2)]
        for _ in range(500):
            assert Refusal.BUSY is (await service.submit(job("c"))).refusal  # type: ignore[union-attr]
        models.gate.set()
        for wrong in await asyncio.gather(*running):
            assert Refusal.UNKNOWN_MODEL is wrong.refusal  # type: ignore[union-attr]
        await service.drain(5.0)

    asyncio.run(scenario())

    assert {"job_refused"} == {line.partition(" ")[0] for line in caplog.messages}
    assert len(caplog.messages) < 30
