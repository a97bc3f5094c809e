"""One coefficient of a calibration, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_ROWS = 3  # what is seen less often counts as never seen: the first run of a model, which loads it, misleads


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A value as it stands in the file, in the unit of its field; `rows` of the log it rests on, 0: on none."""

    value: float | str
    rows: int
    origin: str

    @property
    def number(self) -> float:
        """The value where it is a number. Raises ValueError."""
        return float(self.value)


Coefficients = dict[str, Coefficient]  # by dotted path in the file: `models.d0`, `links.weak.ask_ms`


def fitted(value: float, rows: int, origin: str) -> Coefficient:
    """To five digits: no log tells more."""
    return Coefficient(float(f"{value:.5g}"), rows, origin)
