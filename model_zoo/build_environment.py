"""A Python that has TensorFlow: this one, or an environment of its own in the cache, made for one build."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from broker.private_files import follow_no_link
from model_zoo.cache import cache_root
from model_zoo.errors import BuildFailed
from model_zoo.progress import Progress, Stage, Step

# What `make locks` resolves the `zoo` extra of setup.cfg to, with hashes. Not "pip install tierwise[zoo]": that would
# bring the whole of Tierwise into an environment that needs none of it.
LOCK = Path(__file__).with_name("tensorflow-lock.txt")
NEEDED = ("tensorflow", "numpy", "PIL")
POLL_S = 0.5
LOG = "zoo-venv.log"


def environment_directory() -> Path:
    """Where the environment for building lies."""
    return cache_root() / "zoo-venv"


def find_tensorflow() -> Path | None:
    """This Python, if it has all that a build needs."""
    return Path(sys.executable) if all(importlib.util.find_spec(name) for name in NEEDED) else None


def make_environment(directory: Path, progress: Progress, python: Path | None = None) -> Path:
    """The Python of an environment in `directory` with TensorFlow in it, made now if need be. Raises BuildFailed."""
    inside = directory / "bin" / "python"
    ready = directory / ".ready"
    wanted = LOCK.read_text(encoding="utf-8")
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted and inside.is_file():
        return inside
    temporary = directory / "tmp"
    log = directory.parent / LOG
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _run([str(python or sys.executable), "-m", "venv", str(directory)], log, directory, progress)
        temporary.mkdir(exist_ok=True)
        install = [str(inside), "-m", "pip", "install", "--no-cache-dir", "--require-hashes", "-r", str(LOCK)]
        _run(install, log, directory, progress)
        shutil.rmtree(temporary)
        ready.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise BuildFailed(f"cannot make an environment in {directory}: {error.strerror or error}") from error
    return inside


def remove_environment(directory: Path) -> None:
    """Give back its 1.6 GB."""
    shutil.rmtree(directory, ignore_errors=True)


def _run(command: list[str], log: Path, directory: Path, progress: Progress) -> None:
    """Run `command`, telling what `directory` has grown to; what it prints goes to `log`. Raises BuildFailed."""
    # pip unpacks in TMPDIR, which on many machines is a memory disk that TensorFlow does not fit into.
    environment = {**os.environ, "TMPDIR": str(directory / "tmp"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with open(log, "w+", encoding="utf-8", errors="replace", opener=follow_no_link) as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            wait_for(process, lambda: progress(Step("environment", Stage.INSTALLING, _bytes_in(directory))))
        finally:
            if process.poll() is None:  # interrupted: nobody waits for it any more
                process.terminate()
                process.wait()
        if process.returncode:
            output.seek(0)
            raise BuildFailed(
                f"cannot install TensorFlow for {sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}: "
                f"{last_line(output.read())} (all of it in {log}); with a Python that can have it: "
                "tierwise zoo build --python python3.12"
            )


def wait_for(process: subprocess.Popen[bytes], meanwhile: Callable[[], None]) -> None:
    """Until `process` ends, call `meanwhile` now and then."""
    while True:
        meanwhile()
        try:
            process.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            continue


def last_line(text: str) -> str:
    """The line that says what went wrong, of a log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:") or "Error:" in line]
    return (errors or lines or ["it printed nothing"])[-1][:300]


def _bytes_in(directory: Path) -> int:
    total = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            try:
                total += os.lstat(os.path.join(folder, file)).st_size
            except OSError:
                continue  # pip moved it meanwhile
    return total
