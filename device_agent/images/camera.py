"""Photographs from a camera: picamera2 on a Raspberry Pi, else OpenCV. Neither comes with Tierwise.

Written after both libraries' documentation and not run on a camera by us; `tierwise-agent check` takes one picture
and says what came.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

from device_agent.images.source import CameraUnavailable, ImageSource, NoImage, Photograph

HOW_TO_INSTALL = "install one: apt-get install python3-picamera2 (Raspberry Pi), or pip install opencv-python-headless"


def open_camera(index: int) -> ImageSource:
    """The camera with that index. Raises CameraUnavailable, which names the package that is missing."""
    for library, camera in (("picamera2", PiCamera), ("cv2", OpenCvCamera)):
        try:
            module = importlib.import_module(library)
        except ImportError:
            continue
        return camera(module, index)
    raise CameraUnavailable(f"images.source is camera, but neither picamera2 nor cv2 can be imported; {HOW_TO_INSTALL}")


class PiCamera:
    """A Raspberry Pi camera through picamera2."""

    ahead = False

    def __init__(self, picamera2: Any, index: int) -> None:
        try:
            self._camera = picamera2.Picamera2(index)
            self._camera.configure(self._camera.create_still_configuration())
            self._camera.start()
        except (RuntimeError, IndexError) as error:
            raise CameraUnavailable(f"camera {index} cannot be opened: {error}; set images.camera") from error

    def next(self) -> Photograph:
        """What the camera sees now. Raises NoImage."""
        encoded = io.BytesIO()
        try:
            self._camera.capture_file(encoded, format="jpeg")
        except RuntimeError as error:
            raise NoImage(f"the camera gave no picture: {error}") from error
        return Photograph("camera", encoded.getvalue())

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.close()


class OpenCvCamera:
    """Any camera that OpenCV opens."""

    ahead = False

    def __init__(self, cv2: Any, index: int) -> None:
        self._cv2 = cv2
        self._camera = cv2.VideoCapture(index)
        if not self._camera.isOpened():
            raise CameraUnavailable(f"camera {index} cannot be opened; set images.camera, and see ls /dev/video*")

    def next(self) -> Photograph:
        """What the camera sees now. Raises NoImage."""
        taken, frame = self._camera.read()
        if not taken:
            raise NoImage("the camera gave no picture")
        _, content = self._cv2.imencode(".jpg", frame)
        return Photograph("camera", content.tobytes())

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.release()
