"""Times of models that a log has never seen, after those that it has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from broker.vocabulary import ModelName
from model_zoo.manifest import Manifest
from orchestrator.calibration.coefficient import Coefficient, fitted


def unseen(
    model: ModelName,
    seen: Mapping[ModelName, Coefficient],
    rows: int,
    manifest: Manifest,
    assumed_ms: Mapping[ModelName, float],
) -> Coefficient:
    """The time of `model` in ms, which ran `rows` times, too seldom to count; `seen` is not empty.

    On the line by MACs through the two nearest of its data type. Beyond the range of those seen the time is kept
    between that of the nearest (more MACs never take less) and the one in proportion to MACs (no fixed cost is
    negative), so it is above 0. With fewer than two of its type, `assumed_ms` as it is, scaled to the models seen.
    """
    why = "never measured" if rows == 0 else f"measured {rows} time{'s' if rows > 1 else ''} only"
    spec = manifest.models[model]
    alike = [name for name in seen if manifest.models[name].dtype == spec.dtype]
    if len(alike) < 2:
        base = alike or list(seen)
        scale = float(np.median([seen[name].number / assumed_ms[name] for name in base]))
        origin = f"{why}: a1-paper's, times {scale:.4g} as for {', '.join(base)}"
        return fitted(assumed_ms[model] * scale, 0, origin)
    mmacs = {name: manifest.models[name].mmacs for name in alike}
    below = max((name for name in alike if mmacs[name] <= spec.mmacs), key=mmacs.__getitem__, default=None)
    above = min((name for name in alike if mmacs[name] > spec.mmacs), key=mmacs.__getitem__, default=None)
    if below is not None and above is not None:
        ms = _on_line(spec.mmacs, mmacs, seen, below, above)
        return fitted(ms, 0, f"interpolated by MACs between {below} and {above}, {why}")
    nearest, next_ = sorted(alike, key=lambda name: abs(mmacs[name] - spec.mmacs))[:2]
    nearest_ms = seen[nearest].number
    least_ms, most_ms = sorted([nearest_ms, nearest_ms * spec.mmacs / mmacs[nearest]])
    ms = min(max(_on_line(spec.mmacs, mmacs, seen, nearest, next_), least_ms), most_ms)
    return fitted(ms, 0, f"extrapolated by MACs from {nearest} and {next_}, {why}")


def _on_line(
    at: float, mmacs: Mapping[ModelName, float], seen: Mapping[ModelName, Coefficient], one: ModelName, other: ModelName
) -> float:
    slope = (seen[other].number - seen[one].number) / (mmacs[other] - mmacs[one])
    return seen[one].number + slope * (at - mmacs[one])
