"""A graph that somebody else wrote becomes our native stage: signature columns in, rows of flat lists out.

Nothing inside the graph is changed. In front of it come the nodes that bring columns to its inputs (stack, cast,
reshape), behind it those that flatten and widen its outputs.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...adapters.onnx import open_session, ports, probe, serialised
from ...adapters.tensors import Port, arrange, row_shape
from ...errors import CompileError
from ..build import Compiled
from ..columns import Column
from ..graph import RUNTIME, TEXT, unique_name
from .normal import check, normalise, opset

#: float32 arithmetic in another order: what two right implementations of one network may differ by.
TOLERANCE = 1e-5
_MAX_WIDTH = 65_536
#: The newest operator set that the runtime of our own graphs has.
_KNOWN_OPSET = 21
_WIDER = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.int8): np.dtype(np.int32),
    np.dtype(np.int16): np.dtype(np.int32),
    np.dtype(np.uint8): np.dtype(np.int32),
    np.dtype(np.uint16): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.int64),
    np.dtype(np.uint64): np.dtype(np.int64),
}


def adopt(
    model: onnx.ModelProto,
    signature_inputs: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    *,
    outputs: Sequence[str] | None = None,
    places: Mapping[str, list[str]] | None = None,
) -> Compiled:
    """Makes a native stage of a graph.

    Args:
        model: the graph.
        signature_inputs: the signature's inputs as bundle.json has them.
        names: the graph's outputs by the names that the signature gives them.
        outputs: names of outputs that must be among them.
        places: what the places of outputs that are lists are, by the signature's name; numbers otherwise.

    Raises:
        CompileError: `cannot_compile`: columns and inputs do not fit, or an output has no row per record.
    """
    absent = [name for name in outputs or () if name not in names]
    if absent:
        raise CompileError(
            f"the model has no output `{absent[0]}`", code="cannot_compile", hint=f"it offers {', '.join(names)}"
        )
    graph = normalise(model)
    _free_rows(graph)
    session = open_session(serialised(graph))
    found = _shapes(session, graph)
    around = _Around(graph, {entry["name"]: tuple(entry.get("shape") or ()) for entry in signature_inputs})
    stage_inputs = around.columns_in(ports(session), [Column.of(entry) for entry in signature_inputs])
    stage_outputs, signature, notes = [], [], []
    for name, theirs in names.items():
        answer = found[theirs]
        if answer is None:
            notes.append(f"the output `{name}` is left out: it has no row for every record")
            continue
        width = int(np.prod(answer.shape[1:], dtype=np.int64))
        if not 1 <= width <= _MAX_WIDTH and len(names) > 1:
            notes.append(f"the output `{name}` is left out: {width:,} numbers a row")
            continue
        if not 1 <= width <= _MAX_WIDTH:
            raise _cannot(f"the output `{name}` has {width:,} numbers a row; at most {_MAX_WIDTH:,} are served")
        tensor, dtype = around.flat_out(theirs, answer, width)
        stage_outputs.append({"name": name, "graph_output": tensor})
        entry: dict[str, Any] = {"name": name, "type": "string" if dtype == TEXT else dtype.name}
        if width > 1:
            listed = (places or {}).get(name, [])
            entry |= {
                "size": width,
                "names": listed if len(listed) == width else [str(number) for number in range(width)],
            }
        signature.append(entry)
    made = around.finish()
    stage = {"inputs": stage_inputs, "outputs": stage_outputs, **_needs(made)}
    single = any(answer is not None and answer.dtype in (np.float32, np.float16) for answer in found.values())
    return Compiled(made, stage, signature, [], notes, {}, TOLERANCE if single else None, smooth=True)


def _free_rows(model: onnx.ModelProto) -> None:
    """The first dimension of every input and output is the batch, of any size."""
    for entry in (*model.graph.input, *model.graph.output):
        tensor = entry.type.tensor_type
        if tensor.HasField("shape") and tensor.shape.dim:
            first = tensor.shape.dim[0]
            first.Clear()
            first.dim_param = "rows"


def _shapes(session: Any, model: onnx.ModelProto) -> dict[str, np.ndarray | None]:
    """The outputs for two rows, after a look at three; None for one without a row for every record, but the first."""
    two, three = probe(session, 2), probe(session, 3)
    found: dict[str, np.ndarray | None] = {}
    for entry, few, more in zip(model.graph.output, two, three, strict=True):
        few, more = np.asarray(few), np.asarray(more)
        rows = few.ndim > 0 and len(few) == 2 and len(more) == 3 and few.shape[1:] == more.shape[1:]
        if not rows and not found:
            shapes = f"{list(few.shape)} for 2 rows, {list(more.shape)} for 3"
            raise _cannot(f"the output `{entry.name}` has the shape {shapes}")
        found[entry.name] = few if rows else None
    return found


class _Around:
    """The nodes before and behind a graph."""

    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.model, self.graph, self.shapes = model, model.graph, shapes
        self.taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self.taken |= {entry.name for entry in (*self.graph.input, *self.graph.output)}
        self.taken |= {tensor.name for tensor in self.graph.initializer}
        self.before: list[onnx.NodeProto] = []
        self.behind: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def columns_in(self, inputs: Sequence[Port], columns: Sequence[Column]) -> list[dict[str, Any]]:
        """Feeds every input of the graph from columns; gives the stage's inputs."""
        by_name = {column.name: column for column in columns}
        stage: list[dict[str, Any]] = []
        for port, names in zip(inputs, arrange(inputs, list(by_name)), strict=True):
            chosen = [by_name[name] for name in names]
            for column in chosen:
                _check(port, column, packed=len(chosen) > 1)
            self._one_in(port, chosen, stage)
        return stage

    def _one_in(self, port: Port, columns: Sequence[Column], stage: list[dict[str, Any]]) -> None:
        # A scalar column has no shape, several together are one row of numbers.
        given = (len(columns),) if len(columns) > 1 else self.shapes[columns[0].name]
        shape = row_shape(port, given)
        groups: dict[np.dtype, list[Column]] = {}
        for column in columns:
            groups.setdefault(column.dtype, []).append(column)
        common = np.result_type(*groups) if len(groups) > 1 else next(iter(groups))
        parts = []
        for dtype, group in groups.items():
            # Where a graph takes one column as it is, its input gets the column's name.
            name = unique_name(group[0].name if len(columns) == 1 else f"{port.name}_{dtype.name}", self.taken)
            row = given if len(columns) == 1 else (len(group),)
            self.inputs.append(helper.make_tensor_value_info(name, _element(dtype), ["rows", *(row or (1,))]))
            stage.append(
                {"name": name, "type": "string" if dtype == TEXT else dtype.name, "columns": [c.name for c in group]}
            )
            parts.append(self._cast(name, dtype, common))
        whole = parts[0]
        if len(parts) > 1:
            whole = self._node("Concat", parts, axis=1)
            stacked = [column.name for group in groups.values() for column in group]
            order = [stacked.index(column.name) for column in columns]
            whole = self._node("Gather", [whole, self._constant(np.asarray(order, np.int64))], axis=1)
        whole = self._cast(whole, common, port.dtype or common)
        held = given or (1,)
        if shape != held:
            whole = self._node("Reshape", [whole, self._constant(np.asarray([-1, *shape], np.int64))])
        self.before.append(helper.make_node("Identity", [whole], [port.name]))

    def flat_out(self, theirs: str, answer: np.ndarray, width: int) -> tuple[str, np.dtype]:
        """Flattens and widens an output; gives the name and element type of the stage's output."""
        dtype = TEXT if answer.dtype.kind in "OUS" else answer.dtype
        wide = _WIDER.get(dtype, dtype)
        tensor = self._cast(theirs, dtype, wide, behind=True)
        if answer.ndim > 2:
            shape = self._constant(np.asarray([0, width], np.int64))
            tensor = self._node("Reshape", [tensor, shape], behind=True)
        row = [width] if answer.ndim > 1 else []
        self.outputs.append(helper.make_tensor_value_info(tensor, _element(wide), ["rows", *row]))
        return tensor, wide

    def finish(self) -> onnx.ModelProto:
        """The whole graph, checked."""
        graph = self.graph
        inner = list(graph.node)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*self.before, *inner, *self.behind)]
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.input[:]
        graph.input.extend(self.inputs)
        del graph.output[:]
        graph.output.extend(self.outputs)
        graph.name = "monorail"
        self.model.producer_name = "monorail"
        self.model.producer_version = ""
        check(self.model)
        return self.model

    def _constant(self, values: np.ndarray) -> str:
        name = unique_name("monorail_constant", self.taken)
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, operator: str, inputs: list[str], *, behind: bool = False, **attributes: Any) -> str:
        name = unique_name(f"monorail_{operator}", self.taken)
        (self.behind if behind else self.before).append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def _cast(self, name: str, dtype: np.dtype, wanted: np.dtype, *, behind: bool = False) -> str:
        if dtype == wanted:
            return name
        return self._node("Cast", [name], behind=behind, to=_element(wanted))


def _element(dtype: np.dtype) -> int:
    return onnx.TensorProto.STRING if dtype == TEXT else helper.np_dtype_to_tensor_dtype(dtype)


def _check(port: Port, column: Column, *, packed: bool) -> None:
    """Refuse a column that the input cannot take."""
    if packed and column.type == "tensor":
        raise _cannot(f"the input `{port.name}` takes all columns together, and `{column.name}` is a tensor")
    if column.type in ("date32", "timestamp"):
        raise _cannot(f"the column `{column.name}` is a {column.type}, which the input `{port.name}` does not take")
    wanted = port.dtype or column.dtype
    if (wanted == TEXT) != (column.dtype == TEXT):
        raise _cannot(f"the input `{port.name}` takes {_word(wanted)}, and the column `{column.name}` is {column.type}")
    if column.dtype == TEXT and column.nullable:
        raise _cannot(f"the column `{column.name}` may be null, and an ONNX input of text has no nulls")
    if wanted.kind in "iub" and column.dtype.kind == "f":
        raise _cannot(
            f"the input `{port.name}` takes {wanted.name}, and the column `{column.name}` holds fractions or nulls"
        )


def _word(dtype: np.dtype) -> str:
    return "text" if dtype == TEXT else dtype.name


def _needs(model: onnx.ModelProto) -> dict[str, Any]:
    """The operator sets of a graph, and the least runtime that has them."""
    sets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opset(model) <= _KNOWN_OPSET:
        return {"opsets": sets, "runtime": dict(RUNTIME)}
    installed = ".".join(importlib.metadata.version("onnxruntime").split(".")[:2])
    return {"opsets": sets, "runtime": {"onnxruntime": installed}}


def _cannot(reason: str) -> CompileError:
    return CompileError(
        reason, code="cannot_compile", hint="give the example as the model takes its inputs, rows first"
    )
