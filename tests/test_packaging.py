"""What an installed Tierwise must hold beside its modules, and what it is installed from."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MAIN, TORCH, ZOO = "locks/main.txt", "locks/torch.txt", "model_zoo/tensorflow-lock.txt"
LOCKED = re.compile(
    r"(?m)^([A-Za-z0-9._-]+==[^ ;\\]+(?: ;[^\\\n]+)?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)
PACKAGES = ("broker", "configs", "device_agent", "model_zoo", "orchestrator", "tierwise")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_data_file_of_a_package_is_in_its_wheel(package: str) -> None:
    """setup.cfg lists it; an editable installation would hide that it does not."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = [p.strip() for p in settings["options.package_data"].get(package, "").split(",") if p.strip()]
    folder = ROOT / package
    listed = {path for pattern in patterns for path in folder.glob(pattern)}
    data = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}

    assert sorted(data - listed) == []


def locked(name: str) -> list[Requirement]:
    """The requirements of a lock file, each of which has hashes."""
    return [Requirement(match[1]) for match in LOCKED.finditer((ROOT / name).read_text(encoding="utf-8"))]


def wanted(*extras: str) -> list[Requirement]:
    """What setup.cfg asks for, with these extras."""
    setup = configparser.ConfigParser(inline_comment_prefixes=("#",))
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [setup["options.extras_require"][extra] for extra in extras]
    return [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", [MAIN, TORCH, ZOO])
def test_a_lock_holds_versions_and_hashes_and_no_source_of_packages(name: str) -> None:
    """Where packages come from is the machine's own configuration of pip."""
    text = (ROOT / name).read_text(encoding="utf-8")

    assert "" == LOCKED.sub("", text.partition("\n")[2])
    assert [] == re.findall(r"://|file:|--index|--find-links|--trusted|^/", text)
    assert locked(name)


@pytest.mark.parametrize(
    ("name", "extras"), [(MAIN, ("device", "orchestrator", "dev")), (TORCH, ("dqn",)), (ZOO, ("zoo",))]
)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_lock_has_what_setup_cfg_asks_for(name: str, extras: tuple[str, ...], python: str, machine: str) -> None:
    """Exactly one version of each package for each Python and machine, within the range; else: make locks."""
    there = {
        **default_environment(),
        "sys_platform": "linux",
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    holds = [one for one in locked(name) if one.marker is None or one.marker.evaluate(there)]
    versions = {re.sub(r"[-_.]+", "-", one.name).lower(): str(one.specifier)[2:] for one in holds}

    assert len(holds) == len(versions)
    for one in wanted(*extras):
        if one.marker is None or one.marker.evaluate(there):
            assert one.specifier.contains(versions[re.sub(r"[-_.]+", "-", one.name).lower()]), one


def test_the_lock_has_what_builds_the_package() -> None:
    """Hash mode refuses `-e .`, so it is installed without build isolation, with the locked setuptools."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        needed = [Requirement(text) for text in tomllib.load(file)["build-system"]["requires"]]
    versions = {one.name: str(one.specifier)[2:] for one in locked(MAIN)}

    assert all(one.specifier.contains(versions[one.name]) for one in needed)
