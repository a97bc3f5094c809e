"""The same eight graphs without the internet's archives: Keras and TFLiteConverter, in a process of their own.

The weights are untrained: right for time, meaningless as labels, and marked so in the index.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from broker.private_files import follow_no_link
from model_zoo.build_environment import (
    environment_directory,
    find_tensorflow,
    last_line,
    make_environment,
    remove_environment,
)
from model_zoo.cache import InstalledModel, install, make_directory, models_directory
from model_zoo.errors import BuildFailed
from model_zoo.locking import only_one
from model_zoo.manifest import Manifest, ModelSpec
from model_zoo.progress import Progress, Stage, Step, silent

WORKER = Path(__file__).with_name("build_worker.py")
LOG = "build.log"


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build.

    `keep_environment`: a build is done once, and 1.6 GB for the next one, which may never come, is much on a disk; so
    the environment is removed after a success. After a failure it stays, so that the next attempt need not download.
    """

    seed: int = 1
    quantised_io: Literal["uint8", "int8"] = "uint8"  # as in the official archives
    keep_environment: bool = False
    python: Path | None = None  # makes the environment; default: this one


def build(
    manifest: Manifest,
    photographs: Sequence[Path],
    names: Sequence[str] = (),
    directory: Path | None = None,
    progress: Progress = silent,
    options: BuildOptions | None = None,
) -> list[InstalledModel]:
    """Build `names` (default: all) and put them into the cache, whatever was there.

    `photographs` (JPEG or PNG files) are the representative set from which the quantised graphs take their ranges.
    Raises BuildFailed, UnknownModel, IndexUnusable.
    """
    options = options or BuildOptions()
    specs = manifest.select(names)
    if not photographs:
        raise BuildFailed("no photographs to quantise with were given")
    directory = directory or models_directory()
    make_directory(directory)
    # Two programs that build at the same time would fight for the environment and the cores.
    with only_one(directory / ".build.lock"):
        own = None if options.python else find_tensorflow()
        environment = environment_directory()
        python = own or make_environment(environment, progress, options.python)
        built = _build_with(python, specs, _order(specs, photographs, options), directory, progress)
    if own is None and not options.keep_environment:
        remove_environment(environment)
    return built


def _order(specs: Sequence[ModelSpec], photographs: Sequence[Path], options: BuildOptions) -> dict[str, Any]:
    """What `build_worker` reads, but for the folder."""
    return {
        "seed": options.seed,
        "quantised_io": options.quantised_io,
        "photographs": [str(path.resolve()) for path in photographs],
        "models": [{"name": spec.name, "width": spec.width, "dtype": spec.dtype} for spec in specs],
    }


def _build_with(
    python: Path, specs: Sequence[ModelSpec], order: dict[str, Any], directory: Path, progress: Progress
) -> list[InstalledModel]:
    log = directory / LOG
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as work,
            open(log, "w+", encoding="utf-8", errors="replace", opener=follow_no_link) as errors,
        ):
            built = _run_worker(python, {**order, "directory": work}, errors, len(specs), progress)
            if len(built) < len(specs):
                errors.seek(0)
                raise BuildFailed(f"TensorFlow could not build: {last_line(errors.read())} (all of it in {log})")
            return [install(directory, spec.name, built[spec.name], trained=False, origin="built") for spec in specs]
    except OSError as error:
        raise BuildFailed(f"cannot build in {directory}: {error.strerror or error}") from error


def _run_worker(
    python: Path, order: dict[str, Any], errors: TextIO, models: int, progress: Progress
) -> dict[str, Path]:
    """The files that the worker made, by model, as far as it came."""
    built: dict[str, Path] = {}
    progress(Step("TensorFlow starts", Stage.BUILDING, 0, models))
    # -P: beside the worker lie modules of ours whose names must not hide a library's.
    with subprocess.Popen(
        [str(python), "-P", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as worker:
        try:
            stdin, stdout = worker.stdin, worker.stdout
            if stdin is None or stdout is None:
                return built
            with suppress(BrokenPipeError), stdin:
                json.dump(order, stdin)
            for line in stdout:
                answer = _answer(line)
                if answer.get("event") == "built":
                    built[answer["model"]] = Path(answer["file"])
                progress(Step(answer.get("model", "TensorFlow"), Stage.BUILDING, len(built), models))
        finally:
            worker.kill()  # it has ended, or nobody listens to it any more
    return built


def _answer(line: str) -> dict[str, str]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise BuildFailed(f"TensorFlow's process said something else than agreed: {line.strip()[:200]!r}") from error
    return {str(key): str(value) for key, value in answer.items()} if isinstance(answer, dict) else {}
