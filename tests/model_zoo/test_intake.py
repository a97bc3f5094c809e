"""A network from outside: taken in whole, or refused with a reason and no trace."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Metric, ModelName
from model_zoo import intake, trial
from model_zoo.cache import installed
from model_zoo.errors import ModelCorrupt, ModelMissing, ModelRefused, UnknownModel
from model_zoo.fitting import SiteTask
from model_zoo.intake import Wish, add, remove
from model_zoo.labels import labels_of
from model_zoo.local_manifest import read_local, site_manifest
from model_zoo.pool import ModelPool
from model_zoo.preprocessing import OutputKind, Preprocessing
from tests.graphs import OPS, Writer, colours, squeezenet

NET = ModelName("net")
COLOURS = SiteTask("colours", Metric.TOP1)
WISH = Wish("net", top1=91.2, preprocessing=Preprocessing.ZERO_TO_1, label_set=COLOURS.label_set, site=COLOURS)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """An empty folder of models."""
    return tmp_path / "models"


def test_a_network_that_is_no_mobilenet_joins_with_what_its_file_tells(tmp_path: Path, zoo: Path) -> None:
    """SqueezeNet: size, classes, kind of output and MACs are found; the index knows its sum and that it is raw."""
    file = squeezenet(tmp_path / "s.tflite", 64, 20)
    done = add(file, replace(WISH, trained=False), zoo)
    spec = site_manifest(directory=zoo).models[NET]

    assert ((64, 64), 20, False) == (spec.input_px, spec.classes, spec.background)
    assert OutputKind.PROBABILITIES is spec.output
    assert 1.5 < spec.mmacs < 2.5
    assert (hashlib.sha256(file.read_bytes()).hexdigest(), False, "added") == (
        done.model.sha256, done.model.trained, done.model.origin,
    )  # fmt: skip
    assert done.model == installed(zoo)[NET]
    assert file.read_bytes() == done.model.path.read_bytes()


def test_a_quantised_file_tells_its_preprocessing_and_a_wish_wins(tmp_path: Path, zoo: Path) -> None:
    """From the range of its codes."""
    file = colours(tmp_path / "c.tflite", (4, 4), np.uint8, (1 / 255, 0))
    add(file, replace(WISH, top1=50.0, preprocessing=None), zoo)
    assert Preprocessing.ZERO_TO_1 is read_local(zoo).models[NET].preprocessing

    add(file, replace(WISH, top1=50.0, preprocessing=Preprocessing.RAW, replace=True), zoo)
    assert Preprocessing.RAW is read_local(zoo).models[NET].preprocessing


def test_an_added_network_classifies_in_a_pool_with_its_own_pixels_and_names(
    tmp_path: Path, zoo: Path, photos: dict[str, bytes]
) -> None:
    """Raw bytes of 8 by 8 pixels, three names of its own."""
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen\nblue\n")
    wish = replace(WISH, preprocessing=Preprocessing.RAW, labels=names)
    add(colours(tmp_path / "c.tflite"), wish, zoo)
    pool = ModelPool(zoo, [NET], 500.0)
    answer = pool.classify(NET, photos["coffee"])

    assert [NET] == list(pool.available())
    assert ("red", 0, True) == (answer.label, answer.index, answer.trained)  # a wooden table
    assert 0.9 < answer.score <= 1.0  # softmax of bytes that are far apart


def refused_graphs() -> dict[str, tuple[Any, str]]:
    """What writes each file, and why it is refused."""

    def two_inputs(path: Path) -> Path:
        writer = Writer()
        first, second = writer.tensor((1, 4, 4, 3)), writer.tensor((1, 4, 4, 3))
        return writer.write(path, [first, second], [writer.mean(first, 3)])

    def grey(path: Path) -> Path:
        writer = Writer()
        image = writer.tensor((1, 4, 4, 1))
        return writer.write(path, [image], [writer.mean(image, 1)])

    def vast(path: Path) -> Path:
        writer = Writer()
        image = writer.tensor((1, 30_000, 30_000, 3))
        return writer.write(path, [image], [writer.mean(image, 3)])

    def no_vector(path: Path) -> Path:
        writer = Writer()
        image = writer.tensor((1, 4, 4, 3))
        return writer.write(path, [image], [writer.convolution(image, 2, 1)])

    def batch_of_two(path: Path) -> Path:
        writer = Writer()
        image = writer.tensor((2, 4, 4, 3))
        return writer.write(path, [image], [writer.mean(image, 3)])

    def unknown_operator(path: Path) -> Path:
        writer = Writer()
        image = writer.tensor((1, 4, 4, 3))
        return writer.write(path, [image], [writer.apply(OPS.UNIQUE, [image], (1, 3))])

    def written(content: bytes) -> Any:
        return lambda path: path.write_bytes(content) and path

    def half(path: Path) -> Path:
        path.write_bytes(squeezenet(path, 32, 5).read_bytes()[:2000])
        return path

    return {
        "text": (written(b"not a network at all"), "is no TensorFlow Lite graph: it lacks the mark TFL3"),
        "half a file": (half, "is not taken: "),
        "two inputs": (two_inputs, "it has 2 inputs and 1 outputs"),
        "grey": (grey, "its input is 1 x 4 x 4 x 1 of float32; one image"),
        "vast": (vast, "its image has 30000 x 30000 pixels; at most 4096 an edge"),
        "no vector": (no_vector, r"its output has the shape \[1, 4, 4, 2\]"),
        "a batch": (batch_of_two, r"an input of shape \[2, 4, 4, 3\]"),
        "an operator without its data": (unknown_operator, "is not taken: "),
    }


@pytest.mark.parametrize("name", refused_graphs())
def test_a_file_that_will_not_do_is_refused_by_name_and_leaves_nothing(name: str, tmp_path: Path, zoo: Path) -> None:
    """One line; neither a manifest nor a model is there afterwards."""
    write, expected = refused_graphs()[name]
    file = write(tmp_path / "bad.tflite")

    with pytest.raises(ModelRefused, match=expected) as caught:
        add(file, WISH, zoo)
    assert str(caught.value).startswith(f"{file} is not taken: ")
    assert 1 == len(str(caught.value).splitlines())
    assert [] == [path.name for path in zoo.iterdir() if not path.name.endswith(".lock")]


@pytest.mark.parametrize("cut", range(3))
def test_a_damaged_file_is_refused_or_runs_and_harms_nobody(cut: int, tmp_path: Path, zoo: Path) -> None:
    """Bytes changed at random: whatever the runtime does to its own process, this one goes on."""
    content = bytearray(squeezenet(tmp_path / "s.tflite", 32, 5).read_bytes())
    random = np.random.default_rng(cut)
    for place in random.integers(8, len(content), 300):
        content[place] = int(random.integers(0, 256))
    (tmp_path / "s.tflite").write_bytes(content)
    try:
        assert NET == add(tmp_path / "s.tflite", WISH, zoo).model.name
    except ModelRefused as error:
        assert "is not taken" in str(error)


def test_a_file_that_kills_the_runtime_kills_only_its_process(
    tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal is told."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(trial.sys, "executable", str(program))

    with pytest.raises(ModelRefused, match="the runtime ended with signal SIGSEGV"):
        add(colours(tmp_path / "c.tflite"), WISH, zoo)


def test_a_file_that_never_ends_is_given_up(tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time, with its process."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport signal; signal.pause()\n")
    program.chmod(0o755)
    monkeypatch.setattr(trial.sys, "executable", str(program))
    monkeypatch.setattr(trial, "TIMEOUT_S", 0.2)

    with pytest.raises(ModelRefused, match=r"took longer than 0\.2 s"):
        add(colours(tmp_path / "c.tflite"), WISH, zoo)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the folder says of it."""
    monkeypatch.setattr(intake, "LARGEST_FILE_BYTES", 300)

    with pytest.raises(ModelRefused, match="at most 300 are read"):
        add(colours(tmp_path / "c.tflite"), WISH, zoo)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"name": "d3"}, "d3 is one of the eight"),
        ({"name": "net", "replace": False}, "there is a model net already; take another --name, or --replace it"),
        ({"name": "other", "preprocessing": None}, "say --preprocessing, one of minus1_to_1, 0_to_1"),
        ({"name": "other", "top5": 50.05}, "top5: .*one decimal"),
        ({"name": "other", "labels": Path("two.txt")}, "two.txt has 2 lines; 3 names were expected"),
        ({"name": "other", "labels": Path("absent.txt")}, "absent.txt cannot be read"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_and_changes_nothing(
    changed: dict[str, Any], expected: str, tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before stays."""
    monkeypatch.chdir(tmp_path)
    Path("two.txt").write_text("red\ngreen\n")
    file = colours(tmp_path / "c.tflite")
    add(file, WISH, zoo)
    before = read_local(zoo)

    with pytest.raises(ModelRefused, match=expected):
        add(file, replace(WISH, **changed), zoo)
    assert (before, [NET]) == (read_local(zoo), list(installed(zoo)))


def test_two_that_add_one_name_at_once_do_not_mix(tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower is refused; the model that is there is the one that is described."""
    first, second = colours(tmp_path / "a.tflite"), colours(tmp_path / "b.tflite", (6, 6))
    run = intake.try_file

    def overtaken(path: Path, preprocessing: Preprocessing | None) -> trial.Tried:
        tried = run(path, preprocessing)
        monkeypatch.setattr(intake, "try_file", run)
        add(second, WISH, zoo)
        return tried

    monkeypatch.setattr(intake, "try_file", overtaken)
    with pytest.raises(ModelRefused, match=r"a\.tflite is not taken: there is a model net already"):
        add(first, WISH, zoo)
    assert {NET: hashlib.sha256(second.read_bytes()).hexdigest()} == ModelPool(zoo, [NET], 500.0).available()


def test_names_of_classes_may_begin_with_a_byte_order_mark(tmp_path: Path, zoo: Path) -> None:
    """As editors on Windows write them, lines that end in CR LF too; neither is part of a name."""
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbfred\r\ngreen\r\nblue\r\n")
    add(colours(tmp_path / "c.tflite"), replace(WISH, labels=names), zoo)

    assert ("red", "green", "blue") == labels_of(zoo, site_manifest(directory=zoo).models[NET])


def test_a_file_that_is_not_the_one_described_is_never_run(tmp_path: Path, zoo: Path) -> None:
    """As after a crash half way through a replacement: its pixels may have to be others."""
    add(colours(tmp_path / "c.tflite"), WISH, zoo)
    pool = ModelPool(zoo, [NET], 500.0)
    add(colours(tmp_path / "d.tflite", (6, 6)), replace(WISH, replace=True), zoo)

    assert {} == pool.available()
    with pytest.raises(ModelCorrupt, match="mend it with: tierwise zoo add"):
        pool.preload(NET)


def test_a_removed_network_is_gone_and_the_eight_cannot_be_removed(tmp_path: Path, zoo: Path) -> None:
    """Its file, its description, its names."""
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen\nblue\n")
    add(colours(tmp_path / "c.tflite"), replace(WISH, labels=names), zoo)
    remove("net", zoo)

    assert ({}, {}) == (installed(zoo), read_local(zoo).models)
    assert [] == [path.name for path in zoo.iterdir() if "net" in path.name]
    for name, error, expected in (
        ("net", UnknownModel, "'net' is not one of the models"),
        ("d0", ModelRefused, "d0 comes with Tierwise"),
    ):
        with pytest.raises(error, match=expected):
            remove(name, zoo)
    with pytest.raises(ModelMissing, match="add it with: tierwise zoo add"):
        ModelPool(zoo, [NET], 500.0).preload(NET)
