"""What an image of another node may cost: judged before it is decoded. A node's own photographs may be larger."""

from __future__ import annotations

import io

from model_zoo.errors import BadImage
from model_zoo.photograph import refusing_as_bad_image

# A device sends up to 1920 x 1920. A PNG of the wire's 262144 bytes could hold 260 megapixels.
MOST_PIXELS = 4_000_000
MOST_SCANS = 40  # of a progressive JPEG, each a pass over all pixels; encoders make about ten
START_OF_SCAN = b"\xff\xda"


def check_stranger(image: bytes) -> None:
    """Raise BadImage for what would take this node's time or memory: too many pixels, or too many passes over them."""
    from PIL import Image

    with refusing_as_bad_image(), Image.open(io.BytesIO(image), formats=("JPEG", "PNG")) as opened:
        width, height = opened.size
        kind = opened.format  # also MPO, which is a JPEG with more behind it
    if width * height > MOST_PIXELS:
        raise BadImage(f"the image has too many pixels: {width} x {height}; at most {MOST_PIXELS} from another node")
    # In a JPEG's data a byte ff is followed by 00 or a restart marker, so this counts scans, and in metadata too many.
    if kind != "PNG" and (scans := image.count(START_OF_SCAN)) > MOST_SCANS:
        raise BadImage(f"the image has {scans} scans; at most {MOST_SCANS} are decoded")
