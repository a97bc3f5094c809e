"""Top-1 and Top-5 of a network whose answers are known: red, green or blue."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.vocabulary import Metric, ModelName
from model_zoo import evaluate as evaluate_module
from model_zoo.errors import CannotEvaluate, ModelMissing
from model_zoo.evaluate import Accuracy, Evaluation, evaluate, subjects, wilson_percent
from model_zoo.fitting import SiteTask
from model_zoo.ground_truth import Labelled
from model_zoo.intake import Wish, add
from model_zoo.local_manifest import change_local, site_manifest, with_measured
from model_zoo.preprocessing import Preprocessing
from tests.graphs import Writer, colours

NET = ModelName("net")
COLOURS = SiteTask("colours", Metric.TOP1)
Pictures = Callable[..., tuple[Path, list[Labelled]]]
SHADES = {"0": (200, 30, 40), "1": (30, 200, 40), "2": (30, 40, 200)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network of three colours, fp32 and quantised; to copy."""
    tmp_path = tmp_path_factory.mktemp("zoo")
    directory = tmp_path / "models"
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen\nblue\n")
    wish = Wish("net", label_set="colours", site=COLOURS, preprocessing=Preprocessing.ZERO_TO_1, labels=names)
    add(colours(tmp_path / "fp32.tflite"), wish, directory)
    add(colours(tmp_path / "u8.tflite", (6, 5), np.uint8, (1 / 255, 0)), replace(wish, name="net8"), directory)
    return directory


@pytest.fixture
def zoo(made: Path, tmp_path: Path) -> Path:
    """Those two, to change."""
    return Path(shutil.copytree(made, tmp_path / "models"))


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Pictures of one colour each, and what a labels file says of them."""
    folder = tmp_path / "pictures"
    folder.mkdir()

    def make(*shown_and_said: tuple[str, str]) -> tuple[Path, list[Labelled]]:
        labelled = []
        for place, (shown, said) in enumerate(shown_and_said):
            name = f"{place:03d}.png"
            Image.new("RGB", (20, 14), SHADES[shown]).save(folder / name)
            labelled.append(Labelled(name, said, place + 1))
        return folder, labelled

    return make


def run(zoo: Path, folder: Path, labelled: list[Labelled], workers: int = 2) -> Evaluation:
    what = subjects(site_manifest(directory=zoo), (), zoo, labelled, label_set="colours")
    return evaluate(what, labelled, folder, workers)


def test_hits_are_counted_exactly_for_every_network(zoo: Path, pictures: Pictures) -> None:
    """Seven of ten labels are true; three classes have no Top-5."""
    folder, labelled = pictures(*[("0", "0")] * 3, *[("1", "green")] * 2, *[("2", "2")] * 2, *[("2", "red")] * 3)
    found = run(zoo, folder, labelled)

    assert [("net", 10, 7, 10), ("net8", 10, 7, 10)] == [
        (row.name, row.images, row.top1_hits, row.top5_hits) for row in found.accuracies
    ]
    [row, _] = found.accuracies
    assert (70.0, None, None) == (row.top1_percent, row.top5_percent, row.top5_interval)
    assert (pytest.approx((39.68, 89.22), abs=0.01)) == row.top1_interval


def test_one_worker_and_many_find_the_same(zoo: Path, pictures: Pictures) -> None:
    """Whatever the order in which photographs are done."""
    folder, labelled = pictures(*[("0", str(place % 3)) for place in range(24)])

    assert run(zoo, folder, labelled, 1) == run(zoo, folder, labelled, 4)


def test_top_five_is_counted_by_rank(tmp_path: Path, pictures: Pictures) -> None:
    """Of seven classes, ranked 6, 5, 4, ... on red by a convolution with known weights, two are not among five."""
    writer = Writer()
    image = writer.tensor((1, 4, 4, 3))
    weights = np.zeros((7, 1, 1, 3), dtype=np.float32)
    weights[:, 0, 0, 0] = np.arange(7)
    ranking = writer.mean(writer.convolution(image, 7, 1, content=weights), 7)
    path = writer.write(tmp_path / "r.tflite", [image], [ranking])
    zoo = tmp_path / "models"
    add(path, Wish("net", label_set="colours", site=COLOURS, preprocessing=Preprocessing.ZERO_TO_1), zoo)
    folder, labelled = pictures(*[("0", str(said)) for said in range(7)])

    [row] = run(zoo, folder, labelled).accuracies
    assert (7, 1, 5) == (row.images, row.top1_hits, row.top5_hits)


def test_a_background_class_is_made_up_for(tmp_path: Path, pictures: Pictures) -> None:
    """The same network, whose first class is said to stand for none: green is class 0 of the file, blue class 1."""
    zoo = tmp_path / "models"
    wish = Wish("net", label_set="colours", site=COLOURS, preprocessing=Preprocessing.ZERO_TO_1, background=True)
    add(colours(tmp_path / "c.tflite"), wish, zoo)
    folder, labelled = pictures(("1", "0"), ("2", "1"), ("1", "0"), ("2", "0"))

    [row] = run(zoo, folder, labelled).accuracies
    assert (4, 3) == (row.images, row.top1_hits)


def test_what_cannot_be_decoded_is_listed_and_counts_for_nobody(zoo: Path, pictures: Pictures) -> None:
    """Broken, absent and too large: each with why, and the others are evaluated."""
    folder, labelled = pictures(("0", "0"), ("1", "1"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    labelled += [Labelled("broken.jpg", "0", 3), Labelled("absent.jpg", "0", 4)]
    found = run(zoo, folder, labelled)

    assert (4, 2) == (found.wanted, found.accuracies[0].images)
    assert ["absent.jpg", "broken.jpg"] == [file for file, _ in found.unreadable]
    assert "No such file" in found.unreadable[0][1]
    with pytest.raises(CannotEvaluate, match=r"none of 2 photographs in .* can be decoded; absent\.jpg: No such file"):
        run(zoo, folder, labelled[2:])


def test_an_interruption_gives_what_was_seen(zoo: Path, pictures: Pictures) -> None:
    """Ctrl-C after the fifth photograph."""
    folder, labelled = pictures(*[("0", "0")] * 40)

    def interrupt(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    what = subjects(site_manifest(directory=zoo), ["net"], zoo, labelled, label_set="colours")
    found = evaluate(what, labelled, folder, 2, interrupt)

    assert (True, 5, 100.0) == (found.interrupted, found.accuracies[0].images, found.accuracies[0].top1_percent)


def test_an_interruption_at_once_does_not_look_at_the_rest(
    zoo: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while fifty thousand photographs are still being handed out: what waits is forgotten."""
    folder, labelled = pictures(("0", "0"), ("1", "1"))
    what = subjects(site_manifest(directory=zoo), (), zoo, labelled, label_set="colours")
    looked_at = []

    class Pool(ThreadPoolExecutor):
        def submit(self, work: Any, /, place: int) -> Any:  # type: ignore[override]
            if place == 1:
                raise KeyboardInterrupt
            return super().submit(lambda: looked_at.append(place))

    monkeypatch.setattr(evaluate_module, "ThreadPoolExecutor", Pool)
    found = evaluate(what, labelled, folder, 1)

    assert (True, 0) == (found.interrupted, len(found.accuracies))
    assert looked_at in ([], [0])


def test_a_name_that_no_file_can_have_is_listed(zoo: Path, pictures: Pictures) -> None:
    """It counts for nobody, as a photograph that is not there."""
    folder, labelled = pictures(("0", "0"))
    found = run(zoo, folder, [*labelled, Labelled("a\0b.png", labelled[0].wanted, 99)])

    assert [("a\0b.png", "embedded null byte")] == list(found.unreadable)


def test_untrained_networks_are_refused_by_name_and_left_out_otherwise(
    zoo: Path, tmp_path: Path, pictures: Pictures
) -> None:
    """What they say means nothing; with no trained one at all, what to do is said."""
    _, labelled = pictures(("0", "0"))
    wish = Wish("blank", label_set="colours", site=COLOURS, preprocessing=Preprocessing.RAW, trained=False)
    add(colours(tmp_path / "c.tflite"), wish, zoo)
    manifest = site_manifest(directory=zoo)

    assert ["net", "net8"] == [each.spec.name for each in subjects(manifest, (), zoo, labelled, label_set="colours")]
    with pytest.raises(CannotEvaluate, match="the weights of blank are untrained"):
        subjects(manifest, ["blank"], zoo, labelled, label_set="colours")
    with pytest.raises(CannotEvaluate, match="no trained model is in"):
        subjects(manifest, (), tmp_path, labelled, label_set="colours")
    with pytest.raises(ModelMissing, match="model d0 is not in"):
        subjects(manifest, ["d0"], zoo, labelled)


@pytest.mark.parametrize(
    ("hits", "images", "expected"),
    [  # worked out with the formula of Wilson (1927) in another program
        (0, 10, (0.0, 27.753)),
        (8, 10, (49.016, 94.331)),
        (10, 10, (72.247, 100.0)),
        (81, 263, (25.533, 36.616)),
        (44950, 50000, (89.633, 90.161)),
    ],
)
def test_wilsons_interval_is_the_published_one(hits: int, images: int, expected: tuple[float, float]) -> None:
    """Also where nothing or everything is right."""
    assert pytest.approx(expected, abs=0.01) == wilson_percent(hits, images)


def test_what_was_measured_becomes_the_accuracy_that_policies_see(zoo: Path) -> None:
    """To a tenth of a point, with an interval that is rounded outwards; no Top-5 of three classes."""
    sha256 = site_manifest(directory=zoo).models[NET].sha256 or ""
    measured = Accuracy(NET, sha256, 263, 81, 200).measured(date(2026, 11, 27))
    assert (30.8, (25.5, 36.7), 76.0, 263) == (measured.top1, measured.top1_interval, measured.top5, measured.images)

    change_local(zoo, lambda local: with_measured(local, {NET: measured}))
    spec = site_manifest(directory=zoo).models[NET]
    assert (308, None, True) == (spec.top1_tenths, spec.top5_tenths, spec.measured)
