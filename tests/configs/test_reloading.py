"""A changed file: what is taken at once, what waits for a restart, and what is refused."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import pytest

from configs.loader import ConfigError, loads
from configs.node import NodeConfig
from configs.orchestrator import OrchestratorConfig
from configs.reloading import changes, live_keys, with_live
from configs.watching import Watch

NODE = "version: 1\nsite: home\nnode: s1\ntier: end\n"
PATIENCE_S = 120.0


def node(more: str = "") -> NodeConfig:
    return loads(NODE + more, NodeConfig, "f")


def orchestrator(more: str) -> OrchestratorConfig:
    return loads("version: 1\nsite: home\n" + more, OrchestratorConfig, "f")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "device.yaml"
    path.write_text(NODE, encoding="utf-8")
    return path


def test_changes_name_the_key_both_values_and_whether_it_is_live() -> None:
    """In the order of the schema; what is equal is not named."""
    old, new = node("service: {queue_length: 3}\n"), node("service: {queue_length: 4}\nlog_level: debug\n")

    assert [("service.queue_length", 3, 4, False), ("log_level", "info", "debug", True)] == [
        (change.key, change.old, change.new, change.live) for change in changes(old, new)
    ]
    assert () == changes(old, old)


def test_a_section_that_comes_is_one_change() -> None:
    """`emulate` has no default to compare with key by key."""
    [change] = changes(node(), node("models: {pool: [d0]}\nemulate: {reference_ms: {d0: 3}}\n"))[1:]

    assert ("emulate", None, False) == (change.key, change.old, change.live)


def test_only_what_is_live_comes_into_force() -> None:
    """The rest stays as the program began with it."""
    old, new = node(), node("monitoring: {period_s: 9}\nbroker: {port: 9}\n")

    in_force = with_live(old, changes(old, new))

    assert in_force is not None
    assert (9.0, 1883) == (in_force.monitoring.period_s, in_force.broker.port)


def test_live_values_that_fit_only_with_what_needs_a_restart_wait_for_it() -> None:
    """A longer deadline needs the larger reward, which is not live."""
    old = orchestrator("")
    new = orchestrator("rounds: {deadline_ms: 20000}\nreward: {maximum_response_ms: 30000}\n")

    assert with_live(old, changes(old, new)) is None


def test_some_keys_of_either_program_are_live() -> None:
    """And none that says who or where a program is."""
    live = live_keys(NodeConfig) | live_keys(OrchestratorConfig)

    assert {"log_level", "monitoring.period_s", "goal.policy", "rounds.deadline_ms"} <= live
    assert not {"site", "node", "tier", "broker.host", "files.directory", "models.pool"} & live


def test_a_reload_takes_live_values_and_says_what_needs_a_restart(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Said once: the next reload compares with the file as it was read last."""
    watch = Watch(file, NodeConfig)
    file.write_text(NODE + "monitoring: {period_s: 9}\nbroker: {port: 9}\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        live = watch.reload()
        again = watch.reload()

    assert ["monitoring.period_s"] == [change.key for change in live]
    assert () == again
    assert ["setting_needs_restart key=broker.port new=9", f"config_unchanged file={file}"] == caplog.messages
    assert (9.0, 1883) == (watch.in_force.monitoring.period_s, watch.in_force.broker.port)


def test_a_file_with_mistakes_is_refused_whole(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each mistake is in the log, and its right values are not taken either; mended, they are."""
    watch = Watch(file, NodeConfig)
    file.write_text(NODE + "log_level: debug\nmonitoring: {period_s: 0}\nport: 3\n", encoding="utf-8")
    assert () == watch.reload()

    assert "info" == watch.in_force.log_level
    assert [f"config_refused problem='{file}:6:24", f"config_refused problem='{file}:7:1"] == [
        " ".join(message.split(" ")[:2]) for message in caplog.messages
    ]
    file.write_text(NODE + "log_level: debug\n", encoding="utf-8")
    assert ["log_level"] == [change.key for change in watch.reload()]


def test_a_file_is_due_when_it_has_changed_and_come_to_rest(file: Path) -> None:
    """A file that is being written, or is gone for a moment, is left alone; one that was read is not due again."""
    watch = Watch(file, NodeConfig)
    due = [watch.due()]
    file.write_text(NODE + "log_level: debug\n", encoding="utf-8")
    due += [watch.due(), watch.due()]
    watch.reload()
    due.append(watch.due())
    file.rename(file.with_suffix(".old"))
    due += [watch.due(), watch.due()]
    file.write_text(NODE + "log_level: error\n", encoding="utf-8")
    os.utime(file, ns=(1, 1))
    due += [watch.due(), watch.due()]

    assert [False, False, True, False, False, False, False, True] == due


def test_a_file_with_mistakes_cannot_be_watched_from_the_start(file: Path) -> None:
    """A program does not start on one."""
    file.write_text(NODE + "port: 3\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="port: is not a known key here"):
        Watch(file, NodeConfig)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_followed_file_is_applied_on_a_hangup_and_by_itself(
    file: Path, hangs_up: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On SIGHUP at once, however seldom it looks; else at the second look."""
    monkeypatch.setattr("configs.watching.LOOK_S", 3600.0 if hangs_up else 0.01)
    taken: asyncio.Queue[NodeConfig] = asyncio.Queue()

    async def scenario() -> NodeConfig:
        watch = Watch(file, NodeConfig)
        async with watch.followed(taken.put_nowait):
            file.write_text(NODE + "log_level: debug\n", encoding="utf-8")
            if hangs_up:
                await asyncio.sleep(0)  # the task has begun
                os.kill(os.getpid(), 1)
            async with asyncio.timeout(PATIENCE_S):
                settings = await taken.get()
                while "setting_changed" not in caplog.text:
                    await asyncio.sleep(0)
                return settings

    with caplog.at_level(logging.INFO):
        assert "debug" == asyncio.run(scenario()).log_level
    assert ["setting_changed key=log_level old=info new=debug"] == caplog.messages


def test_a_value_that_is_set_back_needs_no_restart(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The program runs with it."""
    watch = Watch(file, NodeConfig)
    with caplog.at_level(logging.INFO):
        for more in ("broker: {port: 9, tls: {ca_file: a, certificate_file: b, key_file: c}}\n", ""):
            file.write_text(NODE + more, encoding="utf-8")
            watch.reload()

    assert ["needs_restart", "needs_restart", "as_in_force", "as_in_force"] == [
        message.split(" ")[0].removeprefix("setting_") for message in caplog.messages
    ]


def test_a_defect_in_applying_is_an_event_at_once_and_the_program_goes_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its log names the file, the error and what follows from it; its end is as clean as any."""
    monkeypatch.setattr("configs.watching.LOOK_S", 0.01)

    def apply(_settings: NodeConfig) -> None:
        raise KeyError("a part that is not there")

    async def scenario() -> str:
        watch = Watch(file, NodeConfig)
        async with watch.followed(apply):
            file.write_text(NODE + "log_level: debug\n", encoding="utf-8")
            async with asyncio.timeout(PATIENCE_S):
                while "config_not_followed" not in caplog.text:
                    await asyncio.sleep(0)
            os.kill(os.getpid(), 1)  # is taken, and changes nothing
            return caplog.text

    told = asyncio.run(scenario())
    assert f"config_not_followed file={file} reason=" in told
    assert "a part that is not there" in told
    assert "Traceback" in told


def test_a_hangup_outside_of_following_does_what_it_did_before(file: Path) -> None:
    """A program that outlives it at its start outlives it at its end."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        async def scenario() -> None:
            async with Watch(file, NodeConfig).followed(lambda _settings: None):
                assert signal.SIG_IGN != signal.getsignal(signal.SIGHUP)

        asyncio.run(scenario())
        assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_what_waited_with_others_is_taken_once_they_are_gone(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A longer deadline holds the log level back; without it the level is taken, though it did not change again."""
    head = "version: 1\nsite: home\nlog_level: debug\n"
    file.write_text("version: 1\nsite: home\n", encoding="utf-8")
    watch = Watch(file, OrchestratorConfig)
    file.write_text(head + "rounds: {deadline_ms: 20000}\nreward: {maximum_response_ms: 30000}\n", encoding="utf-8")
    held = watch.reload()
    file.write_text(head, encoding="utf-8")
    with caplog.at_level(logging.INFO):
        taken = watch.reload()

    assert () == held
    assert [("log_level", "info", "debug")] == [(change.key, change.old, change.new) for change in taken]
    assert "debug" == watch.in_force.log_level
    assert ["setting_as_in_force key=rounds.deadline_ms", "setting_as_in_force key=reward.maximum_response_ms"] == [
        " ".join(message.split(" ")[:2]) for message in caplog.messages[-2:]
    ]
