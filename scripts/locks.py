"""Renew and check the lock files: `make locks`, `make locks-check`.

Each lock names one version of every package with the sha256 of its files, for CPython 3.11 and newer on Linux, x86-64
and aarch64. `renew` needs uv; `check` needs pip 26 and packaging, and downloads no package where the index serves
metadata of its own (PEP 658). Neither writes down where packages come from: that is pip's configuration.
"""

from __future__ import annotations

import argparse
import configparser
import itertools
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN, TORCH = Path("locks/main.txt"), Path("locks/torch.txt")
ZOO = Path("model_zoo/tensorflow-lock.txt")  # in the package, because `tierwise zoo build` installs it
LOCKS = (MAIN, TORCH, ZOO)
EXTRAS = ("device", "orchestrator", "dev")
HEADER = "# Made by `make locks`: do not edit. Sources of packages are a matter of pip's configuration.\n"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
# Platform tags, as glibc 2.28 (Debian 10) and newer accept them.
PLATFORMS = (*(f"manylinux_2_{minor}" for minor in range(28, 16, -1)), "manylinux2014")
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))?\s*(?:\\|$)")


@dataclass(frozen=True, slots=True)
class Locked:
    """One requirement of a lock. `hashes`: sha256 in hexadecimal."""

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]


def read_lock(path: Path) -> list[Locked]:
    """The requirements of a lock file."""
    found: list[Locked] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := REQUIREMENT.match(line):
            found.append(Locked(match["name"], match["version"], match["marker"], ()))
        elif hashed := re.match(r"\s+--hash=sha256:([0-9a-f]{64})", line):
            last = found.pop()
            found.append(Locked(last.name, last.version, last.marker, (*last.hashes, hashed[1])))
    return found


def pip_report(arguments: Sequence[str]) -> list[dict[str, dict[str, object]]]:
    """What `pip install` with these arguments would install. Raises CalledProcessError, its output in it."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["install"]


def target_options(python: str, machine: str, directory: str) -> list[str]:
    """Make pip choose wheels for another Python and machine than this one."""
    platforms = [f"--platform={tag}_{machine}" for tag in PLATFORMS]
    return ["--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms, f"--target={directory}"]


def sha256_of(item: dict[str, dict[str, object]]) -> str:
    """The hash of a report's item, or an empty text."""
    return item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "")


def renew(uv: str) -> None:
    """Resolve everything anew to the newest versions that setup.cfg and locks/torch.in allow."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        build = tomllib.load(file)["build-system"]["requires"]
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    zoo = re.sub(r" +#.*", "", setup["options.extras_require"]["zoo"])
    extras = itertools.chain.from_iterable(("--extra", extra) for extra in EXTRAS)
    before = read_lock(ROOT / TORCH) if (ROOT / TORCH).exists() else []
    compile_lock(uv, MAIN, [*extras, "setup.cfg", "-"], "\n".join(["pip", *build]))
    compile_lock(uv, TORCH, ["--constraint", str(MAIN), "locks/torch.in"])
    compile_lock(uv, ZOO, ["-"], zoo)
    add_torch_builds(before)


def compile_lock(uv: str, path: Path, sources: Sequence[str], text: str = "") -> None:
    """Have uv write one lock; `text` stands for the source `-`."""
    options = ["--universal", "--python-version=3.11", "--generate-hashes", "--upgrade", "--quiet", "--no-header"]
    silent = ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
    command = [uv, "pip", "compile", *options, *silent, "--output-file", str(path), *sources]
    subprocess.run(command, check=True, cwd=ROOT, input=text, text=True, stdout=subprocess.DEVNULL)
    (ROOT / path).write_text(HEADER + (ROOT / path).read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{path}: {len(read_lock(ROOT / path))} packages")


def add_torch_builds(before: Sequence[Locked]) -> None:
    """Add the hashes of builds that this machine's pip finds (CPU builds), and keep those of the same version."""
    torch = next(locked for locked in read_lock(ROOT / TORCH) if locked.name == "torch")
    known = {value for old in before if (old.name, old.version) == ("torch", torch.version) for value in old.hashes}
    for python, machine in itertools.product(PYTHONS, MACHINES):
        with tempfile.TemporaryDirectory() as directory:
            report = pip_report([*target_options(python, machine, directory), f"torch=={torch.version}"])
        print(f"torch for Python {python} on {machine}: {report[0]['metadata']['version']}")
        known.add(sha256_of(report[0]))
    lines = "".join(f"    --hash=sha256:{value} \\\n" for value in sorted(known - {"", *torch.hashes}))
    text = (ROOT / TORCH).read_text(encoding="utf-8")
    (ROOT / TORCH).write_text(re.sub(r"(?m)^(torch==.*\\\n)", lambda match: match[1] + lines, text), encoding="utf-8")


def check() -> int:
    """Ask pip for the wheel of each locked package, for each Python and machine; the number of problems."""
    problems = 0
    for python, machine, path in itertools.product(PYTHONS, MACHINES, LOCKS):
        wanted = list(applicable(read_lock(ROOT / path), python, machine))
        errors = check_wheels(wanted, python, machine)
        problems += len(errors)
        print(
            f"{path}, Python {python}, {machine}: {len(wanted)} packages, {'; '.join(errors) or 'each has its wheel'}"
        )
    return problems


def applicable(lock: Sequence[Locked], python: str, machine: str) -> Iterator[Locked]:
    """The requirements of a lock whose marker holds there."""
    from packaging.markers import Marker

    there = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    for locked in lock:
        if locked.marker is None or Marker(locked.marker).evaluate({**there, "sys_platform": "linux"}):
            yield locked


def check_wheels(wanted: Sequence[Locked], python: str, machine: str) -> list[str]:
    """What is wrong with these requirements on that Python and machine: no wheel, or a hash that is not locked."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            pins = [f"{locked.name}=={locked.version}" for locked in wanted]
            report = pip_report([*target_options(python, machine, directory), *pins])
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR:")]
            return [lines[-1] if lines else error.stderr[-300:]]
    hashes = {canonical(locked.name): locked.hashes for locked in wanted}
    found = {canonical(str(item["metadata"]["name"])): sha256_of(item) for item in report}
    missing = [f"{name} was not found" for name in hashes if name not in found]
    return missing + [f"{name}: {value} is not locked" for name, value in found.items() if value not in hashes[name]]


def canonical(name: str) -> str:
    """A package's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["renew", "check"])
    parser.add_argument("--uv", default="uv", help="the uv to use (renew)")
    arguments = parser.parse_args()
    if arguments.what == "check":
        sys.exit(1 if check() else 0)
    renew(arguments.uv)


if __name__ == "__main__":
    main()
