"""SIGHUP at a program that is still starting."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from broker.hangup import outlive_hangup


@pytest.fixture(autouse=True)
def _handler_stays() -> object:
    former = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, former)


def test_a_hangup_does_nothing_and_is_not_handed_on() -> None:
    """What is started after it has the usual handler."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    outlive_hangup()
    signal.raise_signal(signal.SIGHUP)
    child = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL)"

    assert "True\n" == subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout


def test_nohup_stays_in_force() -> None:
    """Who had it ignored wants it ignored, by children too."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    outlive_hangup()

    assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
