"""The manifest is Table 4."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.loader import ConfigError
from model_zoo.errors import UnknownModel
from model_zoo.manifest import SHIPPED, Manifest, load_manifest

TABLE_4 = {
    "d0": (1.00, 569, "fp32", 709, 899),
    "d1": (0.75, 317, "fp32", 684, 882),
    "d2": (0.50, 150, "fp32", 633, 849),
    "d3": (0.25, 41, "fp32", 498, 742),
    "d4": (1.00, 569, "int8", 701, 889),
    "d5": (0.75, 317, "int8", 668, 870),
    "d6": (0.50, 150, "int8", 607, 832),
    "d7": (0.25, 41, "int8", 480, 728),
}


def test_the_manifest_is_table_4_in_its_order(manifest: Manifest) -> None:
    """Width, MACs, type and accuracies are the paper's, accuracies as exact integers."""
    found = {
        name: (spec.width, spec.mmacs, spec.dtype, spec.top1_tenths, spec.top5_tenths)
        for name, spec in manifest.models.items()
    }

    assert list(TABLE_4.items()) == list(found.items())


def test_each_archive_is_the_official_one_of_its_width_and_type(manifest: Manifest) -> None:
    """The address names the width and whether it is quantised; no two models share an address or a sum."""
    for spec in manifest.models.values():
        width = f"{spec.width:.2f}".rstrip("0") if spec.width != 1 else "1.0"
        suffix = "_quant.tgz" if spec.dtype == "int8" else ".tgz"
        assert spec.archive.startswith("https://storage.googleapis.com/download.tensorflow.org/models/mobilenet_v1_")
        assert spec.archive.endswith(f"/mobilenet_v1_{width}_224{suffix}")
    assert 8 == len({spec.archive for spec in manifest.models.values()})
    assert 8 == len({spec.archive_sha256 for spec in manifest.models.values()})


def test_select_keeps_the_manifests_order_and_refuses_unknown_names(manifest: Manifest) -> None:
    """No names mean all; an unknown one is told together with the known ones."""
    assert ["d1", "d4"] == [spec.name for spec in manifest.select(["d4", "d1"])]
    assert list(manifest.models) == [spec.name for spec in manifest.select()]
    with pytest.raises(UnknownModel, match="'d9' is not one of the models d0, d1, d2, d3, d4, d5, d6, d7"):
        manifest.select(["d1", "d9"])


def test_a_wrong_manifest_is_refused_with_every_mistake(tmp_path: Path) -> None:
    """The same loader as for every other YAML file: place and key of each mistake."""
    path = tmp_path / "manifest.yaml"
    text = (
        SHIPPED.read_text(encoding="utf-8").replace("top5: 89.9", "top5: 89.95").replace("width: 0.75", "widht: 1", 1)
    )
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        load_manifest(path)
    keys = sorted(problem.key for problem in caught.value.problems)
    assert ["models.d0.top5", "models.d1.widht", "models.d1.width"] == keys
