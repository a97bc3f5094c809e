"""The cache knows what each file is, and notices when a file is something else."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from model_zoo.cache import InstalledModel, check, install, installed, models_directory
from model_zoo.errors import IndexUnusable, ModelCorrupt

D0, D1 = ModelName("d0"), ModelName("d1")


def put(directory: Path, name: ModelName = D0, content: bytes = b"graph") -> InstalledModel:
    directory.mkdir(exist_ok=True)
    file = directory / f".new-{name}"
    file.write_bytes(content)
    return install(directory, name, file, trained=False, origin="built")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TIERWISE_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a/models"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/tierwise/models"),
        ({"HOME": "/c"}, "/c/.cache/tierwise/models"),
    ],
)
def test_the_cache_lies_where_the_environment_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours goes before the desktop's, and that before the home folder."""
    for name in ("TIERWISE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert Path(expected) == models_directory()


def test_what_was_installed_is_found_again(tmp_path: Path) -> None:
    """Name, place, sum, size, training and origin survive; the handed-over file is gone."""
    put(tmp_path)

    expected = InstalledModel(
        D0, tmp_path / "d0.tflite", hashlib.sha256(b"graph").hexdigest(), 5, trained=False, origin="built"
    )
    assert {D0: expected} == installed(tmp_path)
    assert b"graph" == expected.path.read_bytes()
    assert not (tmp_path / ".new-d0").exists()


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    """Before the first fetch there is no folder, and that is no error."""
    assert {} == installed(tmp_path / "absent")


def test_a_changed_file_is_corrupt_and_the_error_names_both_sums_and_the_command(tmp_path: Path) -> None:
    """One line with file, expected and found sha256, and what mends it."""
    model = put(tmp_path)
    model.path.write_bytes(b"other")

    with pytest.raises(ModelCorrupt) as caught:
        check(model)
    expected, found = hashlib.sha256(b"graph").hexdigest(), hashlib.sha256(b"other").hexdigest()
    assert (
        f"{model.path} is corrupt: expected sha256 {expected}, found {found}; "
        "mend it with: tierwise zoo build --force d0" == str(caught.value)
    )


def test_a_deleted_file_is_corrupt_too(tmp_path: Path) -> None:
    """The index vouches for a file that is not there."""
    model = put(tmp_path)
    model.path.unlink()

    with pytest.raises(ModelCorrupt, match=r"found no file \(No such file or directory\); mend it with"):
        check(model)


def test_a_whole_file_passes(tmp_path: Path) -> None:
    """No error for what is right."""
    check(put(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2, "models": {}}',
        '{"version": 1, "models": {"../x": {"sha256": "'
        + "0" * 64
        + '", "bytes": 1, "trained": true, "origin": "built"}}}',
        '{"version": 1, "models": {"d0": {"sha256": "zz", "bytes": 1, "trained": true, "origin": "built"}}}',
    ],
)
def test_a_broken_index_is_told_and_mended_by_the_next_install(text: str, tmp_path: Path) -> None:
    """Reading refuses it in one line with the command; installing starts a new one."""
    (tmp_path / "index.json").write_text(text, encoding="utf-8")

    with pytest.raises(IndexUnusable, match=r"is not an index of models .* mend it with: tierwise zoo fetch --force"):
        installed(tmp_path)
    put(tmp_path)
    assert [D0] == list(installed(tmp_path))


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").write_text("")

    with pytest.raises(IndexUnusable, match=r"cannot create .*/file/models"):
        install(tmp_path / "file" / "models", D0, tmp_path / "file", trained=True, origin="official")


def test_installs_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    """Read, change and write happen under one lock."""
    names = [ModelName(f"m{number}") for number in range(12)]
    threads = [threading.Thread(target=put, args=(tmp_path, name), name=f"install-{name}") for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(names) == list(installed(tmp_path))


def test_the_index_is_plain_json_for_others_to_read(tmp_path: Path) -> None:
    """Version, and one object per model."""
    put(tmp_path, D1, b"x")

    index = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    entry = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1, "trained": False, "origin": "built"}
    assert {"version": 1, "models": {"d1": entry}} == index
