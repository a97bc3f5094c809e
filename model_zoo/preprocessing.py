"""From the pixels of a photograph to the numbers that a network was trained on.

A network knows its pixels as real numbers of some range, which no file tells for certain; the manifest says which.
A quantised input takes codes for those numbers, by the scale and zero point that its own file gives:
`code = round(real / scale + zero)`, cut to what the type holds.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of ImageNet's training images, in [0, 1], red first: what PyTorch's networks are trained with.
IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NEAR = 0.03  # ranges of quantised inputs come from training data, so they only come near to a kind's


class Preprocessing(StrEnum):
    """Which real numbers stand for the bytes 0 to 255 of a pixel."""

    MINUS1_TO_1 = "minus1_to_1"
    ZERO_TO_1 = "0_to_1"
    IMAGENET_MEAN_SD = "imagenet_mean_std"
    RAW = "raw_0_255"


class OutputKind(StrEnum):
    """What a network's numbers are. The order of the classes is the same; a score is a probability."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


def line_of(kind: Preprocessing) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Slope and offset of red, green and blue: `real = slope x byte + offset`."""
    if kind is Preprocessing.IMAGENET_MEAN_SD:
        red, green, blue = (1 / (255 * sd) for sd in IMAGENET_SD)
        offsets = tuple(-mean / sd for mean, sd in zip(IMAGENET_MEAN, IMAGENET_SD, strict=True))
        return (red, green, blue), (offsets[0], offsets[1], offsets[2])
    slope, offset = {
        Preprocessing.MINUS1_TO_1: (1 / 127.5, -1.0),
        Preprocessing.ZERO_TO_1: (1 / 255, 0.0),
        Preprocessing.RAW: (1.0, 0.0),
    }[kind]
    return (slope,) * 3, (offset,) * 3


def preparation(details: dict[str, Any], kind: Preprocessing) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """From an RGB image (height, width, 3) to the tensor of the input that LiteRT describes in `details`.

    Raises ValueError for a type that is none of float32, uint8 and int8, and for codes without a scale.
    """
    import numpy as np

    slopes, offsets = line_of(kind)
    alike = len(set(slopes)) == len(set(offsets)) == 1
    if details["dtype"] is np.float32:
        slope, offset = (np.array(each[:1] if alike else each, dtype=np.float32) for each in (slopes, offsets))
        return lambda image: (image * slope + offset)[None]
    codes = _codes(details, slopes, offsets)
    if alike:
        codes = codes[:, 0]
        return lambda image: codes.take(image)[None]
    channels = np.arange(3)
    return lambda image: codes[image, channels][None]


def likely(details: dict[str, Any]) -> Preprocessing | None:
    """What the range of a quantised input tells; None for real numbers, and where no kind comes near."""
    import numpy as np

    scale, zero = details["quantization"]
    if details["dtype"] not in (np.uint8, np.int8) or not scale:
        return None
    limits = np.iinfo(details["dtype"])
    found = np.array([(limits.min - zero) * scale, (limits.max - zero) * scale])
    for kind in Preprocessing:
        slopes, offsets = (np.array(each) for each in line_of(kind))
        ends = np.array([offsets.min(), (255 * slopes + offsets).max()])
        if np.abs(found - ends).max() <= NEAR * (ends[1] - ends[0]):
            return kind
    return None


def _codes(details: dict[str, Any], slopes: tuple[float, ...], offsets: tuple[float, ...]) -> NDArray[Any]:
    """The code of each byte and channel, (256, 3)."""
    import numpy as np

    kind = details["dtype"]
    scale, zero = details["quantization"]
    if kind not in (np.uint8, np.int8) or not scale:
        raise ValueError(f"an input of type {kind.__name__} and scale {scale}")
    limits = np.iinfo(kind)
    real = np.arange(256, dtype=np.float64)[:, None] * np.array(slopes) + np.array(offsets)
    codes: NDArray[Any] = np.clip(np.round(real / scale + zero), limits.min, limits.max).astype(kind)
    return codes
