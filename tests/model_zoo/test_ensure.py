"""From the cache, else fetched, else built; and it says which."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.vocabulary import ModelName
from model_zoo.cache import install, installed
from model_zoo.ensure import ensure
from model_zoo.errors import BuildFailed, UnknownModel
from model_zoo.manifest import Manifest

D1, D4, D7 = (ModelName(name) for name in ("d1", "d4", "d7"))
Put = Callable[..., Any]


@pytest.fixture
def offline(manifest: Manifest) -> Manifest:
    """Archives behind a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    models = {name: replace(spec, archive=f"http://127.0.0.1:{port}/x") for name, spec in manifest.models.items()}
    return replace(manifest, models=models, labels_url=f"http://127.0.0.1:{port}/labels")


@pytest.mark.usefixtures("builds")
def test_what_is_there_stays_and_the_rest_is_built_without_internet(
    offline: Manifest, pictures: list[Path], tmp_path: Path
) -> None:
    """One note says why nothing was fetched, not one per model."""
    (tmp_path / "new").write_bytes(b"mine")
    install(tmp_path, D4, tmp_path / "new", trained=True, origin="official")

    done = ensure(["d1", "d4", "d7"], photographs=pictures, directory=tmp_path, manifest=offline)
    assert ((D4,), (), (D1, D7), (D1, D7)) == (done.cached, done.fetched, done.built, done.untrained)
    assert b"mine" == (tmp_path / "d4.tflite").read_bytes()
    assert 1 == len(done.notes)
    assert (
        "models: d4 from the cache; d1, d7 built here; untrained weights: right for time, no meaning as labels"
        == str(done)
    )


def test_what_can_be_fetched_is_not_built(server: Any, offer: Put, tmp_path: Path) -> None:
    """With labels, and nothing is said about weights: they are trained."""
    offered = offer()
    server.files["/labels.txt"] = "\n".join(str(number) for number in range(1001)).encode()

    done = ensure(["d7"], photographs=[], directory=tmp_path, manifest=offered.manifest)
    assert "models: d7 fetched" == str(done)
    assert (tmp_path / "labels.txt").is_file()


@pytest.mark.usefixtures("builds")
def test_what_cannot_be_fetched_is_built_and_noted(
    server: Any, offer: Put, pictures: list[Path], tmp_path: Path
) -> None:
    """A server that is there, but not with this file."""
    offered = offer()
    server.files.clear()

    done = ensure(["d7"], photographs=pictures, directory=tmp_path, manifest=offered.manifest)
    assert ((D7,), ()) == (done.built, done.fetched)
    assert "refused: 404" in done.notes[0]


@pytest.mark.usefixtures("builds")
def test_a_damaged_file_is_not_from_the_cache(offline: Manifest, pictures: list[Path], tmp_path: Path) -> None:
    """It is got anew, like a missing one."""
    ensure(["d7"], photographs=pictures, directory=tmp_path, manifest=offline)
    whole = (tmp_path / "d7.tflite").read_bytes()
    (tmp_path / "d7.tflite").write_bytes(b"damaged")

    assert (D7,) == ensure(["d7"], photographs=pictures, directory=tmp_path, manifest=offline).built
    assert whole == (tmp_path / "d7.tflite").read_bytes()


@pytest.mark.usefixtures("builds")
def test_no_names_mean_all(offline: Manifest, pictures: list[Path], tmp_path: Path) -> None:
    """The eight."""
    ensure([], photographs=pictures, directory=tmp_path, manifest=offline)

    assert list(offline.models) == list(installed(tmp_path))


def test_unknown_names_and_failed_builds_are_errors(
    stand_in: Callable[[str], None], offline: Manifest, pictures: list[Path], tmp_path: Path
) -> None:
    """There is no third way to a model."""
    stand_in("sys.exit(1)")

    with pytest.raises(UnknownModel):
        ensure(["d9"], photographs=pictures, directory=tmp_path, manifest=offline)
    with pytest.raises(BuildFailed):
        ensure(["d1"], photographs=pictures, directory=tmp_path, manifest=offline)
