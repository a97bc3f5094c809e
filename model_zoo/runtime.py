"""One wrapper over LiteRT and its predecessor tflite-runtime, imported when the first model is loaded.

A wrapper belongs to one thread at a time; `model_zoo.pool` sees to that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.errors import ModelUnusable, RuntimeMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The same runtime under its new name and its old one; 32-bit ARM has only the old one.
RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


def interpreter_class() -> Any:
    """The Interpreter of the first runtime that can be imported. Raises RuntimeMissing."""
    failures = []
    for name in RUNTIMES:
        try:
            return importlib.import_module(name).Interpreter
        except (ImportError, AttributeError) as error:
            failures.append(f"{name.partition('.')[0]}: {str(error).splitlines()[0]}")
    raise RuntimeMissing(
        f"no TensorFlow Lite runtime ({'; '.join(failures)}): pip install '.[device]' in Tierwise's checkout"
    )


class Classifier:
    """One loaded network: an RGB image in, the most likely class and its score out."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Raises RuntimeMissing, ModelUnusable."""
        interpreter = interpreter_class()
        try:
            self.interpreter = interpreter(model_path=str(path), num_threads=threads)
            self.interpreter.allocate_tensors()
            inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
            if len(inputs) != 1 or len(outputs) != 1:
                raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
            self.prepare = _preprocessing(inputs[0])
        except (ValueError, RuntimeError) as error:
            raise ModelUnusable(path, str(error).splitlines()[0]) from error
        except SystemError as error:
            raise RuntimeMissing(
                "this tflite-runtime cannot work with NumPy 2: pip install 'numpy<2' (or ai-edge-litert, where it has "
                "a wheel)"
            ) from error
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._output_scale, self._output_zero = outputs[0]["quantization"]
        self.input_shape: tuple[int, ...] = tuple(int(edge) for edge in inputs[0]["shape"])
        self.output_shape: tuple[int, ...] = tuple(int(edge) for edge in outputs[0]["shape"])
        self.input_type: str = inputs[0]["dtype"].__name__
        self.output_type: str = outputs[0]["dtype"].__name__

    @property
    def size_px(self) -> int:
        """Edge length of the image that it takes."""
        return self.input_shape[1]

    def invoke(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The raw output of a tensor that has the input's shape and type. Raises ValueError for any other."""
        self.interpreter.set_tensor(self._input, tensor)
        self.interpreter.invoke()
        output: NDArray[Any] = self.interpreter.get_tensor(self._output)
        return output

    def classify(self, image: NDArray[np.uint8]) -> tuple[int, float]:
        """Index and score (0 to 1) of the most likely class of an RGB image (size_px, size_px, 3)."""
        scores = self.invoke(self.prepare(image))[0]
        index = int(scores.argmax())
        score = float(scores[index])
        return index, (score - self._output_zero) * self._output_scale if self._output_scale else score


def _preprocessing(details: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """From an RGB image to this input's tensor: real numbers in [-1, 1], or their codes."""
    import numpy as np

    kind = details["dtype"]
    if kind is np.float32:
        slope, offset = np.float32(1 / 127.5), np.float32(1)
        return lambda image: (image * slope - offset)[None]
    scale, zero = details["quantization"]
    if kind not in (np.uint8, np.int8) or not scale:
        raise ValueError(f"an input of type {kind.__name__} and scale {scale}")
    limits = np.iinfo(kind)
    real = np.arange(256, dtype=np.float64) / 127.5 - 1.0
    codes = np.clip(np.round(real / scale + zero), limits.min, limits.max).astype(kind)
    return lambda image: codes.take(image)[None]
