"""The graph builder: typed tensors, shared constants and nodes, dead parts removed, the same bytes every time.

Everything in a compiled graph is a matrix with one row per record, so a tensor here is a name, an element type and a
width. The builder remembers every node it made: asking twice for the same cast or lookup gives the same tensor, and
what no output needs (scaling that a tree made unnecessary, for one) is left out when the model is finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = {"ai.onnx": 21, "ai.onnx.ml": 5}
"""Operator sets of every graph; ONNX Runtime 1.20 is the first release that has both."""
RUNTIME = {"onnxruntime": "1.20"}
IR_VERSION = 10
ML = "ai.onnx.ml"
TEXT = np.dtype(object)
"""The element type of text; everything else is a numpy number or bool."""

_ELEMENTS = {
    np.dtype(np.bool_): TensorProto.BOOL,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int16): TensorProto.INT16,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.uint16): TensorProto.UINT16,
    np.dtype(np.uint32): TensorProto.UINT32,
    np.dtype(np.uint64): TensorProto.UINT64,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    TEXT: TensorProto.STRING,
}


def element_type(dtype: np.dtype) -> int:
    """ONNX's number for a numpy element type (`object` is text)."""
    return _ELEMENTS[dtype]


def unique_name(stem: str, taken: set[str]) -> str:
    """A name that is not taken, and is from now on: `stem`, else `stem_1`, `stem_2` and so on."""
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name)
    return name


@dataclass(frozen=True)
class Tensor:
    """A value in the graph: `[rows, width]`, `[rows]` where width is 0, one value for all rows where it is -1."""

    name: str
    dtype: np.dtype
    width: int


@dataclass
class _Node:
    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    domain: str
    others: tuple[str, ...] = ()
    """Outputs after the first."""
    captured: tuple[str, ...] = ()
    """What the graphs among its attributes read from the graph around them."""

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output, *self.others)


class Graph:
    """Collects inputs, constants and nodes, then makes a checked ONNX model of what the outputs need."""

    def __init__(self, reserved: Sequence[str] = ()) -> None:
        self._names = set(reserved)
        self._inputs: list[Tensor] = []
        self._nodes: list[_Node] = []
        self._made: dict[Any, tuple[Tensor, ...]] = {}
        self._constants: dict[Any, tuple[str, TensorProto]] = {}
        self._outer: Graph | None = None

    def unique(self, stem: str) -> str:
        """A name nothing else has: `stem`, else `stem_1`, `stem_2` and so on."""
        return unique_name(stem, self._names)

    def input(self, name: str, dtype: np.dtype, width: int) -> Tensor:
        """Declares a graph input under exactly this name, which the caller made unique or reserved."""
        self._names.add(name)
        tensor = Tensor(name, dtype, width)
        self._inputs.append(tensor)
        return tensor

    def constant(self, values: Any, dtype: np.dtype | None = None) -> str:
        """The name of a constant; equal constants are stored once."""
        if self._outer is not None:
            return self._outer.constant(values, dtype)
        array = np.asarray(values, dtype=dtype)
        if array.dtype.kind in "US":
            array = array.astype(object)
        raw: Any = tuple(array.ravel()) if array.dtype == TEXT else array.tobytes()
        key = (array.dtype.str, array.shape, raw)
        if key not in self._constants:
            name = self.unique("constant")
            if array.dtype == TEXT:
                flat: Any = [str(value).encode() for value in array.ravel()]
                proto = helper.make_tensor(name, TensorProto.STRING, array.shape, flat)
            else:
                proto = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            self._constants[key] = (name, proto)
        return self._constants[key][0]

    def node(
        self,
        operator: str,
        inputs: Sequence[Tensor | str],
        dtype: np.dtype | type,
        width: int,
        *,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Adds a node with one output, or returns the output of an equal one made before.

        Args:
            operator: the ONNX operator.
            inputs: tensors, or names of constants.
            dtype: element type of the output.
            width: columns of the output, 0 for `[rows]`.
            domain: "" for ai.onnx, `ML` for ai.onnx.ml.
            attributes: as `onnx.helper.make_node` takes them.
        """
        return self.several(operator, inputs, [(dtype, width)], domain=domain, attributes=attributes)[0]

    def several(
        self,
        operator: str,
        inputs: Sequence[Tensor | str],
        outputs: Sequence[tuple[np.dtype | type, int]],
        *,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
        captured: Sequence[str] = (),
    ) -> tuple[Tensor, ...]:
        """As `node`, for an operator with several outputs: an element type and a width for each.

        `captured` names what graphs among the attributes read from this one (see `body`).
        """
        names = tuple(value.name if isinstance(value, Tensor) else value for value in inputs)
        given = dict(attributes or {})
        key = (operator, domain, names, tuple((name, _frozen(value)) for name, value in sorted(given.items())))
        if key not in self._made:
            made = tuple(Tensor(self.unique(operator), np.dtype(dtype), width) for dtype, width in outputs)
            others = tuple(tensor.name for tensor in made[1:])
            self._nodes.append(_Node(operator, names, made[0].name, given, domain, others, tuple(captured)))
            self._made[key] = made
        return self._made[key]

    def inner(self) -> Graph:
        """A graph for an attribute of a node in this one: it may read what this one has made; constants are shared."""
        made = Graph()
        made._names = self._names
        made._outer = self
        return made

    def body(
        self, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], rows: str = "rows"
    ) -> tuple[onnx.GraphProto, list[str]]:
        """This inner graph as an attribute, and the names it reads from the graphs around it.

        Args:
            name: the inner graph's name.
            inputs: what the node hands to it; a scalar is a tensor of width -1.
            outputs: what it hands back.
            rows: the name of the number of rows, another one where the inner graph works on some rows only.
        """
        needed = self._needed(outputs)
        nodes = [node for node in self._nodes if needed.intersection(node.outputs)]
        made = {output for node in nodes for output in node.outputs} | {tensor.name for tensor in inputs}
        copies = [tensor for tensor in outputs if tensor.name not in {o for node in nodes for o in node.outputs}]
        renamed = {tensor.name: self.unique(tensor.name) for tensor in copies}
        protos = [_proto(node, {}) for node in nodes]
        protos += [helper.make_node("Identity", [old], [new]) for old, new in renamed.items()]
        results = [_value_info(renamed.get(tensor.name, tensor.name), tensor, rows) for tensor in outputs]
        graph = helper.make_graph(protos, name, [_value_info(tensor.name, tensor, rows) for tensor in inputs], results)
        read = {name for node in nodes for name in (*node.inputs, *node.captured)} | set(renamed)
        return graph, sorted(read - made)

    def cast(self, tensor: Tensor, dtype: np.dtype | type) -> Tensor:
        """The same values as another element type; no node where it already is."""
        wanted = np.dtype(dtype)
        if tensor.dtype == wanted:
            return tensor
        return self.node("Cast", [tensor], wanted, tensor.width, attributes={"to": element_type(wanted)})

    def gather(self, tensor: Tensor, columns: Sequence[int]) -> Tensor:
        """Some columns, in the order given; no node where that is all of them as they are."""
        if list(columns) == list(range(tensor.width)):
            return tensor
        wanted = self.constant(columns, np.dtype(np.int64))
        return self.node("Gather", [tensor, wanted], tensor.dtype, len(columns), attributes={"axis": 1})

    def concat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Matrices of one element type side by side."""
        if len(tensors) == 1:
            return tensors[0]
        width = sum(tensor.width for tensor in tensors)
        return self.node("Concat", tensors, tensors[0].dtype, width, attributes={"axis": 1})

    def arithmetic(self, operator: str, left: Tensor | str, right: Tensor | str, like: Tensor) -> Tensor:
        """An elementwise operator whose result has the element type and width of `like`."""
        return self.node(operator, [left, right], like.dtype, like.width)

    def used_inputs(self, outputs: Sequence[Tensor]) -> set[str]:
        """Names of the graph inputs that these outputs depend on."""
        needed = self._needed(outputs)
        return {tensor.name for tensor in self._inputs if tensor.name in needed}

    def finish(self, name: str, outputs: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> onnx.ModelProto:
        """The checked model with these outputs and exactly these inputs."""
        needed = self._needed(list(outputs.values()))
        captured = {name for node in self._nodes for name in node.captured}
        made = {name for node in self._nodes for name in node.outputs} - captured
        renamed: dict[str, str] = {}
        copies: list[tuple[str, str]] = []
        for output, tensor in outputs.items():
            if tensor.name in made and tensor.name not in renamed:
                renamed[tensor.name] = output
            else:
                copies.append((tensor.name, output))
        nodes = [_proto(node, renamed) for node in self._nodes if needed.intersection(node.outputs)]
        nodes += [
            helper.make_node("Identity", [str(renamed.get(source, source))], [output]) for source, output in copies
        ]
        constants = [proto for name, proto in self._constants.values() if name in needed]
        graph = helper.make_graph(
            nodes,
            name,
            [_value_info(tensor.name, tensor) for tensor in inputs],
            [_value_info(name, tensor) for name, tensor in outputs.items()],
            initializer=constants,
        )
        opsets = [helper.make_opsetid(domain if domain != "ai.onnx" else "", v) for domain, v in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="monorail", ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _needed(self, outputs: Sequence[Tensor]) -> set[str]:
        needed = {tensor.name for tensor in outputs}
        for node in reversed(self._nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                needed.update(node.captured)
        return needed


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes() if value.dtype != TEXT else tuple(value.ravel()))
    if isinstance(value, TensorProto | onnx.GraphProto):
        return value.SerializeToString(deterministic=True)
    return tuple(value) if isinstance(value, list) else value


def _proto(node: _Node, renamed: Mapping[str, str]) -> onnx.NodeProto:
    attributes: dict[str, Any] = {
        name: numpy_helper.from_array(value, name) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
    }
    inputs = [renamed.get(name, name) for name in node.inputs]
    outputs = [renamed.get(name, name) for name in node.outputs]
    made = helper.make_node(node.operator, inputs, outputs, domain=node.domain)
    made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return made


def _value_info(name: str, tensor: Tensor, rows: str = "rows") -> onnx.ValueInfoProto:
    shape: list[str | int] = [] if tensor.width < 0 else [rows] if tensor.width == 0 else [rows, tensor.width]
    return helper.make_tensor_value_info(name, element_type(tensor.dtype), shape)
