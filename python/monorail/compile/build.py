"""`compile_model`: a fitted model and a signature in, a graph and what the bundle says about it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ..adapters.sklearn import place_names
from ..errors import CompileError
from .adopted import adopt_model
from .columns import Column, Matrix, Raw, Reader, Text, starting_matrix
from .graph import OPSETS, RUNTIME, TEXT, Graph
from .registry import Context, Output, RefusalError, convert, not_in_example, qualified_name

_HINT = "put steps that compile in their place, or do their work on the data before the model, and fit again"
_DEFAULTS = ("label", "probability", "prediction", "features")


@dataclass(frozen=True)
class ColumnSplits:
    """Where a model changes its mind along one column, on the column's own scale.

    Attributes:
        column: signature column.
        element: position within a tensor column, else 0.
        at: values on one side, increasing; finite, in the column's element type in the graph.
        beside: for each the next value up, on the other side.
    """

    column: str
    element: int
    at: np.ndarray
    beside: np.ndarray


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    Attributes:
        graph: the checked ONNX model.
        stage: `inputs`, `outputs`, `opsets` and `runtime` as the bundle's stage lists them.
        outputs: the signature's outputs.
        splits: see `ColumnSplits`; what the threshold hard rows are made from.
        notes: sentences for the person who saves the model.
        null_text: what a null is to the fitted steps that see it, "nan" or "none", by column; ask the original so.
        tolerance: what answers computed in float32 may differ by, absolutely and relatively; None for the default.
        smooth: whether far outside what it was trained on its answers are overflow or rounding alone.
    """

    graph: onnx.ModelProto
    stage: dict[str, Any]
    outputs: list[dict[str, Any]]
    splits: list[ColumnSplits]
    notes: list[str] = field(default_factory=list)
    null_text: dict[str, str] = field(default_factory=dict)
    tolerance: float | None = None
    smooth: bool = False

    def to_bytes(self) -> bytes:
        """The ONNX file; the same model gives the same bytes."""
        return self.graph.SerializeToString(deterministic=True)


def compile_model(
    model: Any,
    signature_inputs: Sequence[Mapping[str, Any]],
    *,
    outputs: Sequence[str] | None = None,
    null_text: Mapping[str, str] | None = None,
) -> Compiled:
    """Compiles a fitted model to a float64-exact ONNX graph.

    Args:
        model: the fitted object.
        signature_inputs: the signature's inputs as bundle.json has them.
        outputs: names of outputs beyond the default ones (`score`, say).
        null_text: what a null is in the columns where the example shows one: "nan" or "none". Of other columns the
            fitted steps say it.

    Raises:
        CompileError: `cannot_compile`, naming every step that has no compiled form and why.
    """
    adopted = adopt_model(model, signature_inputs, outputs)
    if adopted is not None:
        return adopted
    shown = dict(null_text or {})
    made, context, columns = _convert(model, signature_inputs, shown)
    found = context.reader.nulls.decide(shown)
    if not found.items() <= shown.items():
        # Steps told of nulls that the example does not show; now that their kind is known, each step can be compiled.
        made, context, columns = _convert(model, signature_inputs, shown | found)
    return _finish(context, columns, _chosen(made, outputs), found)


def _convert(
    model: Any, signature_inputs: Sequence[Mapping[str, Any]], nulls: Mapping[str, str]
) -> tuple[dict[str, Output], Context, list[Column]]:
    """Every output of the model in a fresh graph."""
    columns = [Column.of(entry, nulls.get(entry["name"], "")) for entry in signature_inputs]
    reserved = [column.name for column in columns] + [f"{column.name}__valid" for column in columns]
    graph = Graph(reserved)
    context = Context(graph, Reader(graph, columns), "model")
    try:
        _check_names(context, model, columns)
        made = _answers(context, convert(context, model, starting_matrix(columns)), model)
    except RefusalError as refusal:
        raise _cannot_compile(refusal) from refusal
    return made, context, columns


def _cannot_compile(refusal: RefusalError) -> CompileError:
    steps = "; ".join(f"`{r.path}` ({r.kind}): {r.reason}" for r in refusal.refused)
    details = [{"code": "cannot_compile", "path": r.path, "got": r.kind} for r in refusal.refused]
    return CompileError(f"cannot compile {steps}", code="cannot_compile", hint=_HINT, details=details)


def _check_names(context: Context, model: Any, columns: Sequence[Column]) -> None:
    """Refuses an example that lacks a column which the first step was fitted on.

    A ColumnTransformer needs only the columns that it does not drop, and sees to them itself.
    """
    first: Any = model
    while hasattr(first, "steps"):
        first = next((step for _, step in first.steps if step not in (None, "passthrough")), None)
    kind = qualified_name(first)
    if not kind.startswith("sklearn.") or kind.endswith(".ColumnTransformer"):
        return
    given = {column.name for column in columns}
    absent = [str(name) for name in getattr(first, "feature_names_in_", ()) if str(name) not in given]
    array = len(columns) == 1 and columns[0].type == "tensor"
    if absent and not array:
        raise not_in_example(context, first, absent)


def _answers(context: Context, result: Any, model: Any) -> dict[str, Output]:
    """A model's outputs; a predictor that also transforms gives its features as a matrix."""
    if isinstance(result, Matrix):
        return {"features": _features(context, result, model)}
    made = {name: output for name, output in result.items() if isinstance(output, Output)}
    if isinstance(result.get("features"), Matrix):
        made["features"] = _features(context, result["features"], model)
    return made


def _features(context: Context, matrix: Matrix, model: Any) -> Output:
    """A matrix as an output of the original's element type: half floats are widened, and so are small integers."""
    if not matrix.features:
        raise context.refuse(model, "it gives no features")
    dtype = matrix.common()
    if dtype == TEXT:
        return _text_features(context, matrix, model)
    if dtype.kind in "iu":
        dtype = dtype if dtype == np.dtype(np.int32) else np.dtype(np.int64)
    tensor = context.reader.ordered(matrix, dtype)
    return Output(tensor, dtype.name, place_names(model, "features", tensor.width))


def _text_features(context: Context, matrix: Matrix, model: Any) -> Output:
    """Features that are all text and never null, side by side."""
    tensors = []
    for feature in matrix.features:
        source = feature.source
        text = context.reader.text(source.column) if isinstance(source, Raw) and feature.dtype == TEXT else source
        if not isinstance(text, Text):
            raise context.refuse(model, "it gives numbers and text together")
        if text.valid is not None:
            raise context.refuse(model, "it gives text that may be missing")
        tensors.append(text.tensor)
    tensor = context.graph.concat(tensors)
    return Output(tensor, "string", place_names(model, "features", tensor.width))


def _chosen(made: dict[str, Output], outputs: Sequence[str] | None) -> dict[str, Output]:
    default = [name for name in _DEFAULTS if name in made]
    if len(default) > 1 and "features" in default:
        # A predictor that also transforms: what it predicts is its answer.
        default.remove("features")
    if "label" in default and "probability" not in made and "score" in made:
        default.append("score")
    for name in outputs or ():
        if name not in made:
            raise CompileError(
                f"its graph has no output `{name}`",
                code="cannot_compile",
                hint=f"it offers {', '.join(sorted(made))}",
                details=[{"code": "cannot_compile", "path": "model", "expected": name}],
            )
        if name not in default:
            default.append(name)
    return {name: made[name] for name in default}


def _finish(context: Context, columns: Sequence[Column], chosen: dict[str, Output], nulls: dict[str, str]) -> Compiled:
    graph, reader = context.graph, context.reader
    tensors = {graph.unique(name): output.tensor for name, output in chosen.items()}
    used = graph.used_inputs(list(tensors.values()))
    kept = [p for p in reader.packings if p.tensor.name in used]
    texts = {p.columns[0].name for p in kept if p.columns} | {p.valid for p in kept if p.valid}
    kept = [
        p
        for p in reader.packings
        if p.tensor.name in used or p.valid in texts or (p.columns and p.columns[0].name in texts)
    ]
    inputs = []
    for packing in kept:
        entry: dict[str, Any] = {"name": packing.tensor.name, "type": _type_name(packing.tensor.dtype)}
        if packing.valid is not None:
            entry["valid"] = packing.valid
        else:
            entry["columns"] = [column.name for column in packing.columns]
        inputs.append(entry)
    if not inputs:
        raise CompileError(
            "the model's answer does not depend on any column",
            code="cannot_compile",
            hint="fit it on data that has something to learn",
            details=[{"code": "cannot_compile", "path": "model", "got": "a constant answer"}],
        )
    model = graph.finish("monorail", tensors, [packing.tensor for packing in kept])
    stage = {
        "inputs": inputs,
        "outputs": [{"name": n, "graph_output": g} for n, g in zip(chosen, tensors, strict=True)],
        "opsets": dict(OPSETS),
        "runtime": dict(RUNTIME),
    }
    signature = [_signature(n, o) for n, o in chosen.items()]
    near = bool(context.near)
    return Compiled(model, stage, signature, _splits(context, columns), context.notes, nulls, smooth=near)


def _type_name(dtype: np.dtype) -> str:
    return "string" if dtype == TEXT else dtype.name


def _signature(name: str, output: Output) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "type": output.type}
    if output.names is not None:
        entry |= {"size": output.tensor.width, "names": output.names}
    return entry


def _splits(context: Context, columns: Sequence[Column]) -> list[ColumnSplits]:
    by_name = {column.name: column for column in columns}
    result = []
    for (name, element), arrays in sorted(context.splits.items()):
        dtype = by_name[name].dtype
        values = np.unique(np.concatenate([np.asarray(array, np.float64) for array in arrays]))
        values = values[np.isfinite(values)]
        if dtype.kind == "b" or not len(values):
            continue
        if dtype.kind == "f":
            at = np.unique(values.astype(dtype))
            beside = np.nextafter(at, dtype.type(np.inf))
        else:
            info = np.iinfo(dtype)
            whole = [int(value) for value in np.floor(values) if info.min <= value < info.max]
            at = np.asarray(whole, dtype)
            beside = at + dtype.type(1)
        result.append(ColumnSplits(name, element, at, beside))
    return result
