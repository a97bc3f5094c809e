"""The import contracts of setup.cfg are kept, and can fail."""

from __future__ import annotations

import ast
import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("broker", "configs", "model_zoo", "device_agent", "orchestrator", "tierwise")
AGENTS = "importlinter:contract:agents-independent"
HELPERS = {"__init__", "dqn_learner", "q_network", "discretisation"}  # no agents themselves


def contract() -> set[str]:
    """The agents that must not import each other."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return set(settings[AGENTS]["modules"].split())


def test_every_agent_is_in_the_contract() -> None:
    """Each module of `orchestrator.agents` that has an `act`, which is all but the helpers."""
    modules = {path.stem for path in (ROOT / "orchestrator" / "agents").glob("*.py")} - HELPERS
    with_act = {
        module
        for module in modules
        if any(
            isinstance(part, ast.FunctionDef) and part.name == "act"
            for part in ast.walk(ast.parse((ROOT / "orchestrator" / "agents" / f"{module}.py").read_text()))
        )
    }

    assert modules == with_act
    assert {f"orchestrator.agents.{module}" for module in modules} == contract()


@pytest.mark.slow
def test_the_contract_fails_when_one_agent_imports_another(tmp_path: Path) -> None:
    """In a copy of the sources, with that one line added; without it the copy passes."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)

    def lint() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", "setup.cfg"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    before = lint()
    agent = tmp_path / "orchestrator" / "agents" / "random_policy.py"
    agent.write_text(agent.read_text() + "\nfrom orchestrator.agents import fixed  # noqa\n")
    after = lint()

    assert before.returncode == 0, before.stdout
    assert after.returncode == 1
    assert "Agents never import each other BROKEN" in after.stdout
    assert "orchestrator.agents.random_policy is not allowed to import orchestrator.agents.fixed" in after.stdout
