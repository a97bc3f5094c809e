"""Photographs are decoded within bounds, and whatever cannot be decoded is BadImage."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model_zoo.errors import BadImage
from model_zoo.photograph import DRAFT_MARGIN, LARGEST_IMAGE_BYTES, decode, opened


def encoded(mode: str, size: tuple[int, int], form: str = "PNG", color: object = None) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color if color is not None else 0).save(file, form)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_every_shipped_photograph_becomes_224_by_224_rgb(photos: dict[str, bytes]) -> None:
    """Grey ones too, and none of them is one flat colour."""
    for content in photos.values():
        pixels = decode(content, 224)
        assert ((224, 224, 3), np.uint8) == (pixels.shape, pixels.dtype)
        assert pixels.std() > 5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_png_of_every_mode_becomes_rgb(mode: str) -> None:
    """Alpha, palettes and 16 bits are converted."""
    assert (32, 32, 3) == decode(encoded(mode, (50, 40)), 32).shape


def test_colours_keep_their_order() -> None:
    """Red is the first of the three."""
    assert [200, 100, 50] == decode(encoded("RGB", (64, 64), color=(200, 100, 50)), 32)[5, 5].tolist()


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    """What a device has sent at 224 by 224 is used as it is."""
    noise = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")

    assert np.array_equal(noise, decode(file.getvalue(), 224))


def test_a_large_jpeg_decoded_at_a_fraction_looks_the_same(photos: dict[str, bytes]) -> None:
    """Decoding at an eighth is for speed; it moves a pixel by few of 255 steps on average."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(photos["astronaut"])) as photograph:
        large = photograph.resize((2048, 2048), Image.Resampling.BICUBIC)
        large.save(file, "JPEG", quality=92)
    whole = np.asarray(large.resize((224, 224), Image.Resampling.BILINEAR), dtype=np.float64)

    assert np.abs(whole - decode(file.getvalue(), 224)).mean() < 4


@pytest.mark.parametrize("size", [(4032, 3024), (1920, 1080), (1280, 720), (640, 480), (300, 200), (3000, 500)])
def test_a_jpeg_is_never_decoded_below_the_margin(size: tuple[int, int]) -> None:
    """Either whole, or at the smallest half, quarter or eighth that is still DRAFT_MARGIN times what is needed."""
    with opened(encoded("RGB", size, "JPEG"), 224, 160) as photograph:
        found = photograph.size
    needed = DRAFT_MARGIN * 224, DRAFT_MARGIN * 160
    fitting = [
        scaled
        for scale in (1, 2, 4, 8)
        if scale == 1 or all(edge >= least for edge, least in zip(scaled_by(size, scale), needed, strict=True))
        for scaled in [scaled_by(size, scale)]
    ]

    assert min(fitting) == found


def scaled_by(size: tuple[int, int], scale: int) -> tuple[int, int]:
    """As JPEG rounds: up."""
    return -(-size[0] // scale), -(-size[1] // scale)


@pytest.mark.parametrize(
    ("width", "height"), [(8000, 8000), (12_000, 12_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    """Below, between and above Pillow's own two limits."""
    with pytest.raises(BadImage, match="pixels"):
        decode(png_claiming(width, height), 224)


def test_too_many_bytes_are_refused_unread() -> None:
    """The bound is on the encoded image too."""
    with pytest.raises(BadImage, match=f"at most {LARGEST_IMAGE_BYTES} are decoded"):
        decode(bytes(LARGEST_IMAGE_BYTES + 1), 224)


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_other_formats_are_refused(form: str) -> None:
    """JPEG and PNG are what the protocol names; fewer decoders, fewer holes."""
    with pytest.raises(BadImage, match="cannot be decoded"):
        decode(encoded("RGB", (8, 8), form), 224)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(content: bytes) -> None:
    """Nothing, text, and bare beginnings."""
    with pytest.raises(BadImage, match="the image cannot be decoded"):
        decode(content, 224)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_image_is_decoded_or_bad_and_nothing_else(data: st.DataObject) -> None:
    """Changed bytes and cut files of both formats end in pixels or in BadImage."""
    content = bytearray(encoded("RGB", (40, 30), data.draw(st.sampled_from(["JPEG", "PNG"])), (9, 90, 200)))
    for _ in range(data.draw(st.integers(1, 10))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    try:
        assert (32, 32, 3) == decode(bytes(content[:cut]), 32).shape
    except BadImage as error:
        assert str(error)


def test_what_is_no_image_is_refused_without_a_name_of_pythons() -> None:
    """Pillow names the buffer, `<_io.BytesIO object at 0x7f...>`; whoever sent the bytes has none."""
    with pytest.raises(BadImage) as refused, opened(b"no image at all", 224):
        pass

    assert "the image cannot be decoded: it is neither JPEG nor PNG" == str(refused.value)
