"""Verification finds what is wrong with a file, and finds nothing wrong with the eight."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from model_zoo.cache import install
from model_zoo.listing import list_models
from model_zoo.manifest import Manifest
from model_zoo.verify import VerifiedModel, verify

pytestmark = pytest.mark.models

D3, D7 = ModelName("d3"), ModelName("d7")


def verified_as(name: ModelName, file: Path, directory: Path, manifest: Manifest) -> VerifiedModel:
    """What is found when `file` is installed as `name`."""
    shutil.copyfile(file, directory / "new")
    install(directory, name, directory / "new", trained=False, origin="built")
    [row] = verify(manifest, [name], directory)
    return row


def test_the_eight_are_right(models: Path, manifest: Manifest) -> None:
    """Sum, shapes, types, MACs and one run of each."""
    rows = verify(manifest, (), models)

    assert [()] * 8 == [row.problems for row in rows]
    assert ["1x224x224x3 float32"] * 4 + ["1x224x224x3 uint8"] * 4 == [row.input for row in rows]
    assert all(row.ok and row.as_json()["ok"] for row in rows)


def test_a_network_of_another_width_is_found_by_its_macs(models: Path, manifest: Manifest, tmp_path: Path) -> None:
    """Same shapes and type; only the operators tell."""
    row = verified_as(D7, models / "d6.tflite", tmp_path, manifest)

    assert ("it takes 149.5 million MACs; 41 were expected (264.6 % off)",) == row.problems


def test_a_network_of_another_type_is_found_by_its_weights(models: Path, manifest: Manifest, tmp_path: Path) -> None:
    """fp32 where int8 was promised."""
    row = verified_as(D7, models / "d3.tflite", tmp_path, manifest)

    assert ("its input and weights are float32; int8 was expected",) == row.problems


def test_other_shapes_are_found(models: Path, manifest: Manifest, tmp_path: Path) -> None:
    """Against a manifest of smaller images and fewer classes."""
    spec = replace(manifest.models[D7], input_px=(192, 192), classes=1000)
    smaller = replace(manifest, models={D7: spec})
    row = verified_as(D7, models / "d7.tflite", tmp_path, smaller)

    assert (
        "the input is 1x224x224x3 uint8; one of 1x192x192x3 was expected",
        "the output is 1x1001 uint8; one of 1x1000 was expected",
    ) == row.problems


def test_a_changed_file_is_found_by_its_sum(models: Path, manifest: Manifest, tmp_path: Path) -> None:
    """And not opened."""
    verified_as(D7, models / "d7.tflite", tmp_path, manifest)
    with (tmp_path / "d7.tflite").open("r+b") as file:
        file.write(b"!")
    [row] = verify(manifest, ["d7"], tmp_path)

    assert not row.ok
    assert "is corrupt: expected sha256" in row.problems[0]
    assert row.mmacs is None


def test_a_whole_file_that_is_no_graph_is_found(manifest: Manifest, tmp_path: Path) -> None:
    """Its sum is right."""
    (tmp_path / "text").write_bytes(b"no graph at all")
    row = verified_as(D7, tmp_path / "text", tmp_path, manifest)

    assert (f"{tmp_path}/d7.tflite is no TensorFlow Lite graph: it lacks the mark TFL3",) == row.problems


def test_a_missing_model_is_a_problem_of_its_row(manifest: Manifest, tmp_path: Path) -> None:
    """All eight are looked for."""
    rows = verify(manifest, (), tmp_path)

    assert [False] * 8 == [row.ok for row in rows]
    assert rows[3].problems[0].startswith(f"model d3 is not in {tmp_path}; get it with: tierwise zoo fetch d3")


def test_the_list_says_what_is_there(models: Path, manifest: Manifest, tmp_path: Path) -> None:
    """Built, and missing; a deleted file is missing too."""
    verified_as(D3, models / "d3.tflite", tmp_path, manifest)
    verified_as(D7, models / "d7.tflite", tmp_path, manifest)
    (tmp_path / "d7.tflite").unlink()
    rows = {row.name: row for row in list_models(manifest, tmp_path)}

    assert list(manifest.models) == list(rows)
    assert ("built", False, 74.2) == (rows[D3].state, rows[D3].trained, rows[D3].top5_percent)
    assert {"missing"} == {row.state for name, row in rows.items() if name != D3}
