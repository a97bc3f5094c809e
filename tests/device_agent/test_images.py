"""Photographs: from a folder, from a camera that is not there, and made ready to travel."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from PIL import Image

from configs.node import ImagesSection
from device_agent.images.folder import FolderSource, photographs_in
from device_agent.images.pixels import check, encode_for_offload
from device_agent.images.source import SHIPPED_PHOTOGRAPHS, CameraUnavailable, NoImage, open_source
from model_zoo.errors import BadImage


def picture(width_px: int = 40, height_px: int = 30, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width_px, height_px), 128 if mode == "L" else None).save(content, kind)
    return content.getvalue()


def test_folder_gives_its_photographs_in_turn(tmp_path: Path) -> None:
    """JPEG and PNG by name, over and over; other files are not touched."""
    (tmp_path / "b.PNG").write_bytes(picture(kind="PNG"))
    (tmp_path / "a.jpg").write_bytes(picture())
    (tmp_path / "notes.txt").write_text("not a photograph")
    source = FolderSource(tmp_path)

    assert ["a.jpg", "b.PNG", "a.jpg"] == [source.next().name for _ in range(3)]


def test_folder_skips_what_cannot_be_decoded_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A truncated file, a text and an empty file are skipped on every pass and logged on the first."""
    (tmp_path / "a.jpg").write_bytes(picture(400, 300)[:500])
    (tmp_path / "b.jpg").write_text("a letter")
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "d.jpg").write_bytes(picture())
    source = FolderSource(tmp_path)
    with caplog.at_level(logging.WARNING):
        names = [source.next().name for _ in range(4)]

    assert ["d.jpg"] * 4 == names
    assert 3 == sum("image_skipped" in record.message for record in caplog.records)


def test_folder_takes_a_file_that_was_mended(tmp_path: Path) -> None:
    """A bad file that was replaced is read again."""
    bad = tmp_path / "a.jpg"
    bad.write_text("a letter")
    source = FolderSource(tmp_path)
    with pytest.raises(NoImage):
        source.next()
    bad.unlink()
    (tmp_path / "b.jpg").write_bytes(picture())

    assert "b.jpg" == source.next().name


def test_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    """The message names the folder."""
    with pytest.raises(NoImage, match=str(tmp_path)):
        FolderSource(tmp_path)


def test_folder_that_is_emptied_later_has_no_image(tmp_path: Path) -> None:
    """The source says so instead of stopping the agent, and recovers when a file comes back."""
    file = tmp_path / "a.jpg"
    file.write_bytes(picture())
    source = FolderSource(tmp_path)
    source.next()
    file.unlink()
    with pytest.raises(NoImage):
        source.next()
    file.write_bytes(picture())

    assert "a.jpg" == source.next().name


def test_shipped_photographs_can_all_be_decoded() -> None:
    """The default of a new device works."""
    paths = photographs_in(SHIPPED_PHOTOGRAPHS)
    for path in paths:
        check(path.read_bytes())

    assert len(paths) >= 5
    assert open_source(ImagesSection()).next().name == paths[0].name


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_encoding_makes_a_square_jpeg(mode: str) -> None:
    """Whatever the photograph's shape and colours, 224 x 224 RGB goes up."""
    encoded = encode_for_offload(picture(1920, 1080, mode=mode), 224, 90)
    with Image.open(io.BytesIO(encoded)) as image:
        assert ("JPEG", (224, 224), "RGB") == (image.format, image.size, image.mode)


def test_encoding_takes_transparency() -> None:
    """A PNG with an alpha channel becomes a JPEG."""
    encoded = encode_for_offload(picture(kind="PNG", mode="RGBA"), 64, 50)
    with Image.open(io.BytesIO(encoded)) as image:
        assert (64, 64) == image.size


def test_quality_decides_the_size() -> None:
    """A lower quality is a shorter upload."""
    photograph = photographs_in(SHIPPED_PHOTOGRAPHS)[0].read_bytes()

    assert len(encode_for_offload(photograph, 224, 30)) < len(encode_for_offload(photograph, 224, 95))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0 but no more", picture(kind="GIF", mode="L")])
def test_what_is_no_photograph_is_refused(content: bytes) -> None:
    """Neither rubbish nor another format gets through."""
    with pytest.raises(BadImage):
        encode_for_offload(content, 224, 90)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    """A small file that claims to be 60 megapixels is not decoded."""
    bomb = io.BytesIO()
    Image.new("1", (10_000, 6_000)).save(bomb, "PNG")
    with pytest.raises(BadImage, match="too many"):
        check(bomb.getvalue())


def test_a_camera_without_its_library_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error tells what to install."""
    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CameraUnavailable, match=r"python3-picamera2.*opencv-python-headless"):
        open_source(ImagesSection(source="camera"))


def test_folder_remembers_only_what_is_there(tmp_path: Path) -> None:
    """A folder into which something else keeps writing photographs does not fill the memory."""
    (tmp_path / "0.jpg").write_bytes(picture())
    source = FolderSource(tmp_path)
    for number in range(1, 9):
        source.next()
        (tmp_path / f"{number - 1}.jpg").unlink()
        (tmp_path / f"{number}.jpg").write_bytes(picture())

    assert source.remembered <= 2
