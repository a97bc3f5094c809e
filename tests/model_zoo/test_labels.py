"""A label never claims more than is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.labels import label_of, read_labels

NAMES = ("background", "tench", "goldfish")


@pytest.mark.parametrize("labels", [(), NAMES])
@pytest.mark.parametrize("index", [0, 2, 1000])
def test_untrained_weights_have_no_label(labels: tuple[str, ...], index: int) -> None:
    """Whatever the class, and even if names are there."""
    assert "untrained" == label_of(index, labels, trained=False)


def test_trained_weights_have_the_name_of_the_class_or_its_number() -> None:
    """The number where no name is known."""
    assert ["goldfish", "class 2", "class 286"] == [
        label_of(2, NAMES, trained=True),
        label_of(2, (), trained=True),
        label_of(286, NAMES, trained=True),
    ]


def test_labels_are_read_from_the_cache_if_there_are_as_many_as_classes(tmp_path: Path) -> None:
    """One line too many would shift every name, so then there are none."""
    (tmp_path / "labels.txt").write_text("background\n tench \ngoldfish\n", encoding="utf-8")

    assert NAMES == read_labels(tmp_path, 3)
    assert () == read_labels(tmp_path, 4)
    assert () == read_labels(tmp_path / "absent", 3)


def test_a_labels_file_that_is_not_text_is_ignored(tmp_path: Path) -> None:
    """Names are a comfort, and no reason to stop."""
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\n" * 3)

    assert () == read_labels(tmp_path, 3)
