"""The official archives of 2018 into the cache: each checked, unpacked to its one graph, and entered in the index."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from broker.private_files import follow_no_link
from model_zoo.cache import LABELS, InstalledModel, check, install, installed, make_directory, sha256_of
from model_zoo.download import Source, download
from model_zoo.errors import FetchFailed, IndexUnusable, ModelCorrupt
from model_zoo.locking import only_one
from model_zoo.manifest import Manifest, ModelSpec
from model_zoo.progress import Progress, Stage, Step, silent

LARGEST_LABELS_BYTES = 200_000


def fetch(
    manifest: Manifest,
    names: Sequence[str] = (),
    directory: Path | None = None,
    progress: Progress = silent,
    *,
    force: bool = False,
) -> list[InstalledModel]:
    """Official files of `names` (default: all), those already there left alone unless forced.

    Raises Unreachable at the first model when there is no way to the server: one verdict for all. FetchFailed,
    UnknownModel, IndexUnusable.
    """
    from model_zoo.cache import models_directory

    directory = directory or models_directory()
    return [fetch_one(manifest, spec, directory, progress, force=force) for spec in manifest.select(names)]


def fetch_one(
    manifest: Manifest, spec: ModelSpec, directory: Path, progress: Progress = silent, *, force: bool = False
) -> InstalledModel:
    """The official file of one model, from the cache or the server. Raises Unreachable, FetchFailed, IndexUnusable."""
    make_directory(directory)
    with only_one(directory / f".{spec.name}.lock"):
        present = None if force else _official(spec, directory)
        if present is not None:
            progress(Step(spec.name, Stage.DONE, present.bytes, present.bytes))
            return present
        archive = directory / f"{spec.name}.tgz.part"
        _get_archive(manifest, spec, archive, progress)
        progress(Step(spec.name, Stage.UNPACKING))
        graph = directory / f".{spec.name}.unpacked"
        _unpack(archive, graph, manifest.largest_model_bytes)
        _check_graph(spec, graph)
        model = install(directory, spec.name, graph, trained=True, origin="official")
        archive.unlink()
    progress(Step(spec.name, Stage.DONE, model.bytes, model.bytes))
    return model


def fetch_labels(manifest: Manifest, directory: Path, progress: Progress = silent) -> Path:
    """The names of the classes. Raises Unreachable, FetchFailed; nothing but labels as words depends on them."""
    make_directory(directory)
    part = directory / f"{LABELS}.part"
    part.unlink(missing_ok=True)  # it has no checksum, so half of an older one must not become part of it
    source = Source(manifest.labels_url, LARGEST_LABELS_BYTES)
    download(source, part, lambda done, total: progress(Step("labels", Stage.DOWNLOADING, done, total)))
    try:
        lines = part.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FetchFailed(f"{manifest.labels_url} is not UTF-8 text") from error
    if len(lines) != manifest.labels_lines or not all(line.strip() for line in lines):
        raise FetchFailed(f"{manifest.labels_url} has {len(lines)} lines; {manifest.labels_lines} names were expected")
    os.replace(part, directory / LABELS)
    progress(Step("labels", Stage.DONE, len(lines), len(lines)))
    return directory / LABELS


def _official(spec: ModelSpec, directory: Path) -> InstalledModel | None:
    """What is in the cache, if it is the official file and whole."""
    try:
        model = installed(directory).get(spec.name)
        if model is None or model.origin != "official":
            return None
        check(model)
    except (ModelCorrupt, IndexUnusable):
        return None
    return model


def _get_archive(manifest: Manifest, spec: ModelSpec, archive: Path, progress: Progress) -> None:
    if spec.archive is None:
        raise FetchFailed(f"model {spec.name} has no official archive")
    source = Source(spec.archive, manifest.largest_archive_bytes)
    resumed = archive.exists()
    while True:
        download(source, archive, lambda done, total: progress(Step(spec.name, Stage.DOWNLOADING, done, total)))
        found = sha256_of(archive)
        if found == spec.archive_sha256:
            return
        archive.unlink()
        if not resumed:
            raise FetchFailed(
                f"{spec.archive} is not what the manifest says: expected sha256 {spec.archive_sha256}, found {found}; "
                "it was thrown away",
                f"try again, or build offline: tierwise zoo build {spec.name}",
                "try again, or copy the folder of models of a machine that has it",
            )
        resumed = False  # the half that we had may have been of another file: once more, from its start


def _unpack(archive: Path, graph: Path, largest_bytes: int) -> None:
    """The one `.tflite` member of the archive, and nothing else of it."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = [member for member in tar if member.isfile() and member.name.endswith(".tflite")]
            if len(members) != 1:
                raise FetchFailed(f"{archive} holds {len(members)} .tflite files; exactly one was expected")
            if members[0].size > largest_bytes:
                raise FetchFailed(f"{archive} holds a .tflite of {members[0].size} bytes; at most {largest_bytes}")
            source = tar.extractfile(members[0])
            if source is None:
                raise FetchFailed(f"{archive} holds a .tflite that is no file")
            with open(graph, "wb", opener=follow_no_link) as file:
                file.write(source.read())
    except (tarfile.TarError, EOFError) as error:
        raise FetchFailed(f"{archive} cannot be unpacked: {error}") from error
    except OSError as error:
        raise FetchFailed(f"{archive} cannot be unpacked to {graph}: {error.strerror or error}") from error


def _check_graph(spec: ModelSpec, graph: Path) -> None:
    found = sha256_of(graph)
    if spec.tflite_sha256 not in (None, found):
        graph.unlink()
        raise FetchFailed(
            f"the graph in {spec.archive} is not what the manifest says: expected sha256 {spec.tflite_sha256}, "
            f"found {found}"
        )
