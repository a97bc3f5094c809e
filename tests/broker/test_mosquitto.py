"""The Mosquitto that we start."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker import mosquitto as module
from broker.errors import BrokerUnavailable
from broker.mosquitto import MosquittoProcess, MosquittoSettings, find_mosquitto, render


def publish_retained(port: int, payload: bytes) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish("kept", payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_the_configuration_says_what_it_opens_and_to_whom(tmp_path):
    """Loopback, anonymous because of that, no delay, bounded, persistent under an absolute path."""
    text = render(MosquittoSettings(directory=Path("relative"), port=1884, max_packet_bytes=300_000))

    assert "There are no accounts here" in text
    assert {
        "listener 1884 127.0.0.1",
        "allow_anonymous true",
        "set_tcp_nodelay true",
        "max_packet_size 300000",
        "max_connections 2000",
        f"persistence_location {Path('relative').absolute()}/store/",
    } <= set(text.splitlines())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "0.0.0.0"}, "on loopback only, not on 0.0.0.0"),
        ({"host": "broker.example"}, "on loopback only"),
        ({"directory": Path("a\nallow_anonymous true")}, "choose another directory"),
        ({"log_level": "loud"}, "not one of error, warning, info, debug"),
    ],
)
def test_settings_that_cannot_be_served_are_refused(tmp_path, settings, says):
    """An open door to the network, or a path that smuggles a line into the configuration, does not start."""
    with pytest.raises(BrokerUnavailable, match=says):
        MosquittoSettings(**{"directory": tmp_path, **settings})


def test_a_missing_mosquitto_names_the_command_that_installs_it(monkeypatch):
    """Nobody has to look up the package's name."""
    monkeypatch.setattr(module.shutil, "which", lambda *_args, **_kwargs: None)

    with pytest.raises(BrokerUnavailable, match="apt-get install mosquitto"):
        find_mosquitto()


def test_it_starts_on_a_free_port_and_ends(own_mosquitto):
    """It answers when `start` returns, and its exit code is 0 when `stop` does."""
    pid = own_mosquitto.pid
    with socket.create_connection((own_mosquitto.endpoint.host, own_mosquitto.endpoint.port), timeout=5):
        pass
    own_mosquitto.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(BrokerUnavailable, match="does not run"):
        _ = own_mosquitto.pid


def test_a_port_in_use_is_named(own_mosquitto, tmp_path):
    """A second broker on the same port says which port, and ends no other process."""
    port = own_mosquitto.endpoint.port

    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}: Address already in use; choose another port"):
        MosquittoProcess(MosquittoSettings(directory=tmp_path / "second", port=port)).start()
    assert own_mosquitto.exit_code() is None


def test_a_failed_start_tells_mosquittos_own_words(tmp_path, monkeypatch):
    """What Mosquitto does not like about its configuration is in the error."""
    monkeypatch.setattr(module, "render", lambda _settings: "no_such_option 1\n")

    with pytest.raises(BrokerUnavailable, match="no_such_option"):
        MosquittoProcess(MosquittoSettings(directory=tmp_path)).start()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    """The error names the folder and the cause."""
    (tmp_path / "file").touch()

    with pytest.raises(BrokerUnavailable, match="file/broker: Not a directory"):
        MosquittoProcess(MosquittoSettings(directory=tmp_path / "file" / "broker")).start()


def test_retained_messages_outlive_a_restart_on_the_same_port(own_mosquitto):
    """The store is written at the end and read at the next start, as whichever user runs it."""
    port = own_mosquitto.endpoint.port
    publish_retained(port, b"goal")
    own_mosquitto.stop()
    own_mosquitto.start()
    kept: list[bytes] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda client, _userdata, message: (kept.append(message.payload), client.disconnect())
    client.connect("127.0.0.1", port)
    client.subscribe("kept", qos=1)
    client.loop_forever()

    assert port == own_mosquitto.endpoint.port
    assert [b"goal"] == kept


def test_a_frozen_mosquitto_is_killed_in_the_end(own_mosquitto, monkeypatch):
    """`stop` does not wait for ever for a process that cannot hear."""
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.1)
    pid = own_mosquitto.pid
    os.kill(pid, signal.SIGSTOP)
    own_mosquitto.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_mosquitto_shows_its_exit_code(own_mosquitto):
    """Whoever watches it learns that a signal ended it."""
    os.kill(own_mosquitto.pid, signal.SIGKILL)
    own_mosquitto._process.wait(10)

    assert -signal.SIGKILL == own_mosquitto.exit_code()
