"""Runs a model file that nobody vouches for, once, in a process of its own: `python -m model_zoo.trial`.

What crashes a runtime, fills the memory or never ends takes only that process with it. One JSON object on standard
input, `{"path": ..., "preprocessing": null or a kind}`, and one on standard output: the fields of `Tried`, or
`{"refused": why}`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from model_zoo.errors import ModelRefused, ModelUnusable, RuntimeMissing
from model_zoo.preprocessing import OutputKind, Preprocessing, likely

TIMEOUT_S = 120.0
MOST_MEMORY_BYTES = 16 * 2**30  # of addresses, which the runtime takes more of than of memory
PROBABILITY_SUM_OFF = 0.05  # the rounding of a thousand quantised probabilities


@dataclass(frozen=True, slots=True)
class Tried:
    """What a run showed. `input_px`: height and width; `output`: what the numbers look like."""

    input_px: tuple[int, int]
    input_type: str
    classes: int
    preprocessing: Preprocessing
    output: OutputKind


def try_file(path: Path, preprocessing: Preprocessing | None) -> Tried:
    """Load and run `path` in a child. Raises ModelRefused, RuntimeMissing."""
    order = json.dumps({"path": str(path), "preprocessing": preprocessing})
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "model_zoo.trial"],
            input=order,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    except subprocess.TimeoutExpired as error:
        raise ModelRefused(f"loading it and running it twice took longer than {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise ModelRefused(f"the runtime ended with {_ending(done.returncode)} when it was loaded and run")
    answer = json.loads(done.stdout)
    if "missing" in answer:
        raise RuntimeMissing(answer["missing"])
    if "refused" in answer:
        raise ModelRefused(answer["refused"])
    height_px, width_px = answer["input_px"]
    return Tried(
        input_px=(height_px, width_px),
        input_type=answer["input_type"],
        classes=answer["classes"],
        preprocessing=Preprocessing(answer["preprocessing"]),
        output=OutputKind(answer["output"]),
    )


def _ending(code: int) -> str:
    return f"signal {Signals(-code).name}" if code < 0 else f"exit code {code}"


def main() -> None:
    """The child."""
    order = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    with suppress(OSError):  # a kernel that runs out of memory shall end this process and no other
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print on descriptor 1 too
    wanted = order["preprocessing"]
    try:
        answer = asdict(_tried(Path(order["path"]), None if wanted is None else Preprocessing(wanted)))
    except RuntimeMissing as error:
        answer = {"missing": str(error)}
    except ModelUnusable as error:
        answer = {"refused": error.why}
    except (ModelRefused, ValueError, RuntimeError, MemoryError) as error:
        answer = {"refused": str(error).splitlines()[0] if str(error) else type(error).__name__}
    json.dump(answer, answers)
    answers.flush()


def _tried(path: Path, wanted: Preprocessing | None) -> Tried:
    import numpy as np

    from model_zoo.runtime import Classifier

    classifier = Classifier(path, 1, wanted or Preprocessing.MINUS1_TO_1)
    kind = wanted or likely(classifier.input_details)
    if kind is None:
        kinds = ", ".join(Preprocessing)
        raise ModelRefused(f"the file does not tell which numbers its pixels are; say --preprocessing, one of {kinds}")
    if wanted is None:
        classifier = Classifier(path, 1, kind)
    if len([edge for edge in classifier.output_shape if edge != 1]) != 1:
        raise ModelRefused(
            f"its output has the shape {list(classifier.output_shape)}; one vector of classes was expected"
        )
    height_px, width_px = classifier.size_px
    grey = np.full((height_px, width_px, 3), 128, dtype=np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, grey.shape, dtype=np.uint8)
    vectors = [classifier.reals(image) for image in (grey, noise)]
    if not all(np.isfinite(vector).all() for vector in vectors):
        raise ModelRefused("its output is not finite for a grey image or for noise; is --preprocessing right?")
    return Tried(
        input_px=(height_px, width_px),
        input_type=classifier.input_type,
        classes=classifier.classes,
        preprocessing=kind,
        output=OutputKind.PROBABILITIES if all(map(_are_probabilities, vectors)) else OutputKind.LOGITS,
    )


def _are_probabilities(vector: Any) -> bool:
    return bool(vector.min() >= 0 and vector.max() <= 1 and abs(vector.sum() - 1) <= PROBABILITY_SUM_OFF)


if __name__ == "__main__":
    main()
