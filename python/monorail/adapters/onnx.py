"""ONNX files: the original is the file itself, run by the `onnxruntime` package with that package's own defaults."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CompileError, InputError
from .base import Adapter, Description, class_modules, framework, quietly, versions
from .inside import inside
from .tensors import Port, feed, flat, output_names

_LIMIT_BYTES = (1 << 31) - 1
_DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
    "string": object,
}


class OnnxAdapter(Adapter):
    """`onnx.ModelProto`, whatever wrote it."""

    framework = "onnx"

    def recognises(self, model: object) -> bool:
        """Whether it is the protobuf message that `onnx.load` gives."""
        name = class_modules(model)[0]
        return name.startswith("onnx.") and name.endswith(".ModelProto")

    def describe(self, model: Any) -> Description:
        """Outputs by their names in the file; classes where the file lists them."""
        names = tuple(named_outputs(model))
        kind = "classifier" if "label" in names else "regressor"
        classes = next(iter(zip_maps(model).values()), []) if kind == "classifier" else ()
        return Description(kind, names, names, tuple(classes), versions("onnx"), (), "arrays")

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """What ONNX Runtime says; a file for batches of one size gets batches of that size."""
        session, wanted = _session(serialised(model)), named_outputs(model)
        fed = feed(ports(session), frame)
        rows = len(next(iter(fed.values())))
        step = fixed_rows(session) or max(rows, 1)
        asked = [wanted[name] for name in outputs]
        parts = []
        for start in range(0, rows, step):
            batch = {name: _padded(values[start : start + step], step) for name, values in fed.items()}
            parts.append(quietly(session.run, asked, batch))
        maps = zip_maps(model)
        found = {}
        for name, output, answers in zip(outputs, asked, zip(*parts, strict=True), strict=True):
            whole = [_dense(answer, maps.get(output)) for answer in answers]
            found[name] = flat(np.concatenate(whole)[:rows])
        return found


def open_file(path: Path) -> Any:
    """The `ModelProto` in a file, with tensors that lie in other files of its folder brought in.

    Raises:
        InputError: `malformed_request`: it is no ONNX file, or data is missing.
        TrustError: `untrusted`: it asks for data outside its folder.
    """
    onnx = framework("onnx", "onnx", "to read an ONNX file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (ValueError, onnx.checker.ValidationError) as error:
        raise _unreadable(path, str(error)) from error
    except Exception as error:  # protobuf's DecodeError, whose module differs by its version
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    if not model.graph.node:
        raise _unreadable(path, "it holds no graph")
    total = path.stat().st_size
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            total += _bring_in(path, tensor)
            if total > _LIMIT_BYTES:
                raise _unreadable(path, "with its data it has more than 2 GiB")
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph and of the graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)


def _bring_in(path: Path, tensor: Any) -> int:
    """Puts a tensor's data in its place; gives its size."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    file = inside(path.parent, said.get("location"), path.name)
    size = file.stat().st_size
    try:
        start = int(said.get("offset") or 0)
        length = int(said.get("length") or size - start)
    except ValueError as error:
        raise _unreadable(path, f"the place of the tensor `{tensor.name}` is no number") from error
    if not file.is_file() or start < 0 or length < 0 or start + length > size or length > _LIMIT_BYTES:
        raise _unreadable(path, f"the tensor `{tensor.name}` is not where it is said to be in {file.name}")
    with file.open("rb") as stream:
        stream.seek(start)
        tensor.raw_data = stream.read(length)
    del tensor.external_data[:]
    tensor.data_location = 0
    return length


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be opened: {why}",
        code="malformed_request",
        hint="check that the file is whole, and its data beside it",
    )


def serialised(model: Any) -> bytes:
    """The file's bytes.

    Raises:
        CompileError: `cannot_compile`: it is larger than the 2 GiB that one message holds.
    """
    try:
        return model.SerializeToString()
    except ValueError as error:
        raise CompileError(
            f"the ONNX model cannot be written in one piece: {error}",
            code="cannot_compile",
            hint="a graph of at most 2 GiB can be served",
        ) from error


def named_outputs(model: Any) -> dict[str, str]:
    """The file's outputs by the names that the signature gives them."""
    theirs = [output.name for output in model.graph.output]
    if not theirs:
        raise CompileError("the ONNX file has no outputs", code="cannot_compile", hint="export it again")
    return dict(zip(output_names(theirs), theirs, strict=True))


def zip_maps(model: Any) -> dict[str, list[Any]]:
    """For outputs that are lists of dicts (as skl2onnx writes probabilities) the classes in order."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml":
            classes: list[Any] = []
            for attribute in node.attribute:
                classes += [text.decode("utf-8", "replace") for text in attribute.strings] or list(attribute.ints)
            found[node.output[0]] = classes
    return found


def open_session(graph: bytes) -> Any:
    """A session of ONNX Runtime over a graph, silent.

    Raises:
        CompileError: `cannot_compile`: the runtime refuses it.
    """
    runtime = framework("onnxruntime", "onnx", "to run an ONNX file")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base but this one
        raise CompileError(
            f"ONNX Runtime refuses the graph: {_first_line(error)}",
            code="cannot_compile",
            hint="export it for an operator set that the installed onnxruntime knows",
        ) from error


def ports(session: Any) -> list[Port]:
    """What the graph takes.

    Raises:
        CompileError: `cannot_compile`: an input that is no tensor of numbers or text with rows first.
    """
    made = []
    for entry in session.get_inputs():
        element = entry.type.removeprefix("tensor(").removesuffix(")")
        if element not in _DTYPES or not entry.shape:
            raise CompileError(
                f"the graph's input `{entry.name}` is {entry.type} of shape {entry.shape}, which no column becomes",
                code="cannot_compile",
                hint="export the model with tensors as inputs whose first dimension is the batch",
            )
        shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in entry.shape[1:])
        made.append(Port(entry.name, np.dtype(_DTYPES[element]), shape))
    return made


def fixed_rows(session: Any) -> int:
    """The one batch size the graph is declared for, 0 where it is free."""
    sizes = {entry.shape[0] for entry in session.get_inputs() if entry.shape and isinstance(entry.shape[0], int)}
    return max(sizes, default=0)


def probe(session: Any, rows: int) -> list[np.ndarray]:
    """The graph's answers for rows of zeros (or empty text), to see shapes and types.

    Raises:
        CompileError: `cannot_compile`: it fails on them.
    """
    fed = {}
    for port in ports(session):
        shape = tuple(1 if size is None else size for size in port.shape or ())
        if math.prod(shape) > 1 << 26:
            raise CompileError(
                f"the graph's input `{port.name}` has rows of shape {list(shape)}",
                code="cannot_compile",
                hint="a row holds at most 65,536 numbers",
            )
        fill: Any = "" if port.dtype == np.dtype(object) else 0
        fed[port.name] = np.full((rows, *shape), fill, dtype=port.dtype)
    try:
        return session.run(None, fed)
    except Exception as error:  # its exceptions share no base but this one
        raise CompileError(
            f"the graph fails on a batch of {rows} rows: {_first_line(error)}",
            code="cannot_compile",
            hint="export it with a dynamic batch dimension",
        ) from error


@functools.lru_cache(maxsize=2)
def _session(graph: bytes) -> Any:
    return open_session(graph)


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    missing = rows - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


def _dense(answer: Any, classes: Sequence[Any] | None) -> np.ndarray:
    if classes is None:
        return np.asarray(answer)
    return np.asarray([[row[name] for name in classes] for row in answer], np.float32)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
