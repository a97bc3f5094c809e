"""Photographs on their way up, and whether they can be decoded at all. Pillow is imported at the first one."""

from __future__ import annotations

import io

from model_zoo.photograph import opened

CHECK_PX = 64


def encode_for_offload(content: bytes, width_px: int, jpeg_quality: int) -> bytes:
    """The photograph as a JPEG of `width_px` x `width_px`. Raises BadImage."""
    from PIL import Image

    with opened(content, width_px) as image:
        small = image.convert("RGB").resize((width_px, width_px), Image.Resampling.BILINEAR)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=jpeg_quality)
    return encoded.getvalue()


def check(content: bytes) -> None:
    """Decode the photograph once, as small as its format allows. Raises BadImage."""
    with opened(content, CHECK_PX):
        pass
