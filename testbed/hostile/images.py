"""Fifty images that are made to harm, each with a name. What a serving node must do with all of them: refuse, or decode
in a moment and little memory.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
WIRE_BYTES = 262_144  # what fits on `infer`


def hostile_images() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each."""
    jpeg, png = _encoded("JPEG"), _encoded("PNG")
    yield from _bombs()
    yield from _broken(jpeg, png)
    yield from _other_formats()
    yield from _crafted_png(png)
    yield from _crafted_jpeg(jpeg)


def _bombs() -> Iterator[tuple[str, bytes]]:
    for name, width, height in (
        ("png_of_16_megapixels", 4000, 4000),
        ("png_of_49_megapixels", 7000, 7000),
        ("png_of_400_megapixels", 20_000, 20_000),
        ("png_that_is_one_line", 4_100_000, 1),
        ("png_that_is_one_column", 1, 4_100_000),
        ("png_of_four_billion_by_four_billion", 2**31 - 1, 2**31 - 1),
        ("png_of_nothing", 0, 0),
    ):
        yield name, _png(width, height, b"")
    packed = zlib.compress(b"\x00" * 50_000_000, 9)
    yield "png_whose_data_unpacks_to_50_megabytes", _png(100, 100, packed)
    for name, size in (("jpeg_of_16_megapixels", 4000), ("jpeg_of_40_megapixels", 6300)):
        yield name, _encoded("JPEG", size, quality=1)
    yield "jpeg_that_claims_65535_by_65535", _with_jpeg_size(_encoded("JPEG"), 65535, 65535)
    yield "jpeg_of_no_height", _with_jpeg_size(_encoded("JPEG"), 32, 0)


def _broken(jpeg: bytes, png: bytes) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(6)
    for kind, whole in (("jpeg", jpeg), ("png", png)):
        for share in (1, 10, 50, 90, 99):
            yield f"{kind}_cut_at_{share}_percent", whole[: len(whole) * share // 100]
        noisy = bytearray(whole)
        for _ in range(len(whole) // 20):
            noisy[chance.randrange(20, len(noisy))] = chance.randrange(256)
        yield f"{kind}_with_noise", bytes(noisy)
        yield f"{kind}_with_rubbish_behind", whole + chance.randbytes(10_000)
        yield f"{kind}_signature_alone", whole[:4]
    yield "empty", b""
    yield "zeros", b"\x00" * WIRE_BYTES
    yield "noise", chance.randbytes(WIRE_BYTES)


def _other_formats() -> Iterator[tuple[str, bytes]]:
    for form in ("GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM"):
        yield f"{form.lower()}_in_place_of_a_jpeg", _encoded(form)
    yield "svg_with_an_entity", b'<!DOCTYPE s [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    yield "eps_with_a_program", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"


def _crafted_png(png: bytes) -> Iterator[tuple[str, bytes]]:
    header, rest = png[:33], png[33:]
    yield "png_with_twenty_thousand_chunks", header + _chunk(b"teXt", b"") * 20_000 + rest
    yield (
        "png_with_a_text_that_unpacks_to_50_megabytes",
        (header + _chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"x" * 50_000_000, 9)) + rest),
    )
    yield (
        "png_with_a_profile_that_unpacks_to_50_megabytes",
        (header + _chunk(b"iCCP", b"k\x00\x00" + zlib.compress(b"x" * 50_000_000, 9)) + rest),
    )
    yield "png_with_a_chunk_of_two_gigabytes", header + struct.pack(">I", 2**31 - 1) + b"IDAT" + b"x" * 100
    frames = [Image.new("RGB", (500, 500), (number % 256, 0, 0)) for number in range(60)]
    animation = io.BytesIO()
    frames[0].save(animation, "PNG", save_all=True, append_images=frames[1:])
    yield "png_of_sixty_frames", animation.getvalue()
    yield "png_of_16_bits", _encoded_as("I;16")
    yield "png_with_a_wrong_checksum", header[:-4] + b"\x00\x00\x00\x00" + rest


def _crafted_jpeg(jpeg: bytes) -> Iterator[tuple[str, bytes]]:
    plain = io.BytesIO()
    Image.new("RGB", (1900, 1900)).save(plain, "JPEG", progressive=True, quality=1)
    progressive = plain.getvalue()
    one_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    yield "jpeg_with_hundreds_of_scans", (progressive[:-2] + one_scan * 1000)[: WIRE_BYTES - 2] + b"\xff\xd9"
    yield "jpeg_progressive_of_the_largest_size", progressive
    yield "jpeg_with_a_segment_that_never_ends", jpeg[:2] + b"\xff\xe1\xff\xff" + b"Exif\x00\x00" + b"\x00" * 100
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x69\x87\x04\x00\x01\x00\x00\x00\x08\x00\x00\x00"
    yield "jpeg_with_an_exif_that_points_to_itself", jpeg[:2] + b"\xff\xe1\x00\x20" + exif + jpeg[2:]
    yield "jpeg_without_tables", jpeg[:2] + jpeg[jpeg.index(b"\xff\xc0") :]


def _encoded(form: str, size: int = 64, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.linear_gradient("L").resize((size, size)).convert("RGB")
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _encoded_as(mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (300, 300)).save(buffer, "PNG")
    return buffer.getvalue()


def _png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_jpeg_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]
