"""Building: what is ordered from TensorFlow's process, what comes of its answers, and of its failures."""

from __future__ import annotations

import ensurepip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from model_zoo import build_environment
from model_zoo.build import BuildOptions, build
from model_zoo.build_environment import LOCK, environment_directory, make_environment
from model_zoo.cache import installed
from model_zoo.errors import BuildFailed
from model_zoo.manifest import Manifest
from model_zoo.progress import Stage, Step, silent

ROOT = Path(__file__).parents[2]
D1, D4 = ModelName("d1"), ModelName("d4")
StandIn = Callable[[str], None]


@pytest.mark.usefixtures("builds")
def test_built_models_are_installed_as_untrained(manifest: Manifest, pictures: list[Path], tmp_path: Path) -> None:
    """What is ordered is width and type of the manifest; what comes is marked, and the work folder is gone."""
    models = build(manifest, pictures, ["d4", "d1"], tmp_path / "models", options=BuildOptions(seed=7))

    assert [(D1, False, "built"), (D4, False, "built")] == [
        (model.name, model.trained, model.origin) for model in models
    ]
    assert [{"name": "d4", "width": 1.0, "dtype": "int8"}, 7, "uint8"] == json.loads(models[1].path.read_bytes())
    assert {D1, D4} == set(installed(tmp_path / "models"))
    assert [] == list((tmp_path / "models").glob(".build-*"))


@pytest.mark.usefixtures("builds")
def test_progress_counts_the_models(manifest: Manifest, pictures: list[Path], tmp_path: Path) -> None:
    """From none to all."""
    steps: list[Step] = []
    build(manifest, pictures, ["d1", "d4"], tmp_path / "models", steps.append)

    assert [0, 0, 1, 1, 2] == [step.done for step in steps if step.stage is Stage.BUILDING]
    assert {2} == {step.total for step in steps}


def test_a_crash_is_told_with_its_last_line_and_installs_nothing(
    stand_in: StandIn, manifest: Manifest, pictures: list[Path], tmp_path: Path
) -> None:
    """And the log with all of it is named."""
    stand_in("say('started', model='d1')\nraise MemoryError('no more memory')")

    with pytest.raises(
        BuildFailed, match=r"could not build: MemoryError: no more memory \(all of it in .*build\.log\)"
    ):
        build(manifest, pictures, ["d1"], tmp_path / "models")
    assert {} == installed(tmp_path / "models")
    assert [] == list((tmp_path / "models").glob(".build-*"))


def test_an_end_in_silence_is_told_too(
    stand_in: StandIn, manifest: Manifest, pictures: list[Path], tmp_path: Path
) -> None:
    """Killed for memory, say."""
    stand_in("import os\nos.kill(os.getpid(), 9)")

    with pytest.raises(BuildFailed, match="could not build: it printed nothing"):
        build(manifest, pictures, ["d1"], tmp_path / "models")


def test_an_answer_that_is_none_is_told(
    stand_in: StandIn, manifest: Manifest, pictures: list[Path], tmp_path: Path
) -> None:
    """Something that is no JSON on standard output."""
    stand_in("print('Segmentation fault')")

    with pytest.raises(BuildFailed, match="said something else than agreed: 'Segmentation fault'"):
        build(manifest, pictures, ["d1"], tmp_path / "models")


def test_without_photographs_nothing_is_built(manifest: Manifest, tmp_path: Path) -> None:
    """A quantised graph needs them for its ranges."""
    with pytest.raises(BuildFailed, match="no photographs"):
        build(manifest, [], ["d1"], tmp_path)


@pytest.mark.slow
def test_an_environment_is_made_once_and_failure_names_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real venv with real pip, asked for what is there already, and then for something without a hash."""
    lock = tmp_path / "lock.txt"
    lock.write_text(f"pip=={ensurepip.version()} --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setattr(build_environment, "LOCK", lock)
    steps: list[Step] = []
    python = make_environment(tmp_path / "venv", steps.append)

    assert tmp_path / "venv" / "bin" / "python" == python
    assert steps[-1].done > 1_000_000
    steps.clear()
    assert python == make_environment(tmp_path / "venv", steps.append)
    assert [] == steps
    lock.write_text("./no-such-folder\n", encoding="utf-8")
    with pytest.raises(BuildFailed, match=r"cannot install TensorFlow .*: ERROR: .*zoo-venv\.log"):
        make_environment(tmp_path / "venv", silent)


@pytest.mark.parametrize(("keep", "left"), [(True, True), (False, False)])
@pytest.mark.usefixtures("builds")
def test_the_environment_is_removed_after_a_success_unless_kept(
    keep: bool, left: bool, manifest: Manifest, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.6 GB for one build."""
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path))
    program = tmp_path / "stand-in" / "python"
    inside = environment_directory() / "bin" / "python"
    inside.parent.mkdir(parents=True)
    inside.symlink_to(program)
    (environment_directory() / ".ready").write_text(LOCK.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr("model_zoo.build.find_tensorflow", lambda: None)

    build(manifest, pictures, ["d1"], options=BuildOptions(keep_environment=keep))
    assert left == environment_directory().exists()


def test_the_environment_stays_after_a_failure(
    stand_in: StandIn, manifest: Manifest, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next attempt need not download it."""
    stand_in("sys.exit(1)")
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path))
    inside = environment_directory() / "bin" / "python"
    inside.parent.mkdir(parents=True)
    inside.symlink_to(tmp_path / "stand-in" / "python")
    (environment_directory() / ".ready").write_text(LOCK.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr("model_zoo.build.find_tensorflow", lambda: None)

    with pytest.raises(BuildFailed):
        build(manifest, pictures, ["d1"])
    assert environment_directory().exists()


def test_the_worker_imports_nothing_that_its_environment_lacks() -> None:
    """Only TensorFlow, NumPy, Pillow and the standard library."""
    lines = (ROOT / "model_zoo" / "build_worker.py").read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if line.strip().startswith(("import ", "from "))]
    roots = {line[1].partition(".")[0] for line in words}

    assert {"tensorflow", "numpy", "PIL"} == roots - set(sys.stdlib_module_names)
