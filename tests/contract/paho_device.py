"""An end device in closed loop, written from docs/protocol.md alone: paho-mqtt and the standard library.

    python paho_device.py --host 127.0.0.1 --port 1883 --site lab --node foreign-1 --image photograph.jpg

It cannot run networks. What it is told to run itself it pretends to run: it waits some milliseconds and reports a label
that says so, marked as emulated. It offloads for real. Each thing that happens is one JSON object on a line of stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import queue
import random
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

DECISION_TIMEOUT_S = 1.5
OPEN_TIMEOUT_S = 5.0
BEAT_S = 1.0
RESEND_S, RESEND_AT_MOST_S = 3.0, 30.0
PRETENDED_S = 0.02
MOST_REPORTS = 1000


def say(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53 - 1


class Device:
    """One node. paho's thread only puts what arrives into a queue; all else happens in `run`, heartbeats included."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.site, self.node = arguments.site, arguments.node
        self.models = arguments.models.split(",")
        self.image = Path(arguments.image).read_bytes()
        self.stopping = False
        self.connected = False
        self.session = 0
        self.seq = 0
        self.last_beat_s = -math.inf
        self.heard_s = time.monotonic()
        self.open_round: int | None = None
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.arrived: dict[str, dict[str, Any]] = {}  # decision and result of the request under way
        self.request_id = ""
        self.unacknowledged: dict[str, dict[str, Any]] = {}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{self.site}.{self.node}.agent", protocol=mqtt.MQTTv5
        )
        self.client.reconnect_delay_set(1, 2)
        self.client.on_pre_connect = self._new_session
        self.client.on_socket_open = lambda _c, _u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.on_connect = lambda _c, _u, _f, code, _p: self.inbox.put(("connect", code))
        self.client.on_disconnect = lambda _c, _u, _f, code, _p: self.inbox.put(("disconnect", code))
        self.client.on_message = lambda _c, _u, message: self.inbox.put(("message", message))
        self.client.connect_async(arguments.host, arguments.port, keepalive=5, clean_start=True)

    # -- connection and session -------------------------------------------------------------------------------

    def topic(self, channel: str, node: str | None = None) -> str:
        return f"tierwise/v1/{self.site}/{node or self.node}/{channel}"

    def publish(
        self, channel: str, body: dict[str, Any], qos: int = 1, retain: bool = False, expiry_s: int = 0
    ) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if expiry_s:
            properties.MessageExpiryInterval = expiry_s
        self.client.publish(self.topic(channel), json.dumps(body), qos, retain, properties)

    def _new_session(self, client: mqtt.Client, _userdata: Any) -> None:
        self.session = max(self.session + 1, int(time.time() * 1000))
        will = json.dumps({"session": self.session, "state": "offline"})
        client.will_set(self.topic("state"), will, qos=1, retain=True)

    def _on_connect(self, code: Any) -> None:
        if code.is_failure:
            say("refused", reason=str(code))
            return
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        topics = [self.topic(channel) for channel in ("decision", "result", "report/ack", "state", "ping")]
        self.client.subscribe([(topic, options) for topic in (*topics, self.topic("round", "+"))])
        files = {model: hashlib.sha256(model.encode()).hexdigest() for model in self.models}
        birth = {"session": self.session, "tier": "end", "agent_version": "paho_device 1", "vcpus": 1}
        self.publish("birth", {**birth, "models": files, "emulated": True}, retain=True)
        self.publish("state", {"session": self.session, "state": "online"}, retain=True)
        self.connected = True
        self.last_beat_s = -math.inf
        for kept in self.unacknowledged.values():
            kept.update(next_s=-math.inf, pause_s=RESEND_S)
        say("connected", session=self.session)

    # -- everything that happens ------------------------------------------------------------------------------

    def pump(self, longest_s: float) -> None:
        """Do what is due, then wait for one thing to arrive and take it."""
        now_s = time.monotonic()
        if self.connected and now_s - self.last_beat_s >= BEAT_S:
            self.last_beat_s = now_s
            self.publish("heartbeat", {"session": self.session, "seq": self.seq}, qos=0)
            reading = {"seq": self.seq, "cpu_percent": 5.0, "memory_percent": 20.0, "link": "regular"}
            self.publish("telemetry", {**reading, "emulated": True}, qos=0)
            self.seq += 1
        self._send_reports(now_s)
        try:
            kind, what = self.inbox.get(timeout=max(0.0, min(longest_s, 0.2)))
        except queue.Empty:
            return
        if kind == "connect":
            self._on_connect(what)
        elif kind == "disconnect":
            self.connected = False
            say("disconnected", reason=str(what))
        else:
            self._on_message(what)

    def _on_message(self, message: mqtt.MQTTMessage) -> None:
        channel = message.topic.split("/", 4)[4]
        try:
            body = json.loads(message.payload)
        except ValueError:
            body = None
        if not isinstance(body, dict) or (message.retain and channel != "state"):
            say("ignored", topic=message.topic, retain=message.retain)
        elif channel == "state":
            if body != {"session": self.session, "state": "online"} and not self.stopping:
                self.publish("state", {"session": self.session, "state": "online"}, retain=True)
        elif channel == "round":
            self._on_round(body)
        elif channel == "ping":
            handling_ms = (time.monotonic() - message.timestamp) * 1000
            pong = {"ping_id": body.get("ping_id"), "session": self.session, "handling_ms": handling_ms}
            self.publish("pong", pong, expiry_s=10)
        elif channel == "report/ack":
            for request_id in body.get("request_ids", []):
                if self.unacknowledged.pop(request_id, None) is not None:
                    say("acknowledged", request_id=request_id)
        elif channel in ("decision", "result"):
            self._on_answer(channel, message, body)

    def _on_round(self, body: dict[str, Any]) -> None:
        if is_count(body.get("round")):
            self.heard_s = time.monotonic()
            self.open_round = body["round"] if body.get("open") is True else None

    def _on_answer(self, channel: str, message: mqtt.MQTTMessage, body: dict[str, Any]) -> None:
        say(channel, topic=message.topic, retain=message.retain, asked=self.request_id, payload=body)
        if body.get("request_id") == self.request_id and channel not in self.arrived:
            self.arrived[channel] = body

    def wait_for(self, what: str, deadline_s: float) -> dict[str, Any] | None:
        """The decision or result of the request under way; None when it does not come or the link breaks."""
        while what not in self.arrived and self.connected and time.monotonic() < deadline_s:
            self.pump(deadline_s - time.monotonic())
        return self.arrived.get(what)

    # -- one request ------------------------------------------------------------------------------------------

    def ask(self) -> None:
        self.request_id, self.arrived = secrets.token_hex(16), {}
        asked_in, self.open_round = self.open_round, None
        started_s = time.monotonic()
        decision = None
        if self.connected:
            self.publish("request", {"request_id": self.request_id}, expiry_s=math.ceil(DECISION_TIMEOUT_S))
            decision = self.wait_for("decision", started_s + DECISION_TIMEOUT_S)
        decided_s = time.monotonic()
        stages = {"decide_ms": (decided_s - started_s) * 1000}
        report: dict[str, Any] = {"request_id": self.request_id, "decided": decision is not None, "trained": False}
        if decision is not None and decision["tier"] != "end":
            done = self._offload(decision, decided_s, stages)
            wanted, reason = (
                decision["fallback_model"],
                f"{decision['serving_node']}: {done.get('refused', 'no result')}",
            )
        else:
            done, reason = {}, None if decision is not None else "no decision"
            wanted = decision["model"] if decision is not None else self.models[0]
        if done.get("label") is not None:
            report.update(outcome="done", tier=decision["tier"], serving_node=decision["serving_node"])
            report.update({key: done[key] for key in ("model", "label", "trained", "emulated") if key in done})
        else:
            report.update(self._pretend(wanted, stages), outcome="done" if reason is None else "fallen_back")
            report["reason"] = reason
        report.update(response_ms=(time.monotonic() - started_s) * 1000, stages=stages)
        if self.open_round == asked_in:
            self.open_round = None  # heard again while this request was under way
        self.heard_s = time.monotonic()
        self._keep(report)

    def _offload(self, decision: dict[str, Any], decided_s: float, stages: dict[str, float]) -> dict[str, Any]:
        deadline_s = decided_s + decision["deadline_ms"] / 1000
        left_ms = (deadline_s - time.monotonic()) * 1000
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = self.request_id.encode("ascii")
        pairs = [("model", decision["model"]), ("deadline_ms", f"{left_ms:.1f}")]
        if isinstance(decision.get("ticket"), str):
            pairs.append(("ticket", decision["ticket"]))
        properties.UserProperty = pairs
        properties.MessageExpiryInterval = max(1, math.ceil(left_ms / 1000))
        sent_s = time.monotonic()
        self.client.publish(
            self.topic(f"infer/{self.node}", decision["serving_node"]), self.image, 1, False, properties
        )
        result = self.wait_for("result", deadline_s) or {}
        stages.update({key: result[key] for key in ("queue_ms", "compute_ms") if key in result})
        spent_ms = (time.monotonic() - sent_s) * 1000
        stages["downlink_ms"] = max(0.0, spent_ms - stages.get("queue_ms", 0.0) - stages.get("compute_ms", 0.0))
        return result

    def _pretend(self, model: str, stages: dict[str, float]) -> dict[str, Any]:
        model = model if model in self.models else self.models[0]
        until_s = time.monotonic() + PRETENDED_S * random.uniform(0.9, 1.1)
        while (left_s := until_s - time.monotonic()) > 0:
            self.pump(left_s)
        stages["compute_ms"] = PRETENDED_S * 1000
        label = "made up: this device has no networks"
        return {"tier": "end", "serving_node": self.node, "model": model, "label": label, "emulated": True}

    # -- reports ----------------------------------------------------------------------------------------------

    def _keep(self, report: dict[str, Any]) -> None:
        say("report", payload=report)
        self.unacknowledged[report["request_id"]] = {"report": report, "next_s": -math.inf, "pause_s": RESEND_S}
        while len(self.unacknowledged) > MOST_REPORTS:
            del self.unacknowledged[next(iter(self.unacknowledged))]
        self._send_reports(time.monotonic())

    def _send_reports(self, now_s: float) -> None:
        for kept in self.unacknowledged.values() if self.connected else ():
            if kept["next_s"] <= now_s:
                self.publish("report", kept["report"])
                kept["next_s"] = now_s + kept["pause_s"]
                kept["pause_s"] = min(2 * kept["pause_s"], RESEND_AT_MOST_S)

    # -- life -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Ask on every open round, or after a silence, until SIGTERM."""
        self.client.loop_start()
        while not self.stopping:
            self.pump(0.2)
            silent = time.monotonic() - self.heard_s >= OPEN_TIMEOUT_S
            if not self.stopping and (self.open_round is not None or silent):
                self.ask()
        ended_s = time.monotonic() + 3.0
        while self.unacknowledged and self.connected and time.monotonic() < ended_s:
            self.pump(0.1)
        if self.connected:
            stopped = json.dumps({"session": self.session, "state": "stopped"})
            self.client.publish(self.topic("state"), stopped, 1, True).wait_for_publish(2.0)
        self.client.disconnect()
        self.client.loop_stop()
        say("stopped", unacknowledged=len(self.unacknowledged))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--site", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--models", default="d0,d4", help="what it pretends to have, the most accurate first")
    parser.add_argument("--image", required=True, help="a JPEG or PNG of at most 262144 bytes")
    device = Device(parser.parse_args())

    def stop(*_: Any) -> None:
        device.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    device.run()


if __name__ == "__main__":
    sys.exit(main())
