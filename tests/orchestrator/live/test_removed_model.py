"""A model is taken out of the manifest of a site that has learned with it, over a real Mosquitto."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.vocabulary import ModelName
from model_zoo.local_manifest import AddedModel, change_local, with_model, without
from model_zoo.preprocessing import OutputKind, Preprocessing

NET = ModelName("net")
EVENTS = {"factored": "models_dropped", "q_learning": "checkpoint_set_aside"}


@pytest.mark.parametrize("policy", EVENTS)
def test_the_orchestrator_starts_again_without_the_model(
    policy: str, open_site: Any, orchestrator_process: Any, tmp_path: Path
) -> None:
    """It says in one event what it dropped, and serves on; the next restart has nothing to say."""
    known = AddedModel(
        sha256="0" * 64, dtype="fp32", input_px=(8, 8), classes=1000, background=False,
        preprocessing=Preprocessing.RAW, output=OutputKind.LOGITS, mmacs=1.0, top5=89.5,
    )  # fmt: skip
    manifest = change_local(tmp_path / "zoo", lambda local: with_model(local, NET, known))
    files = {"directory": str(tmp_path / "files"), "manifest": str(manifest)}
    process = orchestrator_process(goal={"policy": policy, "accuracy_floor": 89.0}, files=files)

    async def served(rounds: int) -> set[str]:
        async with open_site() as site:
            watcher = await site.watcher()
            node = await site.node("s1", models=(ModelName("d0"), NET), closed_loop=True)
            await watcher.rounds(rounds)
        return {decision.model for decision in node.decisions}

    assert NET in asyncio.run(served(5))
    assert 0 == process.end()

    change_local(tmp_path / "zoo", lambda local: without(local, NET))
    for _ in range(2):
        process.start()
        assert {"d0"} == asyncio.run(served(2))
        assert 0 == process.end(), process.log()
    assert 1 == process.log().count(EVENTS[policy])
    assert (policy == "q_learning") == (tmp_path / "files" / f"{policy}.npz.refused-1").exists()
