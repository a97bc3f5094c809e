"""The graph reader counts what the runtime would run, and survives any bytes."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_zoo.graph import NotAGraph, Tensor, parse_graph, read_graph
from model_zoo.manifest import Manifest
from model_zoo.runtime import interpreter_class

pytestmark = pytest.mark.models

NAMES = [f"d{number}" for number in range(8)]


def macs_by_the_runtime(path: Path) -> int:
    """The same count from what the interpreter tells about its operators."""
    interpreter = interpreter_class()(model_path=str(path))
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}

    def macs(operator: dict[str, Any]) -> int:
        weights = tensors[operator["inputs"][1]]["shape"]
        out = prod(int(edge) for edge in tensors[operator["outputs"][0]]["shape"])
        each = weights[1:3] if operator["op_name"] == "DEPTHWISE_CONV_2D" else weights[1:]
        return out * prod(int(edge) for edge in each)

    counted = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    return sum(macs(each) for each in interpreter._get_ops_details() if each["op_name"] in counted)


@pytest.mark.parametrize("name", NAMES)
def test_macs_are_what_the_runtimes_own_operators_give(name: str, models: Path) -> None:
    """Two independent readings of the same file agree exactly."""
    path = models / f"{name}.tflite"

    assert macs_by_the_runtime(path) == read_graph(path).macs()


@pytest.mark.parametrize("name", NAMES)
def test_macs_are_within_3_percent_of_table_4(name: str, models: Path, manifest: Manifest) -> None:
    """The file is the network that the paper speaks of."""
    expected = next(spec.mmacs for spec in manifest.models.values() if spec.name == name)

    assert pytest.approx(expected, rel=0.03) == read_graph(models / f"{name}.tflite").macs() / 1e6


def overlapping(tensors: int, edges: int) -> bytes:
    """A file whose `tensors` tensors are all one, with a shape of `edges` edges."""
    head = struct.pack("<I4s", 20, b"TFL3")
    model = struct.pack("<HHHHHH", 10, 12, 0, 0, 4, 0) + struct.pack("<iII", 12, 8, 0)
    graphs = struct.pack("<II", 1, 12)  # at 32: one graph, its table 12 bytes behind its entry
    graph = struct.pack("<HHHH", 6, 8, 4, 0) + struct.pack("<iI", 8, 4)  # vtable at 40, table at 48
    places = range(56 + 4, 56 + 4 + 4 * tensors, 4)
    table_at = places.stop + 8
    lists = struct.pack("<I", tensors) + b"".join(struct.pack("<I", table_at - place) for place in places)
    tensor = struct.pack("<HHHH", 6, 8, 4, 0) + struct.pack("<iI", 8, 4)
    return head + model + graphs + graph + lists + tensor + struct.pack("<I", edges) + struct.pack("<i", 7) * edges


def test_a_small_file_cannot_claim_more_than_memory_holds() -> None:
    """Lists may overlap: 100,000 tensors could share a shape, each of 100,000 edges, in less than a megabyte."""
    assert 3 * (Tensor((7, 7), "float32"),) == parse_graph(overlapping(3, 2)).tensors
    with pytest.raises(NotAGraph, match="a tensor of 17 dimensions"):
        parse_graph(overlapping(3, 17))
    with pytest.raises(NotAGraph, match="lists of more than 1000000 entries"):
        parse_graph(overlapping(99_999, 16))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_graph_or_no_graph_and_nothing_else(data: st.DataObject, models: Path) -> None:
    """Changed bytes in the tables, and a file cut off anywhere, end in a result or in NotAGraph."""
    content = bytearray((models / "d7.tflite").read_bytes())
    tables_start = len(content) - 60_000  # the converter writes weights first, tables last
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(tables_start, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    try:
        graph = parse_graph(bytes(content[:cut]))
        graph.macs()
        graph.weight_types()
    except NotAGraph as error:
        assert str(error)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_with_the_mark_are_read_within_their_bounds(content: bytes) -> None:
    """No offset is followed out of the file."""
    try:
        parse_graph(content[:4] + b"TFL3" + content[4:])
    except NotAGraph as error:
        assert str(error)
