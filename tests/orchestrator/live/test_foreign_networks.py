"""Networks whose accuracy cannot be compared with the others', over a real Mosquitto."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from broker.vocabulary import ModelName, Tier
from model_zoo.local_manifest import AddedModel, MeasuredModel, change_local, with_measured, with_model
from model_zoo.preprocessing import OutputKind, Preprocessing

NET = ModelName("net")
EIGHT = tuple(ModelName(f"d{number}") for number in range(8))


def _manifest(directory: Path, **changed: Any) -> Path:
    """The eight and a small, fast network of four classes, measured at chance: every class is among the first five."""
    fields = {
        "sha256": "0" * 64, "dtype": "fp32", "input_px": (8, 8), "classes": 4, "background": False,
        "preprocessing": Preprocessing.RAW, "output": OutputKind.LOGITS, "mmacs": 0.1, "top5": 100.0, **changed,
    }  # fmt: skip
    measured = MeasuredModel(
        sha256="0" * 64, top1=25.0, top5=100.0, top1_interval=(14.2, 40.2), top5_interval=(91.2, 100.0), images=40,
        date=date(2026, 11, 30),
    )  # fmt: skip
    change_local(directory, lambda local: with_model(local, NET, AddedModel(**fields)))
    return change_local(directory, lambda local: with_measured(local, {NET: measured}))


@pytest.mark.parametrize(
    ("changed", "event"),
    [
        ({}, "models_of_other_labels node=s1 models=net"),
        ({"label_set": "imagenet-1000"}, "models_without_accuracy node=s1 models=net"),
    ],
)
def test_a_network_of_four_classes_does_not_defeat_the_floor(
    changed: dict[str, Any], event: str, open_site: Any, orchestrator_process: Any, tmp_path: Path
) -> None:
    """The device that has it is never told it, and no other device pays for it with worse models."""
    manifest = _manifest(tmp_path / "zoo", **changed)
    files = {"directory": str(tmp_path / "files"), "manifest": str(manifest)}
    process = orchestrator_process(
        goal={"policy": "factored", "accuracy_floor": 85.0}, files=files, rounds={"min_devices": 2}, seed=1
    )
    fast = {NET: 1.0, "d7": 20.0}

    async def scenario() -> list[str]:
        async with open_site() as site:
            watcher = await site.watcher()
            nodes = [
                await site.node(
                    name, models=models, closed_loop=True, response_ms=lambda told: fast.get(told.model, 100.0)
                )
                for name, models in (("s1", (*EIGHT, NET)), ("s2", EIGHT))
            ]
            await watcher.rounds(12)
        return [model for node in nodes for told in node.decisions for model in (told.model, told.fallback_model)]

    told = asyncio.run(scenario())

    assert 0 == process.end(), process.log()
    assert NET not in told
    assert event in process.log()
    rows = process.rows("SELECT AVG(accuracy_tenths) FROM response GROUP BY round HAVING COUNT(*) = 2")
    assert rows
    assert all(mean >= 850 for (mean,) in rows)


def test_what_a_node_says_of_the_classes_of_its_models_counts(open_site: Any, orchestrator_process: Any) -> None:
    """A file of other classes under the name of one of the eight is left out of that node's pool."""
    process = orchestrator_process(goal={"policy": "device_only", "accuracy_floor": "min"})

    async def scenario() -> set[str]:
        async with open_site() as site:
            watcher = await site.watcher()
            node = await site.node("s1", models=EIGHT[6:], closed_loop=True, label_sets={"d6": "flowers-4"})
            await site.node("edge", Tier.EDGE)
            await watcher.rounds(3)
        return {decision.model for decision in node.decisions}

    assert {"d7"} == asyncio.run(scenario())
    assert 0 == process.end()
    assert "models_of_other_labels node=s1 models=d6" in process.log()


def test_a_site_of_its_own_classes_is_judged_by_its_own_metric(
    open_site: Any, orchestrator_process: Any, tmp_path: Path
) -> None:
    """Four classes and Top-1: the eight are left out, and the goal that devices see says by what to rank."""
    manifest = _manifest(tmp_path / "zoo", label_set="flowers-4", top5=None)
    good = {"label_set": "flowers-4", "top5": None, "top1": 91.0}
    known = AddedModel(
        sha256="0" * 64, dtype="fp32", input_px=(8, 8), classes=4, background=False,
        preprocessing=Preprocessing.RAW, output=OutputKind.LOGITS, mmacs=2.0, **good,
    )  # fmt: skip
    change_local(tmp_path / "zoo", lambda local: with_model(local, ModelName("good"), known))
    files = {"directory": str(tmp_path / "files"), "manifest": str(manifest)}
    goal = {"policy": "device_only", "accuracy_floor": 91.0, "metric": "top1", "label_set": "flowers-4"}
    process = orchestrator_process(goal=goal, files=files)

    async def scenario() -> tuple[set[str], str]:
        async with open_site() as site:
            watcher = await site.watcher()
            node = await site.node("s1", models=(*EIGHT, NET, ModelName("good")), closed_loop=True)
            await watcher.rounds(2)
            goal = await watcher.goals.get()
        return {decision.model for decision in node.decisions}, goal.metric

    assert ({"good"}, "top1") == asyncio.run(scenario())
    assert 0 == process.end()
    assert "models_at_chance node=s1 models=net" in process.log()
    assert [("good", 910)] == process.rows("SELECT DISTINCT model, accuracy_tenths FROM response")
