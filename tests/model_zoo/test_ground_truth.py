"""Which class a labels file means, in each of its forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from model_zoo.errors import CannotEvaluate
from model_zoo.ground_truth import Labelled, class_indices, read_ground_truth
from model_zoo.manifest import Manifest

NAMES = ("background", "tench, Tinca tinca", "goldfish", "crane", "crane, machine")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "a.JPEG 65\nsub/b.png 970\n"),
        ("val.txt", "\n  a.JPEG\t65 \n\nsub/b.png   970"),
        ("val.csv", "file,class\na.JPEG,65\nsub/b.png,970\n"),
        ("val.csv", "File, Class\r\na.JPEG, 65\r\nsub/b.png, 970\r\n"),
        ("labels", "a.JPEG,65\nsub/b.png,970\n"),
        ("bom.csv", "\ufefffile,class\na.JPEG,65\nsub/b.png,970\n"),
    ],
)
def test_a_file_and_its_class_are_read_in_each_form(name: str, text: str, tmp_path: Path) -> None:
    """CSV with and without a heading, and the lines of ImageNet's lists."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    assert [("a.JPEG", "65"), ("sub/b.png", "970")] == [(each.file, each.wanted) for each in read_ground_truth(path)]


def test_names_with_spaces_and_commas_are_one_class(tmp_path: Path) -> None:
    """Quoted in CSV, as they are after a space."""
    (tmp_path / "a.csv").write_text('"my cat.jpg","tench, Tinca tinca"\n')
    (tmp_path / "b.txt").write_text("cat.jpg tench, Tinca tinca\n")

    assert [("my cat.jpg", "tench, Tinca tinca")] == [(e.file, e.wanted) for e in read_ground_truth(tmp_path / "a.csv")]
    assert [("cat.jpg", "tench, Tinca tinca")] == [(e.file, e.wanted) for e in read_ground_truth(tmp_path / "b.txt")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "names no photograph"),
        ("file,class\n", "names no photograph"),
        ("a.jpg 1\nb.jpg\n", ":2 is not a file and its class"),
        ("a.jpg,1,2\n", ":1 is not a file and its class"),
        ("../secret.jpg 1\n", ":1 names ../secret.jpg, which is not within"),
        ("/etc/passwd 1\n", ":1 names /etc/passwd, which is not within"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(text: str, expected: str, tmp_path: Path) -> None:
    """One line for a person."""
    path = tmp_path / "val.txt"
    path.write_text(text)

    with pytest.raises(CannotEvaluate, match=expected):
        read_ground_truth(path)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    """And no traceback of a codec."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, expected in (("absent", "cannot be read"), ("binary", "is not UTF-8 text")):
        with pytest.raises(CannotEvaluate, match=expected):
            read_ground_truth(tmp_path / name)


def _indices(manifest: Manifest, wanted: str, count_from: int = 0, **changed: object) -> int:
    spec = replace(manifest.models[ModelName("d0")], **changed)  # type: ignore[arg-type]
    names = NAMES if spec.classes == len(NAMES) else ()
    [index] = class_indices([Labelled("a.jpg", wanted, 3)], spec, names, count_from)
    return index


def test_a_background_class_moves_numbers_by_one(manifest: Manifest) -> None:
    """ImageNet's class 65 is output 66 of 1001, and output 65 of 1000."""
    assert 66 == _indices(manifest, "65")
    assert 65 == _indices(manifest, "65", classes=1000, background=False)
    assert 1000 == _indices(manifest, "999")


def test_a_file_that_counts_from_one_says_so(manifest: Manifest) -> None:
    """Then 1 is the first class, and 1000 the last."""
    assert (1, 1000) == (_indices(manifest, "1", 1), _indices(manifest, "1000", 1))
    assert 0 == _indices(manifest, "1", 1, classes=1000, background=False)


@pytest.mark.parametrize(
    ("wanted", "count_from", "changed"),
    [("1000", 0, {}), ("0", 1, {}), ("1000", 0, {"classes": 1000, "background": False})],
)
def test_a_number_that_is_off_by_one_is_noticed_at_either_end(
    wanted: str, count_from: int, changed: dict[str, object], manifest: Manifest
) -> None:
    """The message says which numbers there are, and the option."""
    with pytest.raises(CannotEvaluate, match=r"line 3 .* d0 has 1000 classes.*--count-from"):
        _indices(manifest, wanted, count_from, **changed)


def test_a_class_is_found_by_its_whole_name_or_an_unmistakable_synonym(manifest: Manifest) -> None:
    """Whatever the case; `crane` is a class of its own, and the machine's first synonym too."""
    small = {"classes": len(NAMES)}
    assert [1, 1, 2, 3, 4] == [
        _indices(manifest, word, **small)  # type: ignore[arg-type]
        for word in ("tench, Tinca tinca", "TINCA TINCA", "goldfish", "crane", "machine")
    ]
    for word, expected in (("shark", "is no name of a class"), ("background", "which is no name|is no name")):
        with pytest.raises(CannotEvaluate, match=expected):
            _indices(manifest, word, **small)  # type: ignore[arg-type]
    with pytest.raises(CannotEvaluate, match="the names of its classes are unknown; use numbers"):
        _indices(manifest, "tench")


def test_a_name_of_two_classes_is_refused_with_their_numbers(manifest: Manifest) -> None:
    """The labels of TensorFlow's MobileNets say `crane` twice, for a bird and for a machine."""
    spec = replace(manifest.select(["d0"])[0], classes=4)
    labels = ("background", "crane", "tench", "Crane")

    assert [2] == class_indices([Labelled("a.jpg", "tench", 3)], spec, labels, 0)
    with pytest.raises(CannotEvaluate, match="name of several classes of d0; use their numbers, 0 and 2"):
        class_indices([Labelled("a.jpg", "crane", 3)], spec, labels, 0)
