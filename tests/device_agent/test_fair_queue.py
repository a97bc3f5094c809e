"""Whose job is next on a serving node that several devices use, and one of them too much."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.vocabulary import ModelName, NodeId
from device_agent.service.job import Declined, Job, Refusal
from device_agent.service.service import IntelligentService, RealService


@pytest.fixture(autouse=True)
def any_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images here are names."""
    monkeypatch.setattr("device_agent.service.inference.check_stranger", lambda _image: None)


def job(sender: str | None, number: int = 0, *, decided: bool = True) -> Job:
    node = None if sender is None else NodeId(sender)
    return Job(ModelName("d0"), f"{sender}{number}".encode(), math.inf, node, decided)


def refused(future: asyncio.Future[Any]) -> Refusal | None:
    outcome = future.result() if future.done() else None
    return outcome.refusal if isinstance(outcome, Declined) else None


async def _run_all(service: IntelligentService, models: Any, futures: list[asyncio.Future[Any]]) -> list[str]:
    """In which order the images reached the model."""
    models.gate.set()
    await asyncio.gather(*futures)
    await service.drain(5.0)
    started: list[str] = models.started
    return started


def test_of_one_device_two_jobs_wait_and_more_are_busy_at_once(models: Any) -> None:
    """Of a hundred at once three are taken, the running one included; another device's is taken all the same."""

    async def scenario() -> None:
        service = RealService(models, slots=1, limit=9, clock=ManualClock())
        flood = [service.submit(job("bad", number)) for number in range(100)]
        honest = service.submit(job("good"))

        assert 97 == sum(refused(future) is Refusal.BUSY for future in flood)
        assert not honest.done()
        assert ["bad0", "bad1", "good0", "bad2"] == await _run_all(service, models, [*flood, honest])

    asyncio.run(scenario())


def test_devices_take_turns(models: Any) -> None:
    """Who came first with two jobs does not hold up the others twice."""

    async def scenario() -> None:
        service = RealService(models, slots=1, limit=20, clock=ManualClock())
        futures = [service.submit(job(None))]
        futures += [service.submit(job(sender, number)) for sender in ("a", "b", "c") for number in (1, 2)]

        assert ["None0", "a1", "b1", "c1", "a2", "b2", "c2"] == await _run_all(service, models, futures)

    asyncio.run(scenario())


def test_what_no_decision_named_comes_last_and_takes_one_worker(models: Any) -> None:
    """Though it came first, and from several devices; of two workers one stays free for decided jobs."""

    async def scenario() -> None:
        service = RealService(models, slots=2, limit=20, clock=ManualClock())
        futures = [service.submit(job(f"bad{n}", decided=False)) for n in range(3)]
        assert (1, 2) == (service.in_service, service.waiting)
        futures.append(service.submit(job("good", 1)))
        assert (2, 2) == (service.in_service, service.waiting)
        futures.append(service.submit(job("good", 2)))
        started = await _run_all(service, models, futures)

        assert {"bad00", "good1"} == set(started[:2])
        assert started.index("good2") < started.index("bad20")

    asyncio.run(scenario())


def test_a_decided_job_takes_the_place_of_one_that_no_decision_named(models: Any) -> None:
    """A queue full of other devices' undecided jobs makes no decided one busy; the newest undecided one is."""

    async def scenario() -> None:
        service = RealService(models, slots=1, limit=3, clock=ManualClock())
        flood = [service.submit(job(f"bad{n}", decided=False)) for n in range(3)]
        late = service.submit(job("bad9", decided=False))
        honest = [service.submit(job("good")), service.submit(job("fine"))]
        one_more = service.submit(job("more"))

        assert Refusal.BUSY is refused(late)
        assert [None, Refusal.BUSY, Refusal.BUSY] == [refused(future) for future in flood]
        assert [None, None, Refusal.BUSY] == [refused(future) for future in (*honest, one_more)]
        assert ["bad00", "good0", "fine0"] == await _run_all(service, models, [*flood, *honest])

    asyncio.run(scenario())


def test_without_tickets_who_has_nothing_waiting_displaces_a_second_job(models: Any) -> None:
    """Four devices with two waiting jobs each fill the queue, and a fifth is served."""

    async def scenario() -> None:
        service = RealService(models, slots=1, limit=9, clock=ManualClock())
        flood = [service.submit(job(f"bad{n}", k)) for k in range(3) for n in range(4)]
        honest = service.submit(job("good"))

        assert not honest.done()
        started = await _run_all(service, models, [*flood, honest])
        assert "good0" in started[:6]

    asyncio.run(scenario())


def test_a_job_that_was_given_up_frees_its_place(models: Any) -> None:
    """Also that of its sender."""

    async def scenario() -> None:
        service = RealService(models, slots=1, limit=9, clock=ManualClock())
        futures = [service.submit(job("a", number)) for number in range(3)]
        futures[1].cancel()
        await asyncio.sleep(0)
        futures.append(service.submit(job("a", 3)))

        assert not futures[3].done()
        models.gate.set()
        await asyncio.gather(*(futures[number] for number in (0, 2, 3)))
        assert ["a0", "a2", "a3"] == models.started
        await service.drain(5.0)

    asyncio.run(scenario())
