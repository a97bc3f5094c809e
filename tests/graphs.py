"""Small networks written by hand, so that tests know what they must answer.

`colours`: the mean of each channel is the output, so the class is the strongest of red, green and blue, and every
number can be worked out on paper. `squeezenet`: SqueezeNet's fire modules (squeeze, expand, concatenate), a real
architecture that is not MobileNet, with random weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

TYPES = {
    np.float32: schema.TensorType.FLOAT32,
    np.uint8: schema.TensorType.UINT8,
    np.int8: schema.TensorType.INT8,
    np.int32: schema.TensorType.INT32,
}
OPS = schema.BuiltinOperator


@dataclass
class Writer:
    """A graph while it is written: tensors get numbers in the order of their making."""

    kind: Any = np.float32
    quantization: tuple[float, int] | None = None
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    codes: list[int] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    random: Any = field(default_factory=lambda: np.random.default_rng(7))

    def tensor(self, shape: tuple[int, ...], content: NDArray[Any] | None = None) -> int:
        """A number of the graph, or a constant of it."""
        made = schema.TensorT()
        made.name, made.shape = f"t{len(self.tensors)}", list(shape)
        made.type = TYPES[self.kind if content is None else content.dtype.type]
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), dtype=np.uint8)
            made.buffer = len(self.buffers)
            self.buffers.append(buffer)
        elif self.quantization is not None:
            made.quantization = schema.QuantizationParametersT()
            scale, zero = self.quantization
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        self.tensors.append(made)
        return len(self.tensors) - 1

    def apply(self, code: int, inputs: list[int], shape: tuple[int, ...], kind: int = 0, options: Any = None) -> int:
        """One operator; the tensor that it gives."""
        if code not in self.codes:
            self.codes.append(code)
        made, output = schema.OperatorT(), self.tensor(shape)
        made.opcodeIndex, made.inputs, made.outputs = self.codes.index(code), inputs, [output]
        made.builtinOptionsType, made.builtinOptions = kind, options
        self.operators.append(made)
        return output

    def mean(self, given: int, channels: int) -> int:
        """The average of each channel, (1, channels)."""
        axes = self.tensor((2,), np.array([1, 2], dtype=np.int32))
        options = schema.ReducerOptionsT()
        options.keepDims = False
        return self.apply(OPS.MEAN, [given, axes], (1, channels), schema.BuiltinOptions.ReducerOptions, options)

    def convolution(
        self, given: int, channels: int, edge: int, stride: int = 1, content: NDArray[np.float32] | None = None
    ) -> int:
        """`edge` x `edge`, padded, with random weights (or `content`) and ReLU."""
        _, height, width, before = self.tensors[given].shape
        deviation = np.sqrt(2 / (edge * edge * before))
        if content is None:
            content = self.random.normal(0, deviation, (channels, edge, edge, before)).astype(np.float32)
        weights, bias = self.tensor(content.shape, content), self.tensor((channels,), np.zeros(channels, np.float32))
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, stride, stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        shape = (1, -(-height // stride), -(-width // stride), channels)
        return self.apply(OPS.CONV_2D, [given, weights, bias], shape, schema.BuiltinOptions.Conv2DOptions, options)

    def pool(self, given: int) -> int:
        """The largest of 3 x 3, at every second place."""
        _, height, width, channels = self.tensors[given].shape
        options = schema.Pool2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, 2, 2
        options.filterHeight = options.filterWidth = 3
        shape = (1, -(-height // 2), -(-width // 2), channels)
        return self.apply(OPS.MAX_POOL_2D, [given], shape, schema.BuiltinOptions.Pool2DOptions, options)

    def fire(self, given: int, squeezed: int, expanded: int) -> int:
        """SqueezeNet's module: 1 x 1 to few channels, then 1 x 1 and 3 x 3 side by side."""
        few = self.convolution(given, squeezed, 1)
        parts = [self.convolution(few, expanded, edge) for edge in (1, 3)]
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        shape = (*self.tensors[few].shape[:3], 2 * expanded)
        kind = schema.BuiltinOptions.ConcatenationOptions
        return self.apply(OPS.CONCATENATION, parts, shape, kind, options)

    def softmax(self, given: int) -> int:
        """Probabilities."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        shape = tuple(self.tensors[given].shape)
        return self.apply(OPS.SOFTMAX, [given], shape, schema.BuiltinOptions.SoftmaxOptions, options)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        """The file."""
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, inputs, outputs
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], self.buffers, []
        for code in self.codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = 2 if self.quantization is not None else 1
            model.operatorCodes.append(entry)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def colours(
    path: Path, px: tuple[int, int] = (8, 8), kind: Any = np.float32, quantization: tuple[float, int] | None = None
) -> Path:
    """Red, green or blue, by the mean of each channel: logits, in the numbers that the pixels are given as."""
    writer = Writer(kind, quantization)
    image = writer.tensor((1, *px, 3))
    return writer.write(path, [image], [writer.mean(image, 3)])


def squeezenet(path: Path, px: int = 96, classes: int = 1000) -> Path:
    """SqueezeNet 1.1 with a quarter of the channels: probabilities of `classes`, untrained."""
    writer = Writer()
    image = writer.tensor((1, px, px, 3))
    at = writer.pool(writer.convolution(image, 16, 3, stride=2))
    for squeezed, expanded in ((4, 16), (4, 16)):
        at = writer.fire(at, squeezed, expanded)
    at = writer.pool(at)
    for squeezed, expanded in ((8, 32), (8, 32)):
        at = writer.fire(at, squeezed, expanded)
    at = writer.pool(at)
    for squeezed, expanded in ((12, 48), (12, 48), (16, 64), (16, 64)):
        at = writer.fire(at, squeezed, expanded)
    at = writer.mean(writer.convolution(at, classes, 1), classes)
    return writer.write(path, [image], [writer.softmax(at)])
