"""What the outbox has on record survives whatever ends its process."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from broker.messages import Report
from broker.vocabulary import ModelName, NodeId, Outcome, RequestId, SiteId, new_request_id
from device_agent.outbox_file import ENDED_EARLY, OutboxRefused, store_path
from device_agent.report_store import ReportStore
from tests.device_agent.store_writer import report_of

D0, S1, HOME = ModelName("d0"), NodeId("s1"), SiteId("home")
WRITER = Path(__file__).with_name("store_writer.py")


def used(path: Path, use: Callable[[ReportStore], Coroutine[Any, Any, None]]) -> None:
    """Let `use` have the store inside a loop, and close it."""

    async def scenario() -> None:
        store = ReportStore(path, S1)
        store.start()
        try:
            await use(store)
        finally:
            await asyncio.to_thread(store.close)

    asyncio.run(scenario())


def found_in(path: Path) -> list[Report]:
    """What the next life of the node finds."""
    store = ReportStore(path, S1)
    store.close()
    return store.found


def test_a_request_without_a_report_is_found_as_failed(tmp_path: Path) -> None:
    """A node that ended in the middle of a request reports that, under the request's own id and model."""
    request = new_request_id()

    async def use(store: ReportStore) -> None:
        assert await store.begun(request, D0)

    used(tmp_path / "outbox.sqlite3", use)
    [report] = found_in(tmp_path / "outbox.sqlite3")

    assert (request, Outcome.FAILED, "d0", "s1", ENDED_EARLY) == (
        report.request_id, report.outcome, report.model, report.serving_node, report.reason,
    )  # fmt: skip


def test_reports_are_found_whole_and_in_order_of_issue(tmp_path: Path) -> None:
    """Their order is that of the requests, not of their ends."""
    first, second = new_request_id(), new_request_id()

    async def use(store: ReportStore) -> None:
        await store.begun(first, D0)
        await store.begun(second, D0)
        store.ended(report_of(second))
        store.ended(report_of(first))

    used(tmp_path / "outbox.sqlite3", use)

    assert [report_of(first), report_of(second)] == found_in(tmp_path / "outbox.sqlite3")


def test_what_is_forgotten_is_not_found(tmp_path: Path) -> None:
    """An acknowledged report does not come again."""
    request = new_request_id()

    async def use(store: ReportStore) -> None:
        await store.begun(request, D0)
        store.ended(report_of(request))
        store.forget(request)

    used(tmp_path / "outbox.sqlite3", use)

    assert [] == found_in(tmp_path / "outbox.sqlite3")


def test_a_second_agent_of_the_same_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes would send each other's reports; the second is told who is in its way."""
    monkeypatch.setattr("device_agent.outbox_file.BUSY_S", 0.1)
    store = ReportStore(tmp_path / "outbox.sqlite3", S1)
    try:
        with pytest.raises(OutboxRefused, match="another agent of this node"):
            ReportStore(tmp_path / "outbox.sqlite3", S1)
    finally:
        store.close()


@pytest.mark.parametrize("rubbish", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_broken_file_is_moved_aside_and_a_new_one_begun(tmp_path: Path, rubbish: bytes) -> None:
    """A torn file costs what was in it, never the node; it is kept for whoever wants to look."""
    path = tmp_path / "outbox.sqlite3"
    path.write_bytes(rubbish)

    assert [] == found_in(path)
    [aside] = tmp_path.glob("outbox.sqlite3.broken-*")
    assert rubbish == aside.read_bytes()


def test_a_database_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Only a file that says that it is an outbox is written."""
    path = tmp_path / "outbox.sqlite3"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()

    with pytest.raises(OutboxRefused, match="no outbox that this Tierwise reads"):
        ReportStore(path, S1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """No traceback for a wrong outbox.directory."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OutboxRefused, match=r"set outbox\.directory"):
        ReportStore(tmp_path / "file" / "outbox.sqlite3", S1)


def test_a_row_that_is_no_report_is_dropped_alone(tmp_path: Path) -> None:
    """One row that a person spoilt, or in which a bit flipped, does not cost the others."""
    path, good = tmp_path / "outbox.sqlite3", new_request_id()
    found_in(path)
    with sqlite3.connect(path) as spoilt:
        spoilt.execute("INSERT INTO request (request_id, model, report) VALUES ('bad id', 'd0', NULL)")
        spoilt.execute("INSERT INTO request (request_id, model, report) VALUES ('12345678', 'd0', X'7B')")
        spoilt.execute("INSERT INTO request (request_id, model) VALUES (CAST(X'ff31323334353637' AS TEXT), 'd0')")
        spoilt.execute("INSERT INTO request (request_id, model) VALUES (?, 'd0')", (good,))
    spoilt.close()

    assert [good] == [report.request_id for report in found_in(path)]
    with sqlite3.connect(path) as left:
        assert [(1,)] == left.execute("SELECT count(*) FROM request").fetchall()
    left.close()


def test_a_disk_that_refuses_costs_durability_and_no_request(tmp_path: Path) -> None:
    """`begun` says so at once, later states replace each other in memory, and all is written when the disk is back."""
    path, kept, gone = tmp_path / "outbox.sqlite3", new_request_id(), new_request_id()

    async def use(store: ReportStore) -> None:
        store._connection.execute("PRAGMA max_page_count = 1")
        while await store.begun(new_request_id(), D0):
            pass  # until the pages that are there are full
        assert not await store.begun(kept, D0)
        store.ended(report_of(kept))
        await store.begun(gone, D0)
        store.forget(gone)
        assert (False, False) == (store.durable, gone in store._waiting)
        store._connection.execute("PRAGMA max_page_count = 100000")
        async with asyncio.timeout(120):
            while not store.durable:
                await asyncio.sleep(0.01)

    used(path, use)
    found = {report.request_id: report for report in found_in(path)}

    assert report_of(kept) == found[kept]
    assert gone not in found


def test_a_disk_that_stalls_costs_durability_and_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request does not wait for a write that does not end; what waits is written when it does."""
    monkeypatch.setattr("device_agent.report_store.SLOW_DISK_S", 0.05)
    path, request, goes_on = tmp_path / "outbox.sqlite3", new_request_id(), threading.Event()

    async def use(store: ReportStore) -> None:
        really_store = store._store

        def stalled(batch: dict[str, Any]) -> None:
            goes_on.wait(30.0)
            really_store(batch)

        monkeypatch.setattr(store, "_store", stalled)
        assert (False, {}) == (await store.begun(request, D0), store._promised)
        goes_on.set()

    used(path, use)

    assert [request] == [report.request_id for report in found_in(path)]


def test_the_file_of_a_node_stays_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Site and node make the name, the state folder of the user is the default."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    assert Path("/state/tierwise/outbox-home-s1.sqlite3") == store_path(None, HOME, S1)
    assert Path("/data/outbox-home-s1.sqlite3") == store_path(Path("/data"), HOME, S1)


def test_a_relative_state_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG specification wants it: the outbox must not depend on where the agent was started."""
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", "/home/me")

    assert Path("/home/me/.local/state/tierwise/outbox-home-s1.sqlite3") == store_path(None, HOME, S1)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container a user may have neither HOME nor an entry in passwd."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)

    with pytest.raises(OutboxRefused, match=r"set outbox\.directory"):
        store_path(None, HOME, S1)


class Lives(RuleBasedStateMachine):
    """A node that issues, ends and forgets requests, and dies in between: at any moment, or after a clean end.

    A death is played by reading a copy of its files as they are at that moment: what a killed process leaves.
    """

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.lives = 0
        self.loop = asyncio.new_event_loop()
        self.begun: dict[str, Report | None] = {}  # promised to be on record, with the report that was handed over
        self.forgotten: set[str] = set()
        self.left_by_deaths: set[str] = set()  # forgotten, but not yet on disk when the node died
        self._live(self.folder / "0.sqlite3")

    def _live(self, path: Path) -> None:
        self.path = path
        self.store = ReportStore(path, S1)

        async def start() -> None:
            self.store.start()

        self.loop.run_until_complete(start())

    @rule(target=requests)
    def begin(self) -> RequestId:
        request = new_request_id()
        assert self.loop.run_until_complete(self.store.begun(request, D0))
        self.begun[request] = None
        return request

    @rule(request=requests)
    def end(self, request: RequestId) -> None:
        if request not in self.forgotten:
            self.store.ended(report_of(request))
            self.begun[request] = report_of(request)

    @rule(request=consumes(requests))
    def forget(self, request: RequestId) -> None:
        self.store.forget(request)
        self.forgotten.add(request)

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        self.lives += 1
        next_path = self.folder / f"{self.lives}.sqlite3"
        if not killed:
            self.store.close()
        for suffix in ("-wal", ""):  # so little is written that no checkpoint falls between the two copies
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                shutil.copy(source, next_path.with_name(next_path.name + suffix))
        if killed:
            self.store.close()
        self._live(next_path)
        self._check(killed)

    def _check(self, killed: bool) -> None:
        found = {report.request_id: report for report in self.store.found}
        wanted = {request for request in self.begun if request not in self.forgotten}

        assert wanted <= set(found)
        assert set(found) - wanted <= (self.forgotten if killed else self.left_by_deaths)
        self.left_by_deaths = set(found) - wanted
        for request in wanted:
            report = self.begun[request]
            failed = found[request].outcome is Outcome.FAILED
            assert found[request] == report or (failed and (killed or report is None))
            self.begun[request] = found[request] if found[request] == report else None

    @invariant()
    def the_disk_is_well(self) -> None:
        assert self.store.durable

    def teardown(self) -> None:
        self.store.close()
        self.loop.close()
        shutil.rmtree(self.folder)


def test_any_life_of_an_outbox_loses_nothing_that_was_promised() -> None:
    """Against a model: whatever a node does and however it dies, what is on record is found, and no more."""
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    """Fifteen times kill -9 at random moments; the file goes on from life to life."""
    path, chance = tmp_path / "outbox.sqlite3", random.Random(7)
    begun: set[str] = set()
    forgotten: set[str] = set()
    for _ in range(15):
        process = subprocess.Popen(
            [sys.executable, str(WRITER), str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randint(1, 200))]
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        for what, request in (line.split() for line in lines if line.endswith("\n")):
            (forgotten if what == "forgotten" else begun).add(request)

        found = {report.request_id for report in found_in(path)}

        assert begun - forgotten <= found
