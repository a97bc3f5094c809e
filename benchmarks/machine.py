"""What a figure depends on and the page therefore names: the machine and the versions. No host name, no path."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = (
    "tierwise", "paho-mqtt", "msgspec", "pydantic", "numpy", "ai-edge-litert", "tflite-runtime", "Pillow", "scipy",
    "gymnasium", "torch", "grpcio", "uvicorn", "influxdb-client",
)  # fmt: skip
TOOLS = {
    "Mosquitto": ("mosquitto", "-h"),
    "InfluxDB": ("influxd", "version"),
    "VictoriaMetrics": ("dpkg-query", "-W", "victoria-metrics"),  # it does not tell its version by itself
}
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
ROOT = Path(__file__).parents[1]
GIB = 2**30
ANSWER_TIMEOUT_S = 10.0


def machine() -> dict[str, str]:
    """When, and on what."""
    text = _read(Path("/proc/cpuinfo"))
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    virtual = ", virtual machine" if re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE) else ""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores{virtual}",
        "memory": f"{psutil.virtual_memory().total / GIB:.1f} GiB",
        "system": f"{_distribution()}, {platform.system()} {platform.release()}, {platform.machine()}",
        "frequency governor": _read(GOVERNOR).strip() or "not known",
        "load average at the start (1, 5, 15 min)": load_average(),
    }


def load_average() -> str:
    """Over 1, 5 and 15 minutes: at the start nothing should run, at the end it is our own."""
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def versions() -> dict[str, str]:
    """Python, Tierwise with its commit, packages and servers; what is not installed is left out."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if commit := _said(("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")):
        changed = _said(("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", ":!results"))
        found["tierwise"] += f", commit {commit}{' and changes that are not committed' if changed else ''}"
    for name, command in TOOLS.items():
        if found_version := re.search(r"\d+\.\d+\.\d+", _said(command)):
            found[name] = found_version[0]
    return found


def date_of(path: str) -> str:
    """The day on which a kept result was committed; `not committed` otherwise."""
    return _said(("git", "-C", str(ROOT), "log", "-1", "--format=%cs", "--", path)) or "not committed"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "unknown distribution"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def _said(command: Sequence[str]) -> str:
    """What a tool prints on either stream; nothing when it is missing or fails to answer."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    tool = shutil.which(command[0], path=path)
    if tool is None:
        return ""
    try:
        done = subprocess.run(
            [tool, *command[1:]], capture_output=True, text=True, check=False, timeout=ANSWER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if command[0] == "git" and done.returncode != 0:
        return ""
    return (done.stdout + done.stderr).strip()
