"""Measurement noise: factors of mean 1, drawn in blocks because single draws would cost more than a round."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.calibration import NoiseDistribution, NoiseSection

BLOCK = 4096  # numbers drawn at once, at least one round's
LEAST_FACTOR = 0.1
T_FREEDOM = 3
T_DEVIATION = math.sqrt(T_FREEDOM / (T_FREEDOM - 2))  # of the distribution itself

Floats = npt.NDArray[np.float64]


class Blocks:
    """Rows of random numbers from blocks; where it stands can be saved. Mutable."""

    def __init__(self, shape: tuple[int, ...], generator: np.random.Generator) -> None:
        self._rows = max(1, BLOCK // max(1, math.prod(shape)))
        self._shape = shape
        self._generator = generator
        self._before: Any = None  # the generator's state before the block was drawn
        self._block: Floats = np.empty((0, *shape))
        self._next = 0

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """One block. Uniform on [0, 1) unless a subclass says otherwise."""
        return generator.random(shape)

    def row(self) -> Floats:
        """The next row; not to be written to."""
        if self._next == len(self._block):
            self._before = self._generator.bit_generator.state
            self._block = self.draw(self._generator, (self._rows, *self._shape))
            self._next = 0
        self._next += 1
        row: Floats = self._block[self._next - 1]
        return row

    def save(self) -> dict[str, Any]:
        """JSON with which `load` goes on at exactly the next row."""
        if not len(self._block):
            return {"state": self._generator.bit_generator.state, "next": 0}
        return {"state": self._before, "next": self._next}

    def load(self, saved: dict[str, Any]) -> None:
        """Go on where `save` was called. Raises KeyError, TypeError, ValueError."""
        taken = int(saved["next"])
        if not 0 <= taken <= self._rows:
            raise ValueError(f"row {taken} of a block of {self._rows}")
        self._generator.bit_generator.state = saved["state"]
        self._block, self._next = np.empty((0, *self._shape)), 0
        for _ in range(taken):
            self.row()


class Noise(Blocks):
    """Factors of mean 1 and of the named distribution."""

    def __init__(self, settings: NoiseSection, shape: tuple[int, ...], generator: np.random.Generator) -> None:
        super().__init__(shape, generator)
        self._distribution = settings.distribution
        self._deviation = settings.sd_percent / 100

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """One block of factors."""
        deviation = self._deviation
        if self._distribution is NoiseDistribution.NONE or deviation == 0:
            return np.ones(shape)
        if self._distribution is NoiseDistribution.LOGNORMAL:
            variance = math.log1p(deviation**2)
            return generator.lognormal(-variance / 2, math.sqrt(variance), shape)
        if self._distribution is NoiseDistribution.STUDENT_T:
            scale = deviation / T_DEVIATION
            factors = 1.0 + generator.standard_t(T_FREEDOM, shape) * scale
            added = scale * _t_below((1.0 - LEAST_FACTOR) / scale)
        else:
            factors = generator.normal(1.0, deviation, shape)
            added = deviation * _normal_below((1.0 - LEAST_FACTOR) / deviation)
        return np.maximum(LEAST_FACTOR, factors) / (1.0 + added)


def _normal_below(cut: float) -> float:
    """The mean of max(0, -cut - z), z standard normal: what the cut adds to the mean."""
    density = math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
    return density - cut * math.erfc(cut / math.sqrt(2)) / 2


def _t_below(cut: float) -> float:
    """The same of Student's t with three degrees of freedom."""
    root = math.sqrt(3)
    above = 3 * root / (math.pi * (3 + cut**2))
    return above - cut * (0.5 - (cut / root / (1 + cut**2 / 3) + math.atan(cut / root)) / math.pi)
