"""One wrapper over LiteRT and its predecessor tflite-runtime, imported when the first model is loaded.

A wrapper belongs to one thread at a time; `model_zoo.pool` sees to that.
"""

from __future__ import annotations

import importlib
import importlib.util
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_zoo.errors import ModelUnusable, RuntimeMissing
from model_zoo.preprocessing import OutputKind, Preprocessing, preparation

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


def runtime_found() -> bool:
    """Whether a runtime is installed; nothing of it is imported."""
    return any(importlib.util.find_spec(name.partition(".")[0]) is not None for name in RUNTIMES)


class Classifier:
    """One loaded network: an RGB image in, the most likely class and its score out."""

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        preprocessing: Preprocessing = Preprocessing.MINUS1_TO_1,
        output: OutputKind = OutputKind.PROBABILITIES,
    ) -> None:
        """Raises RuntimeMissing, ModelUnusable."""
        interpreter = interpreter_class()
        try:
            self.interpreter = interpreter(model_path=str(path), num_threads=threads)
            self.interpreter.allocate_tensors()
            inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
            if len(inputs) != 1 or len(outputs) != 1:
                raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
            shape = [int(edge) for edge in inputs[0]["shape"]]
            if len(shape) != 4 or (shape[0], shape[3]) != (1, 3):
                raise ValueError(f"an input of shape {shape}; one image in colour is [1, height, width, 3]")
            self.prepare = preparation(inputs[0], preprocessing)
        except (ValueError, RuntimeError) as error:
            raise ModelUnusable(path, str(error).splitlines()[0]) from error
        except SystemError as error:
            raise RuntimeMissing(
                "this tflite-runtime cannot work with NumPy 2: pip install 'numpy<2' (or ai-edge-litert, where it has "
                "a wheel)"
            ) from error
        self.input_details: dict[str, Any] = inputs[0]
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._kind = output
        self._output_scale, self._output_zero = outputs[0]["quantization"]
        self.input_shape: tuple[int, ...] = tuple(int(edge) for edge in inputs[0]["shape"])
        self.output_shape: tuple[int, ...] = tuple(int(edge) for edge in outputs[0]["shape"])
        self.input_type: str = inputs[0]["dtype"].__name__
        self.output_type: str = outputs[0]["dtype"].__name__

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the image that it takes."""
        return self.input_shape[1], self.input_shape[2]

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return prod(self.output_shape)

    def invoke(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The raw output of a tensor that has the input's shape and type. Raises ValueError for any other."""
        self.interpreter.set_tensor(self._input, tensor)
        self.interpreter.invoke()
        output: NDArray[Any] = self.interpreter.get_tensor(self._output)
        return output

    def classify(self, image: NDArray[np.uint8]) -> tuple[int, float]:
        """Index and score (0 to 1) of the most likely class of an RGB image (height, width, 3).

        Of equals the first counts, as in `ranked`: a quantised network often says the same of several classes.
        """
        codes = self.invoke(self.prepare(image)).reshape(-1)
        index = int(codes.argmax())
        if self._kind is OutputKind.LOGITS:
            return index, self._softmax_of_largest(codes)
        return index, float(self._reals(codes[index : index + 1])[0])

    def ranked(self, image: NDArray[np.uint8], most: int) -> list[int]:
        """The `most` most likely classes of an RGB image, the likeliest first."""
        import numpy as np

        scores = self.invoke(self.prepare(image)).reshape(-1).astype(np.float64)
        return [int(index) for index in np.argsort(-scores, kind="stable")[:most]]

    def reals(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        """What the network says of an RGB image, a number for each class, as the file means them."""
        return self._reals(self.invoke(self.prepare(image)).reshape(-1))

    def _reals(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        import numpy as np

        reals = codes.astype(np.float64)
        return (reals - self._output_zero) * self._output_scale if self._output_scale else reals

    def _softmax_of_largest(self, codes: NDArray[Any]) -> float:
        import numpy as np

        reals = self._reals(codes)
        return float(1 / np.exp(reals - reals.max()).sum())
