"""What the zoo's tests share: the real models and photographs, and a small file server on loopback."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from model_zoo import build as build_module
from model_zoo import download
from model_zoo.cache import models_directory
from model_zoo.manifest import Manifest, ModelSpec, load_manifest

PHOTOS = Path(__file__).parents[2] / "device_agent" / "photos"


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """The shipped photographs by name."""
    return {path.stem: path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))}


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the eight models, which `make test` puts there before pytest starts."""
    directory = models_directory()
    if not (directory / "index.json").is_file():
        pytest.fail(f"no models in {directory}: run make test, or tierwise zoo ensure")
    return directory


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return load_manifest()


@dataclass
class FileServer:
    """What the server has, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    statuses: list[int] = field(default_factory=list)  # refusals of the next requests
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Send the file that was asked for, as a server would, or break off."""
        span = request.headers.get("Range")
        self.asked.append((request.path, span))
        content = self.files.get(request.path)
        if self.statuses or content is None:
            request.send_error(self.statuses.pop(0) if self.statuses else 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", span)[1]) if span and self.ranges else 0  # type: ignore[index]
        if span and self.ranges and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if span and self.ranges else 200)
        if span and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : start + self.breaks.pop(0)] if self.breaks else content[start:])
        request.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A real HTTP server on loopback; clients do not pause between attempts."""
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the standard library's name
            state.answer(self)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), name="file-server")
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


def packed(members: dict[str, bytes]) -> bytes:
    """A .tgz of `members`."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


@dataclass(frozen=True)
class Offer:
    """A manifest of one model, d7, whose archive lies on the server."""

    manifest: Manifest
    archive: bytes
    graph: bytes
    path: str = "/d7.tgz"

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.models[ModelName("d7")]


@pytest.fixture
def offer(server: FileServer, manifest: Manifest) -> Callable[..., Offer]:
    """Put an archive on the server, and have a manifest that knows it."""

    def put(
        members: dict[str, bytes] | None = None, archive: bytes | None = None, graph_sha: str | None = None
    ) -> Offer:
        graph = b"\0\0\0\0TFL3" + bytes(range(256)) * 2000
        if members is None:
            members = {"./m_quant.tflite": graph, "./m_quant.ckpt.index": b"checkpoint", "./info.txt": b"info"}
        content = packed(members) if archive is None else archive
        server.files["/d7.tgz"] = content
        spec = replace(
            manifest.models[ModelName("d7")],
            archive=f"{server.url}/d7.tgz",
            archive_sha256=hashlib.sha256(content).hexdigest(),
            tflite_sha256=graph_sha,
        )
        changed = replace(manifest, models={spec.name: spec}, labels_url=f"{server.url}/labels.txt")
        return Offer(changed, content, graph)

    return put


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Have a Python "with TensorFlow" that runs a script instead of the worker.

    The real worker runs before the tests, when `make test` builds the models that they use; here it is about what
    comes back from it, and what does not. The script finds the worker's order in `order`, and `say(event, **fields)`.
    """

    def put(script: str) -> None:
        program = tmp_path / "stand-in" / "python"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable}\nimport json, pathlib, sys\norder = json.load(sys.stdin)\n"
            "def say(event, **fields): print(json.dumps({'event': event, **fields}), flush=True)\n" + script
        )
        program.chmod(0o755)
        monkeypatch.setattr(build_module, "find_tensorflow", lambda: program)

    return put


BUILDS = """
for model in order["models"]:
    say("started", model=model["name"])
    file = pathlib.Path(order["directory"]) / (model["name"] + ".tflite")
    file.write_bytes(json.dumps([model, order["seed"], order["quantised_io"]]).encode())
    say("built", model=model["name"], file=str(file))
"""


@pytest.fixture
def builds(stand_in: Callable[[str], None]) -> None:
    """A build that works: each file holds what was ordered."""
    stand_in(BUILDS)


@pytest.fixture
def pictures() -> list[Path]:
    return sorted(PHOTOS.glob("*.jpg"))
