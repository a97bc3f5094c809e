"""Reads what a TensorFlow Lite file computes, without a runtime: its tensors, its operators and their MACs.

The file is a FlatBuffer of TensorFlow Lite's schema version 3. Only the few tables that are needed are read, and
every offset is checked, so that a broken file ends in NotAGraph and nowhere else. Its lists may overlap: what is read
is counted, or a small file could claim more than any memory holds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeVar

CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED = 3, 4, 9  # BuiltinOperator in schema.fbs
TENSOR_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8"}
LARGEST_VECTOR = 100_000
MOST_ENTRIES = 1_000_000  # of all lists together; the largest vision transformers have some 50,000
MOST_EDGES = 16  # of a shape

T = TypeVar("T")


class NotAGraph(Exception):
    """The bytes are no TensorFlow Lite graph."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and element type; a shape is empty for scalars."""

    shape: tuple[int, ...]
    type: str


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator, its builtin code, and the indices of its tensors (-1: left out)."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The first subgraph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def macs(self) -> int:
        """Multiply-accumulates of one inference: convolutions and fully connected layers. Raises NotAGraph."""
        return sum(self._macs_of(operator) for operator in self.operators)

    def weight_types(self) -> set[str]:
        """Element types of all convolutions' and fully connected layers' weights. Raises NotAGraph."""
        counted = (CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED)
        return {self._operand(each.inputs, 1).type for each in self.operators if each.code in counted}

    def _macs_of(self, operator: Operator) -> int:
        if operator.code not in (CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED):
            return 0
        weights = self._operand(operator.inputs, 1).shape
        results = prod(self._operand(operator.outputs, 0).shape)
        # Weights are (out, height, width, in), for depthwise (1, height, width, out), for fully connected (out, in).
        return results * prod(weights[1:3] if operator.code == DEPTHWISE_CONV_2D else weights[1:])

    def _operand(self, indices: tuple[int, ...], position: int) -> Tensor:
        if position >= len(indices) or not 0 <= indices[position] < len(self.tensors):
            raise NotAGraph("an operator names a tensor that is not there")
        return self.tensors[indices[position]]


def read_graph(path: Path) -> Graph:
    """The graph in `path`. Raises NotAGraph, OSError."""
    return parse_graph(path.read_bytes())


def parse_graph(content: bytes) -> Graph:
    """The graph in `content`. Raises NotAGraph."""
    if content[4:8] != b"TFL3":
        raise NotAGraph("it lacks the mark TFL3")
    model = _Table(_File(content), _uint32(content, 0))
    codes = model.tables(1, _operator_code)
    subgraphs = model.tables(2, lambda table: table)
    if not subgraphs:
        raise NotAGraph("it holds no graph")
    main = subgraphs[0]

    def operator(table: _Table) -> Operator:
        index = table.scalar(0, "<I")
        if index >= len(codes):
            raise NotAGraph("an operator names a code that is not there")
        return Operator(codes[index], table.integers(1), table.integers(2))

    return Graph(main.tables(0, _tensor), main.tables(3, operator), main.integers(1), main.integers(2))


def _operator_code(table: _Table) -> int:
    # Codes above 127 do not fit into the older of the two fields; the larger one is right (schema.fbs).
    return max(table.scalar(0, "<b"), table.scalar(3, "<i"))


def _tensor(table: _Table) -> Tensor:
    shape = table.integers(0)
    if len(shape) > MOST_EDGES:
        raise NotAGraph(f"it claims a tensor of {len(shape)} dimensions")
    return Tensor(shape, TENSOR_TYPES.get(table.scalar(1, "<b"), "other"))


def _unpack(form: str, content: bytes, at: int) -> int:
    try:
        value: int = struct.unpack_from(form, content, at)[0]
    except struct.error as error:
        raise NotAGraph(f"it ends before byte {at}") from error
    return value


def _uint32(content: bytes, at: int) -> int:
    return _unpack("<I", content, at)


@dataclass(slots=True)
class _File:
    """Mutable: how many entries of lists may still be read."""

    content: bytes
    entries_left: int = MOST_ENTRIES

    def count(self, entries: int) -> None:
        self.entries_left -= entries
        if self.entries_left < 0:
            raise NotAGraph(f"it claims lists of more than {MOST_ENTRIES} entries")


class _Table:
    """One FlatBuffers table: fields are found through its vtable, and may be left out."""

    def __init__(self, file: _File, at: int) -> None:
        self._file = file
        self._content = content = file.content
        self._at = at
        self._vtable = at - _unpack("<i", content, at)
        if self._vtable < 0:
            raise NotAGraph("an offset points before the file")
        self._vtable_bytes = _unpack("<H", content, self._vtable)

    def _field(self, number: int) -> int | None:
        slot = 4 + 2 * number
        offset = _unpack("<H", self._content, self._vtable + slot) if slot + 2 <= self._vtable_bytes else 0
        return self._at + offset if offset else None

    def scalar(self, number: int, form: str) -> int:
        """A number; 0 if it is left out."""
        field = self._field(number)
        return 0 if field is None else _unpack(form, self._content, field)

    def _vector(self, number: int) -> tuple[int, int]:
        """Where the elements start, and how many there are."""
        field = self._field(number)
        if field is None:
            return 0, 0
        start = field + _uint32(self._content, field)
        length = _uint32(self._content, start)
        if length > LARGEST_VECTOR:
            raise NotAGraph(f"it claims a list of {length} entries")
        self._file.count(length)
        return start + 4, length

    def integers(self, number: int) -> tuple[int, ...]:
        """A list of 32-bit integers."""
        start, length = self._vector(number)
        return tuple(_unpack("<i", self._content, start + 4 * index) for index in range(length))

    def tables(self, number: int, read: Callable[[_Table], T]) -> tuple[T, ...]:
        """A list of tables, each read by `read`."""
        start, length = self._vector(number)
        places = [start + 4 * index for index in range(length)]
        return tuple(read(_Table(self._file, place + _uint32(self._content, place))) for place in places)
