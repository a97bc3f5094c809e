"""The file that says what is on each photograph, and which class of a network that is.

One photograph a line, its file and its class: `cat.jpg,tabby` (CSV, with or without the heading `file,class`) or
`ILSVRC2012_val_00000001.JPEG 65` (separated by spaces). A class is a number, counted from 0 without a background, as
in ImageNet's lists for Caffe, or a name of the network's own labels. A network whose class 0 is the background
answers one more than that number; this is where that is made up for.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model_zoo.errors import CannotEvaluate
from model_zoo.manifest import ModelSpec

LARGEST_FILE_BYTES = 100_000_000  # ImageNet's 1.3 million training images take 40 MB
HEADING = ("file", "class")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One photograph, by its path within the folder, and its class as the file names it."""

    file: str
    wanted: str
    line: int


def read_ground_truth(path: Path) -> list[Labelled]:
    """All photographs in the order of the file. Raises CannotEvaluate, which names the line."""
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise CannotEvaluate(f"{path} has more than {LARGEST_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CannotEvaluate(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CannotEvaluate(f"{path} is not UTF-8 text") from error
    found = []
    for number, fields in _fields(text, path):
        if number == 1 and tuple(field.lower() for field in fields) == HEADING:
            continue
        if len(fields) != 2 or not all(fields):
            raise CannotEvaluate(f"{path}:{number} is not a file and its class, such as: cat.jpg,tabby")
        file = PurePosixPath(fields[0])
        if file.is_absolute() or ".." in file.parts:
            raise CannotEvaluate(f"{path}:{number} names {fields[0]}, which is not within the folder of photographs")
        found.append(Labelled(str(file), fields[1], number))
    if not found:
        raise CannotEvaluate(f"{path} names no photograph")
    return found


def class_indices(labelled: Sequence[Labelled], spec: ModelSpec, labels: Sequence[str], count_from: int) -> list[int]:
    """The index of each photograph's class in the output of `spec`. Raises CannotEvaluate, which names the line.

    `labels`: the names of the network's classes, empty if unknown. `count_from`: the first number in the file.
    """
    names = _by_name(labels)
    indices = []
    for each in labelled:
        if each.wanted.isdecimal():
            index = int(each.wanted) - count_from + spec.background
        else:
            index = names.get(each.wanted.casefold(), -1)
        if not spec.background <= index < spec.classes:
            raise CannotEvaluate(_unknown(each, spec, labels, count_from))
        indices.append(index)
    return indices


def _fields(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    before_comma = first.partition(",")[0]
    if path.suffix.lower() == ".csv" or ("," in first and not any(letter.isspace() for letter in before_comma)):
        reader = csv.reader(text.splitlines())
        try:
            for row in reader:
                if any(field.strip() for field in row):
                    yield reader.line_num, [field.strip() for field in row]
        except csv.Error as error:
            raise CannotEvaluate(f"{path}:{reader.line_num} is not CSV: {error}") from error
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip().split(maxsplit=1)


def _by_name(labels: Sequence[str]) -> dict[str, int]:
    """Whole names first; then each of the synonyms that ImageNet separates by commas. Only what means one class."""
    whole: dict[str, set[int]] = {}
    synonyms: dict[str, set[int]] = {}
    for index, label in enumerate(labels):
        whole.setdefault(label.casefold(), set()).add(index)
        for word in label.split(","):
            synonyms.setdefault(word.strip().casefold(), set()).add(index)
    return {word: min(found) for word, found in {**synonyms, **whole}.items() if len(found) == 1}


def _unknown(each: Labelled, spec: ModelSpec, labels: Sequence[str], count_from: int) -> str:
    at = f"line {each.line} gives {each.file} the class {each.wanted!r}"
    if not each.wanted.isdecimal():
        if not labels:
            return f"{at}, and the names of its classes are unknown; use numbers, or add {spec.name} with --class-names"
        same = [index for index, label in enumerate(labels) if label.casefold() == each.wanted.casefold()]
        if len(same) > 1:
            numbers = " and ".join(str(index - spec.background + count_from) for index in same)
            return f"{at}, which is the name of several classes of {spec.name}; use their numbers, {numbers}"
        return f"{at}, which is no name of a class of {spec.name}"
    known = spec.classes - spec.background
    without = " beside the background" if spec.background else ""
    return (
        f"{at}; {spec.name} has {known} classes{without}, so {count_from} to {count_from + known - 1} "
        "(--count-from says which number is the first)"
    )
