"""The local manifest lies over the shipped one, and is as strict."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from configs.loader import ConfigError
from model_zoo.local_manifest import (
    LOCAL,
    AddedModel,
    LocalManifest,
    MeasuredModel,
    change_local,
    read_local,
    site_manifest,
    with_measured,
    with_model,
    without,
)
from model_zoo.manifest import load_manifest
from model_zoo.preprocessing import OutputKind, Preprocessing

NET, D4 = ModelName("net"), ModelName("d4")


def added(sha256: str = "a" * 64, top5: float | None = 91.2) -> AddedModel:
    return AddedModel(
        sha256=sha256,
        dtype="fp32",
        input_px=(96, 128),
        classes=100,
        background=False,
        preprocessing=Preprocessing.ZERO_TO_1,
        output=OutputKind.LOGITS,
        mmacs=8.6,
        top5=top5,
    )


def measured(sha256: str = "a" * 64) -> MeasuredModel:
    return MeasuredModel(
        sha256=sha256,
        top1=60.1,
        top5=80.2,
        top1_interval=(59.0, 61.2),
        top5_interval=(79.3, 81.1),
        images=5000,
        date=date(2026, 11, 27),
    )


def test_without_a_local_manifest_the_shipped_one_holds(tmp_path: Path) -> None:
    """The paper's figures rest on it."""
    assert load_manifest() == site_manifest(directory=tmp_path)


def test_an_added_model_comes_after_the_eight_and_they_stay_as_they_are(tmp_path: Path) -> None:
    """With its own size, preprocessing and accuracy, in tenths."""
    change_local(tmp_path, lambda local: with_model(local, NET, added()))
    found = site_manifest(directory=tmp_path)
    net = found.models[NET]

    assert [*load_manifest().models, NET] == list(found.models)
    assert load_manifest().models == {name: spec for name, spec in found.models.items() if name != NET}
    assert (912, None, (96, 128), True) == (net.top5_tenths, net.top1_tenths, net.input_px, net.added)
    assert (Preprocessing.ZERO_TO_1, OutputKind.LOGITS) == (net.preprocessing, net.output)


def test_measured_accuracies_replace_published_and_stated_ones(tmp_path: Path) -> None:
    """And can be forgotten again."""
    change_local(tmp_path, lambda local: with_model(local, NET, added()))
    change_local(tmp_path, lambda local: with_measured(local, {NET: measured(), D4: measured("b" * 64)}))
    found = site_manifest(directory=tmp_path).models
    for spec in (found[NET], found[D4]):
        assert (601, 802, True) == (spec.top1_tenths, spec.top5_tenths, spec.measured)
    assert "b" * 64 == found[D4].sha256

    change_local(tmp_path, lambda local: without(local, D4, measured_only=True))
    change_local(tmp_path, lambda local: without(local, NET, measured_only=True))
    again = site_manifest(directory=tmp_path).models
    assert (889, 912) == (again[D4].top5_tenths, again[NET].top5_tenths)


def test_what_was_measured_of_another_file_does_not_count_for_an_added_model(tmp_path: Path) -> None:
    """As after a replacement; adding anew forgets it altogether."""
    change_local(tmp_path, lambda local: with_model(local, NET, added()))
    change_local(tmp_path, lambda local: with_measured(local, {NET: measured("c" * 64)}))
    assert 912 == site_manifest(directory=tmp_path).models[NET].top5_tenths

    change_local(tmp_path, lambda local: with_model(local, NET, added()))
    assert {} == read_local(tmp_path).measured


def test_a_model_that_is_taken_out_takes_its_measurements_along(tmp_path: Path) -> None:
    """The others stay."""
    change_local(tmp_path, lambda local: with_model(local, NET, added()))
    change_local(tmp_path, lambda local: with_measured(local, {NET: measured(), D4: measured("b" * 64)}))
    change_local(tmp_path, lambda local: without(local, NET))

    assert ({}, [D4]) == (read_local(tmp_path).models, list(read_local(tmp_path).measured))


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    """Each reads what the one before wrote, and no half of a file is ever there."""
    names = [ModelName(f"net{number}") for number in range(10)]

    def put(name: ModelName) -> None:
        change_local(tmp_path, lambda local: with_model(local, name, added()))

    with ThreadPoolExecutor(4, thread_name_prefix="writer") as writers:
        list(writers.map(put, names))
    assert set(names) == set(read_local(tmp_path).models)
    assert [LOCAL] == [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")]


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """A setting with a typing error is no silent return to the shipped manifest."""
    with pytest.raises(ConfigError, match="cannot be read"):
        site_manifest(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("mmacs: -1", "models.net.mmacs: "),
        ("top5: 91.25", "models.net.top5: "),
        ("input_px: [0, 128]", "height and width must be 1 to 4096"),
        ("preprocessing: caffe", "models.net.preprocessing: "),
        ("sha256: abc", "models.net.sha256"),
        ("widht: 1", "models.net.widht: "),
    ],
)
def test_a_wrong_local_manifest_is_refused_with_place_and_key(changed: str, expected: str, tmp_path: Path) -> None:
    """The same loader as for every other YAML file."""
    path = change_local(tmp_path, lambda local: with_model(local, NET, added()))
    key = changed.partition(":")[0]
    lines = [line for line in path.read_text().splitlines() if not line.strip().startswith(f"{key}:")]
    path.write_text("\n".join(line for line in lines if line != "measured: {}") + f"\n    {changed}\n")

    with pytest.raises(ConfigError) as caught:
        site_manifest(directory=tmp_path)
    assert expected in str(caught.value)


def test_the_eight_cannot_be_redefined() -> None:
    """Their accuracy can be measured; what they are is the paper's."""
    with pytest.raises(ValueError, match="d4 come with Tierwise"):
        LocalManifest(models={D4: added()})
