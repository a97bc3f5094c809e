"""`tierwise watch` on a real Mosquitto, as a person runs it."""

from __future__ import annotations

import importlib
import json
import re
import signal

import pytest
from typer.testing import CliRunner

from broker.client import Endpoint
from broker.clock import ManualClock
from broker.errors import NotConnected
from broker.ports import free_port
from broker.publish_packet import Publish
from broker.vocabulary import SiteId
from tierwise.person import Bus
from tierwise.watching import MOST_WAITING, Watching

WAIT_S = 120.0
STATE = '{"session": 7, "state": "offline"}'


def invoke(endpoint: Endpoint, site: SiteId, name: str, *arguments: str):
    """The command in this process."""
    place = ["--site", site, "--host", endpoint.host, "--port", str(endpoint.port)]
    app = importlib.import_module(f"tierwise.commands.{name}").app
    return CliRunner().invoke(app, [*arguments, *place])


def test_messages_come_decoded_or_refused_one_object_a_line(mosquitto_endpoint, site, stranger, person):
    """What is retained comes first; a retained decision is shown with the reason for which it is refused."""
    stranger.says("s1/state", STATE)
    stranger.says("s1/decision", "{}")
    process = person(mosquitto_endpoint, site, "watch", "s1", "--json", "--count", "2")
    output, errors = process.communicate(timeout=WAIT_S)
    told = {message["channel"]: message for message in map(json.loads, output.splitlines())}

    assert 0 == process.returncode
    assert {"session": 7, "state": "offline"} == told["state"]["message"]
    assert ("retained", True) == (told["decision"]["refused"], told["decision"]["retained"])
    assert "2 messages: state 1, refused 1" in errors


def test_ctrl_c_ends_it_with_a_summary_and_130(mosquitto_endpoint, site, stranger, person):
    """Text of strangers does not reach the terminal raw, and nothing is a traceback."""
    stranger.says("s1/result", '{"request_id": "request-1", "model": "d0", "refused": "\\u001b[2Jx"}', retain=False)
    stranger.says("s1/state", STATE)
    process = person(mosquitto_endpoint, site, "watch", "--verbose")
    first = process.stdout.readline()
    stranger.says("s1/result", '{"request_id": "request-1", "model": "d0", "refused": "\\u001b[2Jx"}', retain=False)
    second = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT_S)

    assert 130 == process.returncode
    assert "offline, session 7 [retained] [QoS 1, no expiry, 34 bytes]" in first
    assert r"refused d0: \x1b[2Jx" in second
    assert "2 messages:" in errors
    assert "Traceback" not in errors


def test_it_waits_for_a_broker_that_restarts_and_says_so(own_mosquitto, site, stranger_at, person):
    """After the broker is back messages pass again."""
    process = person(own_mosquitto.endpoint, site, "watch", "heartbeat", "--json")
    _until_listening(process, stranger_at(own_mosquitto.endpoint, site))
    own_mosquitto.stop()
    lost = process.stderr.readline()
    own_mosquitto.start()
    back = process.stderr.readline()
    _until_listening(process, stranger_at(own_mosquitto.endpoint, site))

    assert "is lost; trying again" in lost
    assert f"connected to {own_mosquitto.endpoint} again" in back


def _until_listening(process, stranger) -> None:
    """A retained heartbeat is heard by whoever subscribes, whenever that is."""
    stranger.says("s1/heartbeat", "{}")
    assert "retained" == json.loads(process.stdout.readline())["refused"]


def test_silence_is_explained_and_the_time_ends_it(mosquitto_endpoint, site, monkeypatch):
    """`telemtry` could be a node; after a while it is said what may have been meant. Exit code 0."""
    monkeypatch.setattr("tierwise.watching.SILENCE_S", 0.1)
    done = invoke(mosquitto_endpoint, site, "watch", "telemtry", "--for", "1s")

    assert (0, "") == (done.exit_code, done.stdout)
    assert f"nothing heard of site {site}" in done.stderr
    assert "did you mean channel telemetry?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "module"), [(["watch"], "watching"), (["ping", "s1"], "pinging"), (["clean"], "cleaning")]
)
def test_without_a_broker_each_command_says_so(site, monkeypatch, arguments, module):
    """One line with the place where it looked; nothing is printed as if it were data."""
    nowhere = Endpoint(port=free_port())
    monkeypatch.setattr(f"tierwise.{module}.CONNECT_TIMEOUT_S", 0.3)
    done = invoke(nowhere, site, *arguments)

    assert "" == done.stdout
    assert isinstance(done.exception, NotConnected)
    assert re.fullmatch(f"no broker at {re.escape(str(nowhere))}: .*Connect(ion)? .*", str(done.exception))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["watch", "s1/telemtry"], "did you mean telemetry"),
        (["watch", "s1", "--node", "s2"], "--node"),
        (["watch", "--for", "soon"], "90s"),
        (["ping", "S1"], "is not a node id"),
        (["clean", "--for", "1s"], "at least 3s"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_connected(site, arguments, says):
    """Exit code 2."""
    done = invoke(Endpoint(port=1), site, *arguments)

    assert 2 == done.exit_code
    assert says in " ".join(done.stderr.replace("│", " ").split())


def test_a_terminal_that_is_too_slow_is_told_what_it_missed():
    """What waits is bounded; the rest is counted."""
    watching = Watching(Bus(Endpoint(), SiteId("lab")), [], ManualClock(), lambda _: None)
    for _ in range(MOST_WAITING + 3):
        watching._hear(Publish(b"tierwise/v1/lab/s1/state", b"{}", False), 0.0)

    assert 3 == watching.missed


def test_images_that_a_slow_terminal_is_behind_do_not_fill_the_memory(monkeypatch):
    """What waits is bounded by its bytes, too."""
    monkeypatch.setattr("tierwise.watching.MOST_WAITING_BYTES", 1000)
    watching = Watching(Bus(Endpoint(), SiteId("lab")), [], ManualClock(), lambda _: None)
    for _ in range(5):
        watching._hear(Publish(b"tierwise/v1/lab/e1/infer/s1", b"\xff" * 300, False), 0.0)

    assert (3, 2) == (watching._waiting.qsize(), watching.missed)
