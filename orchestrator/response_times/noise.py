"""Noise of one measurement, local or on a tier: Student's t, so that what is strange counts little."""

from __future__ import annotations

from orchestrator.response_times.observed import Floats

T_FREEDOM = 4.0
# A guess of its standard deviation, in shares of a response time, and for how many measurements that counts.
NOISE_SD, NOISE_WEIGHT = 0.04, 6.0


def weights_of(strange: Floats) -> Floats:
    """What measurements count, by expectation-maximisation; `strange`: squared errors in variances of the noise."""
    weights: Floats = (T_FREEDOM + 1.0) / (T_FREEDOM + strange)
    return weights
