"""Fetching, against a real HTTP server on loopback: continued, checked, and never half installed."""

from __future__ import annotations

import hashlib
import io
import socket
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.vocabulary import ModelName
from model_zoo import download as download_module
from model_zoo.cache import install, installed
from model_zoo.download import Source, download
from model_zoo.errors import FetchFailed, Unreachable
from model_zoo.fetch import fetch, fetch_labels
from model_zoo.manifest import Manifest
from model_zoo.progress import Stage, Step

D7 = ModelName("d7")
Put = Callable[..., Any]


def test_a_fetched_model_is_the_one_graph_of_its_archive(server: Any, offer: Put, tmp_path: Path) -> None:
    """Only the .tflite is kept, as trained and official; nothing of the archive stays."""
    offered = offer()

    [model] = fetch(offered.manifest, (), tmp_path)
    assert offered.graph == model.path.read_bytes()
    assert (True, "official", hashlib.sha256(offered.graph).hexdigest()) == (model.trained, model.origin, model.sha256)
    assert ["d7.tflite", "index.json"] == sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".")


def test_progress_counts_to_the_whole_archive(server: Any, offer: Put, tmp_path: Path) -> None:
    """Bytes never go back, and the last download step is the archive's size."""
    offered = offer()
    steps: list[Step] = []

    fetch(offered.manifest, (), tmp_path, steps.append)
    downloads = [step.done for step in steps if step.stage is Stage.DOWNLOADING]
    assert sorted(downloads) == downloads
    assert len(offered.archive) == downloads[-1]
    assert Stage.DONE == steps[-1].stage


def test_an_interrupted_download_is_continued_where_it_broke_off(server: Any, offer: Put, tmp_path: Path) -> None:
    """Two breaks in one call: each next request asks for the rest only."""
    offered = offer()
    server.breaks = [1000, 500]

    fetch(offered.manifest, (), tmp_path)
    assert [None, "bytes=1000-", "bytes=1500-"] == [span for _, span in server.asked]


def test_a_later_call_continues_what_an_earlier_one_left(server: Any, offer: Put, tmp_path: Path) -> None:
    """The .part file of an ended process is used."""
    offered = offer()
    (tmp_path / "d7.tgz.part").write_bytes(offered.archive[:700])

    fetch(offered.manifest, (), tmp_path)
    assert [("/d7.tgz", "bytes=700-")] == server.asked
    assert offered.graph == (tmp_path / "d7.tflite").read_bytes()


def test_a_whole_part_file_needs_no_second_download(server: Any, offer: Put, tmp_path: Path) -> None:
    """A crash between download and unpacking: the server says that nothing is left, and the sum decides."""
    offered = offer()
    (tmp_path / "d7.tgz.part").write_bytes(offered.archive)

    fetch(offered.manifest, (), tmp_path)
    assert offered.graph == (tmp_path / "d7.tflite").read_bytes()


def test_a_server_without_ranges_is_read_from_the_start(server: Any, offer: Put, tmp_path: Path) -> None:
    """It answers 200 with everything; what we had is overwritten, not doubled."""
    offered = offer()
    server.ranges = False
    server.breaks = [1000]

    fetch(offered.manifest, (), tmp_path)
    assert offered.graph == (tmp_path / "d7.tflite").read_bytes()


@pytest.mark.parametrize("stale", [b"something else", b"x" * 10_000_000])
def test_a_part_file_of_something_else_is_thrown_away_once(
    stale: bytes, server: Any, offer: Put, tmp_path: Path
) -> None:
    """Its sum is wrong in the end (or it is longer than the file), and the download starts over by itself."""
    offered = offer()
    (tmp_path / "d7.tgz.part").write_bytes(stale)

    fetch(offered.manifest, (), tmp_path)
    assert offered.graph == (tmp_path / "d7.tflite").read_bytes()


def test_a_wrong_checksum_installs_nothing_and_names_both_sums(server: Any, offer: Put, tmp_path: Path) -> None:
    """The archive is thrown away, so that the next attempt does not continue it."""
    offered = offer()
    server.files["/d7.tgz"] = offered.archive + b"!"
    found = hashlib.sha256(offered.archive + b"!").hexdigest()

    with pytest.raises(FetchFailed, match=f"expected sha256 {offered.spec.archive_sha256}, found {found}"):
        fetch(offered.manifest, (), tmp_path)
    assert {} == installed(tmp_path)
    assert not (tmp_path / "d7.tgz.part").exists()
    assert 1 == len(server.asked)


def test_a_wrong_graph_in_a_right_archive_is_refused(server: Any, offer: Put, tmp_path: Path) -> None:
    """Where the manifest knows the graph's own sum, that counts too."""
    offered = offer(graph_sha="0" * 64)

    with pytest.raises(FetchFailed, match=f"expected sha256 {'0' * 64}, found"):
        fetch(offered.manifest, (), tmp_path)
    assert {} == installed(tmp_path)


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"a.txt": b""}, "holds 0 .tflite files; exactly one was expected"),
        ({"a.tflite": b"1", "b.tflite": b"2"}, "holds 2 .tflite files; exactly one was expected"),
    ],
)
def test_an_archive_without_exactly_one_graph_is_refused(
    members: dict[str, bytes], what: str, server: Any, offer: Put, tmp_path: Path
) -> None:
    """Nobody guesses which one is meant."""
    with pytest.raises(FetchFailed, match=what):
        fetch(offer(members).manifest, (), tmp_path)
    assert {} == installed(tmp_path)


def test_a_graph_larger_than_its_bound_is_not_unpacked(server: Any, offer: Put, tmp_path: Path) -> None:
    """Zeros compress well: the size is checked before a byte is written."""
    offered = offer({"bomb.tflite": bytes(2_000_000)})

    with pytest.raises(FetchFailed, match="of 2000000 bytes; at most 1000000"):
        fetch(replace(offered.manifest, largest_model_bytes=1_000_000), (), tmp_path)
    assert not (tmp_path / ".d7.unpacked").exists()


def test_links_and_paths_out_of_the_archive_are_never_followed(server: Any, offer: Put, tmp_path: Path) -> None:
    """A member's own name is not used, and a link is no file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        link = tarfile.TarInfo("link.tflite")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        entry = tarfile.TarInfo("../../escaped.tflite")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"graph"))

    [model] = fetch(offer(archive=content.getvalue()).manifest, (), tmp_path / "in" / "side")
    assert b"graph" == model.path.read_bytes()
    assert not (tmp_path / "escaped.tflite").exists()


def test_bytes_that_are_no_archive_are_told_in_one_line(server: Any, offer: Put, tmp_path: Path) -> None:
    """Even if their sum is right."""
    with pytest.raises(FetchFailed, match="cannot be unpacked: not a gzip file"):
        fetch(offer(archive=b"no archive").manifest, (), tmp_path)


def test_an_official_file_that_is_whole_is_not_fetched_again(server: Any, offer: Put, tmp_path: Path) -> None:
    """A second call asks the server nothing; forced, it does."""
    offered = offer()
    fetch(offered.manifest, (), tmp_path)
    fetch(offered.manifest, (), tmp_path)
    assert 1 == len(server.asked)

    fetch(offered.manifest, (), tmp_path, force=True)
    assert 2 == len(server.asked)


def test_a_built_or_damaged_file_is_replaced_by_the_official_one(server: Any, offer: Put, tmp_path: Path) -> None:
    """Fetch means the trained weights, whole."""
    offered = offer()
    (tmp_path / "new").write_bytes(b"built")
    install(tmp_path, D7, tmp_path / "new", trained=False, origin="built")

    fetch(offered.manifest, (), tmp_path)
    assert installed(tmp_path)[D7].trained
    (tmp_path / "d7.tflite").write_bytes(b"damaged")
    fetch(offered.manifest, (), tmp_path)
    assert offered.graph == (tmp_path / "d7.tflite").read_bytes()


def test_no_way_to_the_server_is_one_verdict_for_all_models(manifest: Manifest, tmp_path: Path) -> None:
    """The first model's failed connection ends the call; the others are not tried."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    tried: list[Step] = []
    models = {
        name: replace(spec, archive=f"http://127.0.0.1:{port}/{name}.tgz") for name, spec in manifest.models.items()
    }

    with pytest.raises(Unreachable, match=rf"cannot reach http://127\.0\.0\.1:{port}/d0\.tgz \(connection refused\)"):
        fetch(replace(manifest, models=models), (), tmp_path, tried.append)
    assert [] == tried


def test_a_server_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The time limit holds for the answer as well as for the connection."""
    monkeypatch.setattr(download_module, "CONNECT_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(Unreachable, match="timed out"):
            download(Source(url, 10), tmp_path / "x.part", lambda done, total: None)


def test_a_missing_file_is_refused_at_once(server: Any, offer: Put, tmp_path: Path) -> None:
    """404 does not get better by asking again."""
    offered = offer()
    server.files.clear()

    with pytest.raises(FetchFailed, match="was refused: 404 Not Found"):
        fetch(offered.manifest, (), tmp_path)
    assert 1 == len(server.asked)


def test_a_server_in_trouble_is_asked_again(server: Any, offer: Put, tmp_path: Path) -> None:
    """503 and 500 may pass."""
    offered = offer()
    server.statuses = [503, 500]

    fetch(offered.manifest, (), tmp_path)
    assert 3 == len(server.asked)


def test_a_transfer_that_never_gets_on_is_given_up(server: Any, offer: Put, tmp_path: Path) -> None:
    """Three attempts without one new byte; what came stays for another time."""
    offered = offer()
    server.breaks = [100, 0, 0, 0]

    with pytest.raises(FetchFailed, match="breaks off again and again"):
        fetch(offered.manifest, (), tmp_path)
    assert offered.archive[:100] == (tmp_path / "d7.tgz.part").read_bytes()


@pytest.mark.parametrize("largest", [100, 1000])
def test_a_file_longer_than_expected_is_not_read_to_its_end(
    largest: int, server: Any, offer: Put, tmp_path: Path
) -> None:
    """A wrong server cannot fill the disk."""
    offered = offer()

    with pytest.raises(FetchFailed, match=f"at most {largest} were expected"):
        fetch(replace(offered.manifest, largest_archive_bytes=largest), (), tmp_path)


def test_labels_are_taken_only_if_there_are_as_many_as_classes(
    server: Any, offer: Put, manifest: Manifest, tmp_path: Path
) -> None:
    """No sha256 of them is known, so the number of lines is what can be checked."""
    offered = offer()
    right = "\n".join(["background", *(f"thing {number}" for number in range(1000))]) + "\n"
    server.files["/labels.txt"] = right.encode()

    assert right == fetch_labels(offered.manifest, tmp_path).read_text(encoding="utf-8")
    server.files["/labels.txt"] = b"<html>\nno\n</html>\n"
    with pytest.raises(FetchFailed, match="has 3 lines; 1001 names were expected"):
        fetch_labels(offered.manifest, tmp_path)
    assert right == (tmp_path / "labels.txt").read_text(encoding="utf-8")
