"""How far single response times are from what the other coefficients say."""

from __future__ import annotations

import math

import numpy as np

from broker.vocabulary import Tier
from configs.calibration import NoiseDistribution
from orchestrator.calibration.coefficient import Coefficient, Coefficients
from orchestrator.calibration.reading import TIERS, Measured
from orchestrator.calibration.robust import MAD_TO_DEVIATION, Floats, spread
from orchestrator.calibration.serving import sharing

# Beyond three robust deviations lie 0.27 % of a normal distribution and 4.2 % of Student's t with three degrees of
# freedom, the simulator's; a few per cent of hiccups look like the latter.
FAR = 3.0
HEAVY_SHARE = 0.015
LEAST_FOR_HEAVY = 100  # with fewer, two far ones would do
MAD_TO_DEVIATION_T = math.sqrt(3.0) / 0.764892  # deviation by upper quartile of that t
MOST_PERCENT = 100.0  # of the schema


def noise(measured: Measured, expected_ms: Floats) -> Coefficients:
    """`noise.*`; `expected_ms` (R,) is NaN where nothing is expected.

    From the logarithms of response times over what is expected: of local requests one by one, of offloaded ones their
    round's mean, times the root of their number, as if each had noise of its own. So a place in a queue is no noise,
    and the means of simulated rounds spread as those of the log.
    """
    known = np.isfinite(expected_ms)
    local = known & (measured.tier == TIERS.index(Tier.END))
    parts = [np.log(measured.response_ms[local] / expected_ms[local])]
    for tier in (Tier.EDGE, Tier.CLOUD):
        shared = sharing(measured, tier)
        means = np.log(shared.mean(measured.response_ms) / shared.mean(expected_ms))
        usable = np.isfinite(means)
        parts.append(means[usable] * np.sqrt(shared.sharers[usable]))
    factors = np.concatenate(parts)
    deviation = spread(factors)
    far = float((np.abs(factors - np.median(factors)) > FAR * deviation).mean()) if deviation > 0 else 0.0
    told = f"{100 * far:.1f} % are beyond {FAR:g} robust deviations"
    if len(factors) >= LEAST_FOR_HEAVY and far > HEAVY_SHARE:
        distribution, percent = NoiseDistribution.STUDENT_T, 100 * deviation / MAD_TO_DEVIATION * MAD_TO_DEVIATION_T
    else:
        distribution, percent = NoiseDistribution.LOGNORMAL, 100 * math.sqrt(math.expm1(min(deviation, 1.0) ** 2))
    origin = "robust spread of single local times and of rounds' means on edge and cloud"
    return {
        "noise.distribution": Coefficient(distribution.value, len(factors), told),
        "noise.sd_percent": Coefficient(round(min(percent, MOST_PERCENT), 2), len(factors), origin),
    }
