"""Decoding and encoding through Pillow, which is imported at the first photograph.

`draft()` lets the JPEG decoder scale while it decodes: about five times faster for a 1080p photograph.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

from model_zoo.errors import BadImage
from model_zoo.photograph import LARGEST_IMAGE_PIXELS

if TYPE_CHECKING:
    from PIL import Image

CHECK_PX = 64


def encode_for_offload(content: bytes, width_px: int, jpeg_quality: int) -> bytes:
    """The photograph as a JPEG of `width_px` x `width_px`. Raises BadImage."""
    from PIL import Image

    with _open(content, width_px) as image:
        small = image.convert("RGB").resize((width_px, width_px), Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=jpeg_quality)
    return encoded.getvalue()


def check(content: bytes) -> None:
    """Decode the photograph once, as small as its format allows. Raises BadImage."""
    with _open(content, CHECK_PX):
        pass


def _open(content: bytes, width_px: int) -> Image.Image:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        if image.width * image.height > LARGEST_IMAGE_PIXELS:
            raise BadImage(f"{image.width} x {image.height} pixels are too many")
        image.draft("RGB", (width_px, width_px))
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error) as error:
        # What Pillow's JPEG and PNG readers raise on broken data; none of it derives from one class.
        raise BadImage(f"not a JPEG or PNG that can be decoded: {error}") from error
    return image
