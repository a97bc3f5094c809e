"""The pool, over real networks: on demand, in parallel, within its memory, and exact about what is wrong."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.vocabulary import ModelName
from model_zoo import memory
from model_zoo.cache import install, installed
from model_zoo.errors import BadImage, ModelCorrupt, ModelMissing, ModelUnusable, UnknownModel
from model_zoo.pool import ModelPool

pytestmark = pytest.mark.models

D3, D6, D7, D9 = (ModelName(name) for name in ("d3", "d6", "d7", "d9"))
ROOMY_MB = 500.0


def copied(models: Path, directory: Path, name: ModelName, trained: bool = False) -> Path:
    """A model of one's own, to damage."""
    directory.mkdir(exist_ok=True)
    shutil.copyfile(models / f"{name}.tflite", directory / "new")
    return install(directory, name, directory / "new", trained=trained, origin="built").path


def test_available_is_what_is_asked_for_and_installed(models: Path) -> None:
    """Name and sha256 of the index; neither what is missing nor what was not asked for."""
    pool = ModelPool(models, [D7, D9], ROOMY_MB)

    assert {D7: installed(models)[D7].sha256} == pool.available()


def test_a_photograph_is_classified_and_untrained_weights_say_so(models: Path, photos: dict[str, bytes]) -> None:
    """Index and score are given, and the label claims nothing."""
    answer = ModelPool(models, [D7], ROOMY_MB).classify(D7, photos["coffee"])

    assert ("untrained", False) == (answer.label, answer.trained)
    assert 0 <= answer.index < 1001
    assert 0 < answer.score <= 1
    assert answer.compute_ms > 0


def test_trained_weights_have_a_label(models: Path, photos: dict[str, bytes], tmp_path: Path) -> None:
    """The class's number, and its name once there is a file of names."""
    copied(models, tmp_path, D7, trained=True)
    answer = ModelPool(tmp_path, [D7], ROOMY_MB).classify(D7, photos["coffee"])
    assert f"class {answer.index}" == answer.label

    (tmp_path / "labels.txt").write_text("\n".join(f"thing {number}" for number in range(1001)), encoding="utf-8")
    assert f"thing {answer.index}" == ModelPool(tmp_path, [D7], ROOMY_MB).classify(D7, photos["coffee"]).label


def test_nothing_is_loaded_before_it_is_used(models: Path, photos: dict[str, bytes]) -> None:
    """And what was used stays."""
    pool = ModelPool(models, [D6, D7], ROOMY_MB)
    assert {} == pool.loaded()

    pool.classify(D7, photos["coffee"])
    pool.classify(D7, photos["clock"])
    assert {D7: 1} == pool.loaded()


def test_above_the_limit_the_least_recently_used_is_evicted(models: Path, photos: dict[str, bytes]) -> None:
    """d6 was used after d7, and then d7 again: there is room for one of them beside d3, and d6 goes."""
    pool = ModelPool(models, [D3, D6, D7], ROOMY_MB)
    for name in (D7, D6, D7):
        pool.classify(name, photos["clock"])
    kept_mb = next(copy.cost_mb for copy in pool._copies if copy.model.name == D7)
    pool._limit_mb = kept_mb + memory.expected_cost_mb(installed(models)[D3].bytes) + 0.1

    pool.classify(D3, photos["clock"])
    assert {D3: 1, D7: 1} == pool.loaded()


def test_the_loaded_networks_stay_within_the_limit(models: Path, photos: dict[str, bytes]) -> None:
    """Whatever the order of requests, the estimate never exceeds the limit when more than one is loaded."""
    pool = ModelPool(models, [D3, D6, D7], 12.0)
    for name in (D3, D6, D7, D3, D7, D6, D6, D3):
        pool.classify(name, photos["clock"])
        assert pool.loaded_mb() <= 12.0 or 1 == len(pool.loaded())


def test_a_model_larger_than_the_limit_still_runs_alone(models: Path, photos: dict[str, bytes]) -> None:
    """A limit that nothing fits into must not stop a node."""
    pool = ModelPool(models, [D6, D7], 0.001)

    pool.classify(D6, photos["clock"])
    pool.classify(D7, photos["clock"])
    assert {D7: 1} == pool.loaded()


def test_two_workers_run_the_same_network_at_the_same_time(models: Path, photos: dict[str, bytes]) -> None:
    """Each has a copy of its own: the second does not wait for the first."""
    pool = ModelPool(models, [D7], ROOMY_MB)
    with pool.borrowed(D7):
        pool.classify(D7, photos["clock"])

        assert {D7: 2} == pool.loaded()


def test_a_worker_waits_where_memory_is_too_small_for_two(
    models: Path, photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads no second copy, and gets its turn as soon as the other is done."""
    pool = ModelPool(models, [D7], 1.0)
    waits, wait = threading.Event(), pool._changed.wait
    monkeypatch.setattr(pool._changed, "wait", lambda: (waits.set(), wait()))
    with ThreadPoolExecutor(1, thread_name_prefix="worker") as workers:
        with pool.borrowed(D7):
            answer = workers.submit(pool.classify, D7, photos["clock"])
            assert waits.wait(20)
            assert not answer.done()

        assert "untrained" == answer.result(20).label
    assert {D7: 1} == pool.loaded()


def test_many_workers_get_the_answers_that_one_gets(models: Path, photos: dict[str, bytes]) -> None:
    """Four threads, three networks, and so little memory that they evict each other all the time."""
    names = [D3, D6, D7]
    alone = ModelPool(models, names, ROOMY_MB)
    jobs = [(name, content) for name in names for content in photos.values()] * 2
    expected = [alone.classify(*job).index for job in jobs]
    crowded = ModelPool(models, names, 15.0)

    with ThreadPoolExecutor(4, thread_name_prefix="worker") as workers:
        assert expected == [answer.index for answer in workers.map(lambda job: crowded.classify(*job), jobs)]


def test_a_name_outside_the_pool_is_unknown(models: Path, photos: dict[str, bytes]) -> None:
    """Installed or not: the node's configuration counts."""
    with pytest.raises(UnknownModel, match="'d6' is not one of the models d7"):
        ModelPool(models, [D7], ROOMY_MB).classify(D6, photos["clock"])


def test_a_missing_model_is_told_with_the_commands_that_get_it(photos: dict[str, bytes], tmp_path: Path) -> None:
    """Online and offline."""
    with pytest.raises(ModelMissing, match=r"model d7 is not in .*; get it with: tierwise zoo fetch d7"):
        ModelPool(tmp_path, [D7], ROOMY_MB).classify(D7, photos["clock"])


def test_a_corrupt_model_is_told_and_never_run(models: Path, photos: dict[str, bytes], tmp_path: Path) -> None:
    """File, expected and found sha256, command. Mended, the same pool runs it."""
    path = copied(models, tmp_path, D7)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\1")
    pool = ModelPool(tmp_path, [D7], ROOMY_MB)

    with pytest.raises(
        ModelCorrupt, match=rf"{path} is corrupt: expected sha256 [0-9a-f]{{64}}, found [0-9a-f]{{64}};"
    ):
        pool.classify(D7, photos["clock"])
    path.write_bytes(content)
    assert "untrained" == pool.classify(D7, photos["clock"]).label


def test_a_whole_file_that_is_no_graph_is_unusable(photos: dict[str, bytes], tmp_path: Path) -> None:
    """Its sum is right, so it is not corrupt; it just cannot be run."""
    (tmp_path / "new").write_bytes(b"no graph")
    install(tmp_path, D7, tmp_path / "new", trained=True, origin="official")

    with pytest.raises(ModelUnusable, match="cannot be run"):
        ModelPool(tmp_path, [D7], ROOMY_MB).classify(D7, photos["clock"])


def test_a_bad_image_leaves_the_network_free(models: Path, photos: dict[str, bytes]) -> None:
    """The copy goes back, so that the next photograph needs no second one."""
    pool = ModelPool(models, [D7], ROOMY_MB)
    with pytest.raises(BadImage):
        pool.classify(D7, b"no image")

    pool.classify(D7, photos["clock"])
    assert {D7: 1} == pool.loaded()


def test_a_model_that_was_replaced_is_loaded_anew(models: Path, photos: dict[str, bytes], tmp_path: Path) -> None:
    """A fetch while the node runs: from then on the new weights answer, as the node announces."""
    copied(models, tmp_path, D7)
    pool = ModelPool(tmp_path, [D7], ROOMY_MB)
    with pool.borrowed(D7):
        before = pool.classify(D7, photos["clock"])
        copied(models, tmp_path, D7, trained=True)

    after = pool.classify(D7, photos["clock"])
    assert (False, True) == (before.trained, after.trained)
    assert {D7: 1} == pool.loaded()


def test_a_loaded_network_outlives_its_file(models: Path, photos: dict[str, bytes], tmp_path: Path) -> None:
    """Somebody empties the cache: what is in memory goes on answering."""
    copied(models, tmp_path, D7)
    pool = ModelPool(tmp_path, [D7], ROOMY_MB)
    pool.preload(D7)
    for path in tmp_path.iterdir():
        path.unlink()

    assert "untrained" == pool.classify(D7, photos["clock"]).label
    assert {} == pool.available()


def test_a_closed_pool_holds_nothing(models: Path, photos: dict[str, bytes]) -> None:
    """Memory goes back with the last reference."""
    pool = ModelPool(models, [D7], ROOMY_MB)
    pool.preload(D7)
    assert {D7: 1} == pool.loaded()

    pool.close()
    assert {} == pool.loaded()


@pytest.mark.parametrize(("grown_mb", "expected"), [(-5, 10.0), (0, 10.0), (25, 25.0), (500, 44.0)])
def test_a_networks_cost_is_its_growth_within_reason(grown_mb: float, expected: float) -> None:
    """Memory that is used again, and other threads' growth, do not count against a file of 10 MB."""
    assert expected == memory.cost_mb(10_000_000, grown_mb)


def test_resident_memory_is_measured_here() -> None:
    """Between what a bare interpreter takes and what this machine can have."""
    assert 5 < memory.resident_mb() < 10_000


def test_no_thread_is_left_behind(models: Path, photos: dict[str, bytes]) -> None:
    """The pool has no threads of its own."""
    before = set(threading.enumerate())
    ModelPool(models, [D7], ROOMY_MB).classify(D7, photos["clock"])

    assert before == set(threading.enumerate())
