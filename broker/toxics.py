"""What may befall one direction of a link, in Toxiproxy's words: its names, its attributes and their units.

    latency       latency, jitter (ms)                             every byte leaves so much later
    bandwidth     rate (kB/s, of 1000 bytes)                       no faster than that
    slicer        average_size, size_variation (bytes), delay (us) in small pieces, with a pause before each
    timeout       timeout (ms)                                     nothing passes; then the connection is closed, or,
                                                                   with 0, stays as it is
    reset_peer    timeout (ms)                                     after that, a TCP reset to both sides
    limit_data    bytes                                            after so many, the connection is closed
    slow_close    delay (ms)                                       the end of the stream comes so much later

One difference: what `timeout` stops is held, as TCP holds what a black hole swallows, and goes on when the toxic is
removed. Toxiproxy drops it and closes the connection then. Pure: a toxic answers questions, `broker.delay_line` asks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

BANDWIDTH_PIECE_S = 0.1  # the longest that one piece occupies a slow link, so that a change is felt soon


class Stream(StrEnum):
    """Which direction a toxic befalls: from the client to the server, or back."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class Toxic:
    """One that does nothing; the others override what they are about."""

    @property
    def holds(self) -> bool:
        """Whether nothing passes."""
        return False

    @property
    def slow(self) -> bool:
        """Whether bytes pile up before it; then the sender is held up soon."""
        return False

    @property
    def ends_after_s(self) -> float | None:
        """When the connection ends, counted from when the toxic begins to befall it."""
        return None

    @property
    def resets(self) -> bool:
        """Whether that end is a TCP reset."""
        return False

    @property
    def most_bytes(self) -> int | None:
        """How many bytes pass in all before the connection is closed."""
        return None

    def delay_s(self, draw: float) -> float:  # noqa: ARG002 - others use it
        """How long after its arrival a chunk leaves; `draw` is the chunk's own, from -1 to 1."""
        return 0.0

    def end_delay_s(self) -> float:
        """How much later the end of the stream leaves."""
        return 0.0

    def piece_bytes(self, draw: random.Random) -> int | None:  # noqa: ARG002 - others use it
        """The most that leaves at once; None where that does not matter."""
        return None

    def occupied_s(self, size: int) -> float:  # noqa: ARG002 - others use it
        """How long a piece of `size` bytes occupies the link."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Latency(Toxic):
    """Every byte leaves `latency` ms after it arrived, give or take `jitter`; their order stays."""

    latency: float
    jitter: float = 0.0

    def delay_s(self, draw: float) -> float:
        """See Toxic."""
        return max(0.0, self.latency + self.jitter * draw) / 1000


@dataclass(frozen=True, slots=True)
class Bandwidth(Toxic):
    """`rate` kB/s; 64 kbit/s is 8."""

    rate: float

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError("rate must be above 0; `timeout` lets nothing pass")

    @property
    def slow(self) -> bool:
        """See Toxic."""
        return True

    def piece_bytes(self, draw: random.Random) -> int | None:  # noqa: ARG002
        """See Toxic."""
        return max(1, int(self.rate * 1000 * BANDWIDTH_PIECE_S))

    def occupied_s(self, size: int) -> float:
        """See Toxic."""
        return size / (self.rate * 1000)


@dataclass(frozen=True, slots=True)
class Slicer(Toxic):
    """Pieces of `average_size` bytes, give or take `size_variation`, with `delay` microseconds before each."""

    average_size: int
    size_variation: int = 0
    delay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.size_variation < self.average_size:
            raise ValueError("size_variation must be from 0 to below average_size")

    @property
    def slow(self) -> bool:
        """See Toxic."""
        return self.delay > 0

    def piece_bytes(self, draw: random.Random) -> int | None:
        """See Toxic."""
        return self.average_size + draw.randint(-self.size_variation, self.size_variation)

    def occupied_s(self, size: int) -> float:  # noqa: ARG002
        """See Toxic."""
        return self.delay / 1e6


@dataclass(frozen=True, slots=True)
class Timeout(Toxic):
    """A black hole: nothing passes, and after `timeout` ms the connection is closed; 0: only when it is removed."""

    timeout: float = 0.0

    @property
    def holds(self) -> bool:
        """See Toxic."""
        return True

    @property
    def slow(self) -> bool:
        """See Toxic."""
        return True

    @property
    def ends_after_s(self) -> float | None:
        """See Toxic."""
        return self.timeout / 1000 if self.timeout else None


@dataclass(frozen=True, slots=True)
class ResetPeer(Toxic):
    """Both sides get a TCP reset after `timeout` ms."""

    timeout: float = 0.0

    @property
    def ends_after_s(self) -> float | None:
        """See Toxic."""
        return self.timeout / 1000

    @property
    def resets(self) -> bool:
        """See Toxic."""
        return True


@dataclass(frozen=True, slots=True)
class LimitData(Toxic):
    """The connection is closed when `bytes` have passed."""

    bytes: int

    @property
    def most_bytes(self) -> int | None:
        """See Toxic."""
        return self.bytes


@dataclass(frozen=True, slots=True)
class SlowClose(Toxic):
    """The end of the stream leaves `delay` ms later."""

    delay: float

    def end_delay_s(self) -> float:
        """See Toxic."""
        return self.delay / 1000
