"""Nodes that offer what the orchestrator's manifest does not know, over a real Mosquitto."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from broker.vocabulary import ModelName, Tier
from model_zoo.local_manifest import AddedModel, change_local, with_model
from model_zoo.preprocessing import OutputKind, Preprocessing

MYSTERY, NET = ModelName("mystery"), ModelName("net")


def test_an_unknown_model_is_left_out_and_told_and_never_stops_a_site(
    open_site: Any, orchestrator_process: Any
) -> None:
    """A device with nothing else is served by the edge; one that has d7 too runs that."""
    process = orchestrator_process(goal={"policy": "edge_only", "accuracy_floor": "min"}, rounds={"min_devices": 2})

    async def scenario() -> list[set[tuple[str, str]]]:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("edge", Tier.EDGE, models=(ModelName("d0"), MYSTERY))
            bare = await site.node("s1", models=(MYSTERY,), closed_loop=True)
            able = await site.node("s2", models=(MYSTERY, ModelName("d7")), closed_loop=True)
            for node, fallback in ((bare, "d0"), (able, "d7")):  # the edge may come to be known after the devices
                await node.until(lambda node=node, fallback=fallback: ("d0", fallback) in _told(node))
            await watcher.rounds(3)
        return [_told(bare), _told(able)]

    told_bare, told_able = asyncio.run(scenario())

    assert {("d0", "d0")} == told_bare
    assert {("d0", "d7"), ("d7", "d7")} >= told_able
    assert 0 == process.end()
    log = process.log()
    assert 3 == log.count("models_unknown")
    assert all(f"node={node} models=mystery" in log for node in ("edge", "s1", "s2"))


def _told(node: Any) -> set[tuple[str, str]]:
    return {(decision.model, decision.fallback_model) for decision in node.decisions}


def test_a_model_of_another_file_is_used_and_told(open_site: Any, orchestrator_process: Any, tmp_path: Path) -> None:
    """Under the accuracy of the local manifest, which goes into the log of responses."""
    known = AddedModel(
        sha256="a" * 64, dtype="fp32", input_px=(8, 8), classes=1000, background=False,
        preprocessing=Preprocessing.RAW, output=OutputKind.LOGITS, mmacs=1.0, top5=93.5,
    )  # fmt: skip
    manifest = change_local(tmp_path / "zoo", lambda local: with_model(local, NET, known))
    files = {"directory": str(tmp_path / "files"), "manifest": str(manifest)}
    process = orchestrator_process(goal={"policy": "device_only", "accuracy_floor": 93.0}, files=files)

    async def scenario() -> None:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("s1", models=(NET, ModelName("d0")), closed_loop=True)
            await watcher.rounds(2)

    asyncio.run(scenario())

    assert 0 == process.end()
    assert "models_differ node=s1 models=net" in process.log()
    assert [("net", 935)] == process.rows("SELECT DISTINCT model, accuracy_tenths FROM response")


def test_a_floor_that_no_model_reaches_is_told_at_the_start(open_site: Any, orchestrator_process: Any) -> None:
    """And the site runs all the same, with the most accurate that there is."""
    process = orchestrator_process(goal={"policy": "factored", "accuracy_floor": 95.0})

    async def scenario() -> list[str]:
        async with open_site() as site:
            watcher = await site.watcher()
            node = await site.node("s1", closed_loop=True)
            await watcher.rounds(2)
        return [decision.model for decision in node.decisions]

    assert {"d0"} == set(asyncio.run(scenario()))
    assert 0 == process.end()
    assert "floor_out_of_reach floor=95.000 most_accurate=89.900" in process.log()
