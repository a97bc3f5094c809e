"""The one interface of image sources, and which one a node's settings ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker.errors import TierwiseError
from configs.node import ImagesSection

SHIPPED_PHOTOGRAPHS = Path(__file__).parent.parent / "photos"


class NoImage(TierwiseError):
    """A source that has no photograph to give; says where it looked."""


class CameraUnavailable(TierwiseError):
    """No camera library on this node, or no camera; names the package to install."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """One encoded image, JPEG or PNG, known to be decodable, and where it came from."""

    name: str
    content: bytes


class ImageSource(Protocol):
    """Gives one photograph after the other."""

    @property
    def ahead(self) -> bool:
        """Whether the next photograph may be taken before it is needed; not so where it shows the present."""
        ...

    def next(self) -> Photograph:
        """The next photograph. Blocks, so it belongs into a thread. Raises NoImage."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


def open_source(settings: ImagesSection) -> ImageSource:
    """The source that `settings` ask for. Raises NoImage, CameraUnavailable."""
    if settings.source == "camera":
        from device_agent.images.camera import open_camera

        return open_camera(settings.camera)
    from device_agent.images.folder import FolderSource

    return FolderSource(settings.directory or SHIPPED_PHOTOGRAPHS)
