"""Each kind of preprocessing, worked out by hand for a photograph of two by two pixels and a network of one average."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_zoo.photograph import decode
from model_zoo.preprocessing import OutputKind, Preprocessing, likely
from model_zoo.runtime import Classifier
from tests.graphs import colours

# Red 0, 51, 102, 255 (average 102); green 204 everywhere; blue 0, 0, 255, 255 (average 127.5).
PIXELS = np.array([[[0, 204, 0], [51, 204, 0]], [[102, 204, 255], [255, 204, 255]]], dtype=np.uint8)
BY_HAND = {
    Preprocessing.MINUS1_TO_1: (102 / 127.5 - 1, 204 / 127.5 - 1, 0.0),  # -0.2, 0.6, 0
    Preprocessing.ZERO_TO_1: (0.4, 0.8, 0.5),
    Preprocessing.IMAGENET_MEAN_SD: ((0.4 - 0.485) / 0.229, (0.8 - 0.456) / 0.224, (0.5 - 0.406) / 0.225),
    Preprocessing.RAW: (102.0, 204.0, 127.5),
}


@pytest.fixture
def decoded() -> Any:
    """The pixels, from the bytes of a PNG as a node gets them."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return decode(file.getvalue(), (2, 2))


@pytest.mark.parametrize("kind", list(Preprocessing))
def test_a_float_input_gets_the_numbers_that_were_worked_out_by_hand(
    kind: Preprocessing, decoded: Any, tmp_path: Path
) -> None:
    """From an encoded photograph to the network's output: the average of each channel."""
    classifier = Classifier(colours(tmp_path / "m.tflite", (2, 2)), 1, kind)

    assert BY_HAND[kind] == pytest.approx(classifier.reals(decoded).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "element", "scale", "zero"),
    [
        (Preprocessing.MINUS1_TO_1, np.uint8, 1 / 127.5, 128),
        (Preprocessing.MINUS1_TO_1, np.int8, 1 / 127.5, -1),
        (Preprocessing.ZERO_TO_1, np.uint8, 1 / 255, 0),
        (Preprocessing.ZERO_TO_1, np.int8, 1 / 255, -128),
        (Preprocessing.IMAGENET_MEAN_SD, np.int8, 0.0187, -14),
        (Preprocessing.RAW, np.uint8, 1.0, 0),
    ],
)
def test_a_quantised_input_gets_codes_by_the_files_own_scale(
    kind: Preprocessing, element: Any, scale: float, zero: int, decoded: Any, tmp_path: Path
) -> None:
    """Within a step of what was worked out by hand, for both types and each kind; and the file tells its kind."""
    path = colours(tmp_path / "m.tflite", (2, 2), element, (scale, zero))
    classifier = Classifier(path, 1, kind)

    assert BY_HAND[kind] == pytest.approx(classifier.reals(decoded).tolist(), abs=scale)
    assert kind is likely(classifier.input_details)


def test_the_codes_themselves_are_rounded_and_cut_as_worked_out_by_hand(tmp_path: Path) -> None:
    """Scale 0.01 and zero 0 in a signed byte: -1 is -100, 0.6 is 60, 1 is 100; the range ends at 127."""
    path = colours(tmp_path / "m.tflite", (1, 2), np.int8, (0.01, 0))
    image = np.array([[[0, 204, 255], [127, 128, 255]]], dtype=np.uint8)

    prepared = Classifier(path, 1, Preprocessing.MINUS1_TO_1).prepare(image)
    assert [[[[-100, 60, 100], [0, 0, 100]]]] == prepared.tolist()  # 127 is -0.0039, which is nearest to code 0
    assert 127 == Classifier(path, 1, Preprocessing.RAW).prepare(image).max()


def test_a_range_that_is_no_kinds_is_left_to_the_person(tmp_path: Path) -> None:
    """Of real numbers nothing can be told either."""
    odd = Classifier(colours(tmp_path / "odd.tflite", (2, 2), np.uint8, (0.5, 7)))
    real = Classifier(colours(tmp_path / "real.tflite", (2, 2)))

    assert (None, None) == (likely(odd.input_details), likely(real.input_details))


def test_a_score_of_logits_is_their_softmax_and_the_order_stays(decoded: Any, tmp_path: Path) -> None:
    """0.4, 0.8 and 0.5: the second with e^0.8 / (e^0.4 + e^0.8 + e^0.5)."""
    path = colours(tmp_path / "m.tflite", (2, 2))
    logits = Classifier(path, 1, Preprocessing.ZERO_TO_1, OutputKind.LOGITS)
    plain = Classifier(path, 1, Preprocessing.ZERO_TO_1)

    assert (1, pytest.approx(2.22554 / (1.49182 + 2.22554 + 1.64872), rel=1e-4)) == logits.classify(decoded)
    assert (1, pytest.approx(0.8, rel=1e-5)) == plain.classify(decoded)
    assert [1, 2, 0] == logits.ranked(decoded, 5) == plain.ranked(decoded, 5)
    assert [1] == plain.ranked(decoded, 1)


def test_of_equal_classes_the_first_comes_first(tmp_path: Path) -> None:
    """In `classify` and in `ranked`: a quantised network says the same of many classes."""
    grey = Classifier(colours(tmp_path / "m.tflite", (2, 2)), 1, Preprocessing.RAW)
    image = np.full((2, 2, 3), 128, dtype=np.uint8)

    assert (0, [0, 1, 2]) == (grey.classify(image)[0], grey.ranked(image, 3))


def test_an_input_that_is_not_square_gets_height_before_width(tmp_path: Path) -> None:
    """A photograph is squeezed into it."""
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (10, 20, 30)).save(file, "PNG")
    classifier = Classifier(colours(tmp_path / "m.tflite", (4, 6)), 1, Preprocessing.RAW)

    assert (4, 6) == classifier.size_px
    assert [10.0, 20.0, 30.0] == classifier.reals(decode(file.getvalue(), classifier.size_px)).tolist()
