"""The wrapper feeds each graph as its own input asks, over whichever runtime is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_zoo.errors import ModelUnusable
from model_zoo.photograph import decode
from model_zoo.preprocessing import Preprocessing, preparation
from model_zoo.runtime import Classifier, interpreter_class

ALL_COLOURS = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
REAL = np.arange(256) / 127.5 - 1


def prepared(kind: type, scale: float = 0.0, zero: int = 0) -> list[float]:
    """What the 256 values of a colour become."""
    tensor = preparation({"dtype": kind, "quantization": (scale, zero)}, Preprocessing.MINUS1_TO_1)(ALL_COLOURS)
    assert ((1, 16, 16, 3), kind) == (tensor.shape, tensor.dtype)
    return list(tensor[0, :, :, 0].ravel().tolist())


def test_a_float_input_gets_real_numbers_from_minus_one_to_one() -> None:
    """0 is -1, 255 is 1, and all between lie on the line."""
    values = prepared(np.float32)

    assert [-1.0, 1.0] == [values[0], values[-1]]
    assert np.allclose(REAL, values, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "scale", "zero"), [(np.uint8, 1 / 127.5, 127), (np.uint8, 0.0078125, 128), (np.int8, 1 / 127.5, -1)]
)
def test_a_quantised_input_gets_the_nearest_code_of_the_real_number(kind: type, scale: float, zero: int) -> None:
    """What we build, what the archives of 2018 have, and inputs around zero; codes are clipped, never wrapped."""
    limits = np.iinfo(kind)
    codes = prepared(kind, scale, zero)

    assert sorted(codes) == codes
    unclipped = [code not in (limits.min, limits.max) for code in codes]
    errors = np.abs((np.array(codes) - zero) * scale - REAL)[unclipped]
    assert errors.max() <= scale / 2 + 1e-9
    assert unclipped.count(False) <= 4


@pytest.mark.parametrize("details", [(np.int32, 1.0), (np.uint8, 0.0)])
def test_an_input_that_is_neither_is_refused(details: tuple[type, float]) -> None:
    """Better no answer than a wrong one."""
    with pytest.raises(ValueError, match="an input of type"):
        preparation({"dtype": details[0], "quantization": (details[1], 0)}, Preprocessing.MINUS1_TO_1)


@pytest.mark.models
@pytest.mark.parametrize("name", [f"d{number}" for number in range(8)])
def test_an_answer_is_what_the_bare_interpreter_gives(name: str, models: Path, photos: dict[str, bytes]) -> None:
    """Index and score agree with the interpreter fed by hand, for every shipped photograph."""
    classifier = Classifier(models / f"{name}.tflite")
    bare = interpreter_class()(model_path=str(models / f"{name}.tflite"), num_threads=1)
    bare.allocate_tensors()
    [given], [answered] = bare.get_input_details(), bare.get_output_details()
    for content in photos.values():
        pixels = decode(content, 224)
        real = pixels.astype(np.float64) / 127.5 - 1
        if given["dtype"] is not np.float32:
            scale, zero = given["quantization"]
            real = np.clip(np.round(real / scale + zero), 0, 255)
        bare.set_tensor(given["index"], real[None].astype(given["dtype"]))
        bare.invoke()
        raw: Any = bare.get_tensor(answered["index"])[0].astype(np.float64)
        scale, zero = answered["quantization"]
        scores = (raw - zero) * scale if scale else raw

        index, score = classifier.classify(pixels)
        assert scores[index] == pytest.approx(scores.max(), abs=1e-4)
        assert score == pytest.approx(scores.max(), abs=1e-4)
        assert 0 < score <= 1


@pytest.mark.models
@pytest.mark.parametrize(("real", "quantised"), [("d0", "d4"), ("d1", "d5"), ("d2", "d6"), ("d3", "d7")])
def test_a_quantised_network_sees_the_same_photograph(
    real: str, quantised: str, models: Path, photos: dict[str, bytes]
) -> None:
    """The class that the float network favours is far above its share in the quantised one (both have one source)."""
    one, other = Classifier(models / f"{real}.tflite"), Classifier(models / f"{quantised}.tflite")
    shares = []
    for content in photos.values():
        pixels = decode(content, 224)
        index, _ = one.classify(pixels)
        scores = other.invoke(other.prepare(pixels))[0].astype(np.float64)
        shares.append(scores[index] / scores.sum())

    assert float(np.median(shares)) > 20 / 1001


@pytest.mark.models
def test_a_tensor_of_another_shape_is_refused(models: Path) -> None:
    """No silent reshaping."""
    with pytest.raises(ValueError, match="Dimension mismatch"):
        Classifier(models / "d7.tflite").invoke(np.zeros((1, 96, 96, 3), dtype=np.uint8))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x1c\0\0\0TFL3" + bytes(500)])
def test_a_file_that_no_runtime_can_run_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    """Not the runtime's own ValueError."""
    path = tmp_path / "d0.tflite"
    path.write_bytes(content)

    with pytest.raises(ModelUnusable, match=r"d0\.tflite cannot be run: .*look at it with: tierwise zoo verify d0"):
        Classifier(path)


HIDE = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None
"""
# LiteRT is tflite-runtime under its new name, so here it stands in for itself under its old one.
OLD_NAME = """
import importlib, types
import ai_edge_litert.interpreter as now
sys.modules["tflite_runtime"] = types.ModuleType("tflite_runtime")
sys.modules["tflite_runtime.interpreter"] = now
sys.modules["ai_edge_litert.interpreter"] = sys.modules["ai_edge_litert"] = None
"""
SHOW = """
from model_zoo.errors import RuntimeMissing
from model_zoo.runtime import interpreter_class
try:
    print(interpreter_class().__name__)
except RuntimeMissing as error:
    print(error)
"""


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    return done.stdout.strip()


def test_without_litert_its_predecessor_is_taken() -> None:
    """As on 32-bit ARM."""
    assert "Interpreter" == run("import sys" + OLD_NAME + SHOW)


def test_without_any_runtime_both_are_named_with_what_installs_one() -> None:
    """One line, and no traceback of an import."""
    said = run(HIDE.format(hidden=["ai_edge_litert", "tflite_runtime"]) + SHOW)

    assert said.startswith("no TensorFlow Lite runtime (ai_edge_litert: ")
    assert "; tflite_runtime: " in said
    assert said.endswith("pip install '.[device]' in Tierwise's checkout")


def test_nothing_heavy_is_imported_before_the_first_model() -> None:
    """An agent at rest holds no NumPy, Pillow or runtime."""
    script = (
        "import sys, model_zoo.pool, model_zoo.ensure, model_zoo.verify, model_zoo.listing, model_zoo.manifest\n"
        "from model_zoo.pool import ModelPool\n"
        "ModelPool(None, ['d0'], 300).available()\n"
        "print([name for name in ('numpy', 'PIL', 'ai_edge_litert', 'tflite_runtime') if name in sys.modules])"
    )

    assert "[]" == run(script)
