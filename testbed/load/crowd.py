"""All simulated devices of one process, in one loop over epoll: what each has to say when, and what comes for it.

asyncio costs as much per message as the rest of a device; the crowd would then measure itself.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.vocabulary import NodeId, RequestId, SiteId, Tier
from testbed.load.device import Device, Identity
from testbed.load.ledger import Ledger, percentile

BEAT_S = 1.0
GIVE_UP_S = 1.5  # the device's default wait for a decision
LOOK_S = 0.25
LEAST_RECONNECT_S, MOST_RECONNECT_S = 0.2, 2.0
SERVING = {NodeId("edge"): Tier.EDGE, NodeId("cloud"): Tier.CLOUD}
DELAYS_KEPT = 20_000

Work = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Pace:
    """Requests of each device per second; 0 for none."""

    rate: float
    give_up_s: float = GIVE_UP_S


class Crowd:
    """`count` devices, an edge and a cloud node, over as many connections. Mutable; one thread."""

    def __init__(self, site: SiteId, host: str, port: int, count: int, seed: int = 1) -> None:
        self.ledger = Ledger()
        self.lost = 0
        self._host, self._port = host, port
        nodes = {**SERVING, **{NodeId(f"s{number:05d}"): Tier.END for number in range(count)}}
        self.devices = [Device(Identity(site, node, tier), self.ledger) for node, tier in nodes.items()]
        self._pace = Pace(0.0)
        self._asks_from_s = float("inf")
        self._random = random.Random(seed)
        self._epoll = select.epoll()
        self._by_fd: dict[int, Device] = {}
        self._due: list[tuple[float, int, Work]] = []
        self._order = 0
        self._late_ms: list[float] = []

    # -- what the modes call ------------------------------------------------------------------------------------

    def connect_all(self, timeout_s: float = 60.0) -> None:
        """Return when all are subscribed and tell of themselves each second. Raises OSError, TimeoutError."""
        for device in self.devices:
            self._register(device, device.connect(self._host, self._port))
            self.run(0.0)
        deadline_s = time.monotonic() + timeout_s
        while not all(device.subscribed for device in self.devices):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{sum(not d.subscribed for d in self.devices)} devices were not subscribed in time")
            self.run(0.05)
        now_s = time.monotonic()
        for device in self.devices:
            self._at(now_s + self._random.random() * BEAT_S, self._every(BEAT_S, device.beat))
            self._at(now_s + self._random.random() * BEAT_S, self._every(BEAT_S, device.tell))

    def introduce(self, at_a_time: int, pause_s: float) -> bool:
        """Let some of those that were never answered ask once; whether all have been."""
        unanswered = [device for device in self.devices if device.identity.tier is Tier.END and not device.answered]
        for device in unanswered[:at_a_time]:
            device.ask()
        if unanswered:
            self.run(pause_s)
        return not unanswered

    def forget(self) -> None:
        """Begin a new ledger: what was sent before does not count."""
        self.ledger = Ledger()
        for device in self.devices:
            device.ledger = self.ledger

    def ask_at(self, pace: Pace) -> None:
        """From now on each device asks so often, each at its own moment; a new pace replaces the old."""
        self._pace = pace
        if not pace.rate:
            return
        now_s = time.monotonic()
        for device in self.devices:
            if device.identity.tier is Tier.END:
                self._at(now_s + self._random.random() / pace.rate, self._asking(device, pace))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Work for so long, or until that is so (looked at four times a second); whether it was."""
        end_s = time.monotonic() + seconds
        look_s = time.monotonic() + LOOK_S
        while True:
            now_s = time.monotonic()
            if until is not None and now_s >= look_s:
                look_s = now_s + LOOK_S
                if until():
                    return True
            if now_s >= end_s and seconds > 0:
                return until is not None and until()
            next_s = min(self._due[0][0] if self._due else end_s, end_s, look_s if until else end_s)
            self._turn(max(0.0, next_s - now_s))
            if seconds <= 0:
                return False

    def late_ms(self) -> float:
        """p99 of how long after its moment a request was sent, lately: what this process itself delays."""
        return percentile(sorted(self._late_ms), 99)

    def close(self) -> None:
        """End all connections cleanly."""
        for device in self.devices:
            device.close()
        self._epoll.close()

    # -- the loop -----------------------------------------------------------------------------------------------

    def _turn(self, timeout_s: float) -> None:
        for fd, _events in self._epoll.poll(timeout_s):
            device = self._by_fd.get(fd)
            if device is None:
                continue
            try:
                device.readable()
            except OSError:
                self._gone(device, fd)
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            due_s, order, work = heapq.heappop(self._due)
            try:
                pause_s = work()
            except OSError:  # the broker closed it; what reads from it notices, too
                pause_s = BEAT_S
            if pause_s is not None:
                heapq.heappush(self._due, (max(due_s + pause_s, now_s - BEAT_S), order, work))

    def _register(self, device: Device, sock: socket.socket) -> None:
        self._by_fd[sock.fileno()] = device
        self._epoll.register(sock, select.EPOLLIN)

    def _gone(self, device: Device, fd: int) -> None:
        self.lost += 1
        self._by_fd.pop(fd, None)
        self._epoll.unregister(fd)
        device.close(clean=False)
        self._at(time.monotonic() + self._pause(LEAST_RECONNECT_S), self._reconnecting(device))

    def _reconnecting(self, device: Device) -> Work:
        """Back-off as the protocol has it: 0.2 s, doubled up to 2 s, each shortened by up to half."""
        delay_s = LEAST_RECONNECT_S

        def work() -> float | None:
            nonlocal delay_s
            try:
                self._register(device, device.connect(self._host, self._port))
            except OSError:
                device.close(clean=False)
                delay_s = min(2 * delay_s, MOST_RECONNECT_S)
                return self._pause(delay_s)
            return None

        return work

    def _pause(self, delay_s: float) -> float:
        return delay_s * self._random.uniform(0.5, 1.0)

    def _at(self, when_s: float, work: Work) -> None:
        self._order += 1
        heapq.heappush(self._due, (when_s, self._order, work))

    def _every(self, period_s: float, say: Callable[[], None]) -> Work:
        def work() -> float:
            say()
            return period_s

        return work

    def _asking(self, device: Device, pace: Pace) -> Work:
        period_s = 1.0 / pace.rate
        planned_s = 0.0

        def work() -> float | None:
            nonlocal planned_s
            if self._pace is not pace:
                return None
            now_s = time.monotonic()
            if planned_s:
                self._note_late(now_s - planned_s)
            planned_s = (planned_s or now_s) + period_s
            if device.sock is not None:
                number = device.ask()
                self._at(now_s + pace.give_up_s, self._giving_up(device, number))
            return period_s

        return work

    def _giving_up(self, device: Device, number: int) -> Work:
        ledger = self.ledger

        def work() -> None:
            if ledger is self.ledger:
                device.give_up(number, RequestId(self.ledger.id_of(number)))

        return work

    def _note_late(self, late_s: float) -> None:
        if len(self._late_ms) >= DELAYS_KEPT:
            self._late_ms.clear()
        self._late_ms.append(late_s * 1000)
