"""What an installed Tierwise must hold beside its modules."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
