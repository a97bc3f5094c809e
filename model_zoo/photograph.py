"""From encoded bytes to the pixels that a network takes. Whatever cannot be decoded within bounds is BadImage."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_zoo.errors import BadImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

LARGEST_IMAGE_BYTES = 16_000_000
# A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster and changes pixels, and some
# labels. The margin is the smallest that keeps the rule of docs/model-zoo.md (benchmarks/decoding.py measures it).
DRAFT_MARGIN = 4
LARGEST_IMAGE_PIXELS = 50_000_000  # a camera of 48 megapixels; decoded 150 MB, below which Pillow has no own limit


def decode(image: bytes, size_px: int | tuple[int, int]) -> NDArray[np.uint8]:
    """The photograph in JPEG or PNG bytes as (height, width, 3) RGB; `size_px` is both edges, or (height, width).

    The whole photograph is squeezed into that shape, nothing is cut off. Raises BadImage.
    """
    import numpy as np

    if len(image) > LARGEST_IMAGE_BYTES:
        raise BadImage(f"the image has {len(image)} bytes; at most {LARGEST_IMAGE_BYTES} are decoded")
    height_px, width_px = (size_px, size_px) if isinstance(size_px, int) else size_px
    with opened(image, width_px, height_px) as photograph:
        return np.asarray(_resized(photograph.convert("RGB"), (width_px, height_px)))


@contextmanager
def opened(image: bytes, width_px: int, height_px: int | None = None) -> Iterator[Image.Image]:
    """The photograph in JPEG or PNG bytes, decoded no smaller than DRAFT_MARGIN times that size (default: a square).

    Raises BadImage, in the block too.
    """
    from PIL import Image

    with refusing_as_bad_image(), Image.open(io.BytesIO(image), formats=("JPEG", "PNG")) as photograph:
        width, height = photograph.size
        if width * height > LARGEST_IMAGE_PIXELS:
            raise BadImage(
                f"the image has too many pixels: {width} x {height}; at most {LARGEST_IMAGE_PIXELS} are decoded"
            )
        photograph.draft("RGB", (DRAFT_MARGIN * width_px, DRAFT_MARGIN * (height_px or width_px)))
        photograph.load()
        yield photograph


@contextmanager
def refusing_as_bad_image() -> Iterator[None]:
    """What Pillow's JPEG and PNG readers raise on broken data becomes BadImage; it does not derive from one class."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"the image has more than {LARGEST_IMAGE_PIXELS} pixels") from error
    except UnidentifiedImageError as error:  # it would name the buffer that the bytes are in
        raise BadImage("the image cannot be decoded: it is neither JPEG nor PNG") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error) as error:
        raise BadImage(f"the image cannot be decoded: {str(error) or type(error).__name__}") from error


def _resized(photograph: Any, size_px: tuple[int, int]) -> Any:
    from PIL import Image

    if photograph.size == size_px:
        return photograph
    return photograph.resize(size_px, Image.Resampling.BILINEAR)
