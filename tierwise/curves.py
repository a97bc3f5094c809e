"""Learning curves as a picture, for `tierwise train` and `tierwise compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker.errors import TierwiseError

Curve = tuple[str, float, Sequence[float | None]]


def draw_response_times(curves: Sequence[Curve], optimum_ms: float | None, path: Path) -> None:
    """Draw a line per curve (label, rounds per point, means in ms; None leaves a gap). Raises TierwiseError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for label, per_point, means_ms in curves:
        at = [per_point * (place + 1) for place in range(len(means_ms))]
        axes.plot(at, [float("nan") if ms is None else ms for ms in means_ms], label=label)
    if optimum_ms is not None:
        axes.axhline(optimum_ms, color="black", linestyle=":", label="proven optimum")
    axes.set_xlabel("round")
    axes.set_ylabel("mean response time in ms")
    axes.legend()
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:  # ValueError: a format that matplotlib does not know
        raise TierwiseError(f"cannot write {path}: {error}; name another file with --png") from error
