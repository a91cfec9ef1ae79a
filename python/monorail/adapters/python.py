"""A plain Python class: `predict`, and perhaps `load` and `warmup`. Also what its answers are as columns.

`predict(self, batch)` gets a `pyarrow.RecordBatch`, or a pandas frame where it is annotated so, and gives a record
batch or table, a frame, a dict of columns, or one column alone.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import CompileError, SignatureError
from .base import Adapter, Description, class_modules, versions
from .mlflow import PythonFunction

#: The name of the output of a class that answers with one column without a name.
ALONE = "prediction"
#: Output types by what Arrow calls them; anything narrower is widened.
_WIDER = {
    "int8": pa.int32(),
    "int16": pa.int32(),
    "uint8": pa.int32(),
    "uint16": pa.int32(),
    "uint32": pa.int64(),
    "halffloat": pa.float32(),
    "large_string": pa.string(),
    "string_view": pa.string(),
}
_HELD = {
    pa.bool_(): "bool",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.string(): "string",
}


#: Classes whose instances other adapters know.
_FITTED = (
    "sklearn.base.BaseEstimator",
    "lightgbm.basic.Booster",
    "xgboost.core.Booster",
    "torch.nn.modules.module.Module",
)


class PythonAdapter(Adapter):
    """Any class or instance with `predict`; asked last, after every framework."""

    framework = "python"

    def recognises(self, model: object) -> bool:
        """Whether it has a `predict` to call."""
        return callable(getattr(model, "predict", None))

    def describe(self, model: Any) -> Description:
        """What `predict` takes; what it gives only its answer tells."""
        if isinstance(model, type) and any(_derives(model, name) for name in _FITTED):
            raise CompileError(
                f"{model.__qualname__} is a class, not a fitted model",
                code="unknown_framework",
                hint="pass what fit has given",
            )
        bases = {name.partition(".")[0] for name in class_modules(model) if not isinstance(model, type)}
        return Description("class", (), (), (), versions(*sorted(bases - {"builtins", "__main__"})), (), takes(model))

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """`predict`, its columns as arrays by name; all of them where no output is named."""
        table = answer_table(model.predict(frame), outputs)
        rows = frame.num_rows if isinstance(frame, pa.RecordBatch) else len(frame)
        if len(table) != rows:
            raise _unsupported(f"predict gave {len(table)} rows for {rows}", f"{len(table)} rows")
        return {name: _values(table.column(name)) for name in outputs or table.column_names}

    def folder(self, model: Any) -> Path | None:
        """That of the artifacts of MLflow's Python model; whatever else a class reads, `files=` names."""
        return model.folder if isinstance(model, PythonFunction) else None


def _derives(kind: type, name: str) -> bool:
    """Whether a class of that qualified name is among the bases."""
    return any(f"{base.__module__}.{base.__qualname__}" == name for base in kind.__mro__)


def takes(model: object) -> str:
    """What `predict` of a class or instance takes: "pandas" where it is annotated so, else "batch"."""
    predict: Any = getattr(model, "predict", None)
    try:
        names = list(inspect.signature(predict).parameters.values())
    except (TypeError, ValueError):
        return "batch"
    if isinstance(model, type) and not isinstance(inspect.getattr_static(model, "predict"), staticmethod | classmethod):
        names = names[1:]
    annotation = names[0].annotation if names else None
    if isinstance(annotation, str):
        annotation = _named(annotation.strip("'\" "), inspect.unwrap(predict))
    if isinstance(annotation, str):
        # What only a type checker imports; its own words have to do.
        root, _, last = annotation.rpartition(".")
        return "pandas" if last == "DataFrame" and root in ("", "pd", "pandas") else "batch"
    return "pandas" if getattr(annotation, "__module__", "").partition(".")[0] == "pandas" else "batch"


def _named(words: str, function: Any) -> Any:
    """What dotted words mean where a function was written; the words where nothing has that name."""
    first, *rest = words.split(".")
    found: Any = getattr(function, "__globals__", {}).get(first)
    for word in rest:
        found = getattr(found, word, None)
    return words if found is None else found


def start(model: Any, folder: Path) -> Any:
    """An instance that is ready to predict: made, its files loaded, warmed up.

    Args:
        model: a class, made without arguments, or an instance, which itself is left as it is.
        folder: what `load` gets: the files it was saved with.
    """
    instance = model() if isinstance(model, type) else _copied(model)
    if callable(getattr(instance, "load", None)):
        instance.load(str(folder))
    if callable(getattr(instance, "warmup", None)):
        instance.warmup()
    return instance


def _copied(model: Any) -> Any:
    """A copy, so that what `load`, `warmup` and `predict` keep for later is not stored with the object."""
    try:
        return copy.copy(model)
    except Exception:  # what cannot be copied cannot be stored: the refusal says which part of it
        return model


def declared(model: Any, name: str) -> bool | None:
    """`row_wise` or `idempotent` as the class says it; None where it says nothing."""
    value = getattr(model, name, None)
    return value if isinstance(value, bool) else None


def answer_table(answer: Any, names: Sequence[str] = ()) -> pa.Table:
    """What `predict` gave, as a table of types that outputs have.

    Args:
        answer: a record batch or table, a pandas or Polars frame, a dict of columns, or one column.
        names: the outputs; one column alone takes the name of the only one.

    Raises:
        SignatureError: `unsupported_column`: an answer, or a column of it, that no output holds.
    """
    columns = {name: _column(name, values) for name, values in _columns(answer, names).items()}
    lengths = {len(column) for column in columns.values()}
    if not columns or len(lengths) > 1:
        raise _unsupported("predict gave " + ("columns of different lengths" if columns else "no columns"), "")
    return pa.table(columns)


def outputs_of(table: pa.Table) -> list[dict[str, Any]]:
    """The signature's outputs of such a table."""
    outputs = []
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if pa.types.is_fixed_size_list(kind):
            numbers = [str(number) for number in range(kind.list_size)]
            outputs.append({"name": name, "type": _HELD[kind.value_type], "size": kind.list_size, "names": numbers})
        else:
            outputs.append({"name": name, "type": _HELD[kind]})
    return outputs


def _columns(answer: Any, names: Sequence[str]) -> dict[str, Any]:
    """The columns of an answer by name, as they are."""
    if isinstance(answer, pa.Table | pa.RecordBatch):
        return _by_name(zip(answer.schema.names, answer.columns, strict=True))
    if isinstance(answer, Mapping):
        return _by_name(answer.items())
    module, kind = type(answer).__module__.partition(".")[0], type(answer).__name__
    if module == "pandas" and kind == "DataFrame":
        return _by_name(answer.items())
    if module == "polars" and kind == "DataFrame":
        return _columns(answer.to_arrow(), names)
    if isinstance(answer, np.ndarray | pa.Array | pa.ChunkedArray | list | tuple) or kind == "Series":
        if isinstance(answer, np.ndarray) and answer.ndim == 0:
            raise _unsupported("predict gave one number for all rows", "a number")
        return {names[0] if len(names) == 1 else ALONE: answer}
    raise _unsupported(f"predict gave a {module}.{kind}, which is no answer", kind)


def _by_name(columns: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Columns by name, each of which stands once."""
    found: dict[str, Any] = {}
    for name, values in columns:
        if str(name) in found:
            raise _unsupported(f"predict gave two columns {str(name)!r}", "two columns", str(name))
        found[str(name)] = values
    return found


def _column(name: str, values: Any) -> pa.Array:
    """One column of an answer in a type that outputs have."""
    try:
        array = _arrow(values)
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            array = _arrow(np.asarray(array.to_pylist()))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, OverflowError) as error:
        raise _unsupported(
            f"output {name!r} of predict is of no single type: {error}", "several types", name
        ) from error
    if pa.types.is_fixed_size_list(array.type):
        flat = _widened(name, array.flatten())
        if len(flat) != len(array) * array.type.list_size:
            raise _unsupported(f"output {name!r} of predict has a null among its lists", "null", name)
        return pa.FixedSizeListArray.from_arrays(flat, array.type.list_size)
    return _widened(name, array)


def _arrow(values: Any) -> pa.Array:
    """Any one column as one Arrow array."""
    module = type(values).__module__.partition(".")[0]
    nested = isinstance(values, list | tuple) and any(isinstance(value, list | tuple | np.ndarray) for value in values)
    matrix = np.asarray(values) if nested or module == "numpy" else None
    if matrix is not None and matrix.ndim > 1:
        flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(matrix.shape[1:])))
    array: Any = values
    if module == "polars":
        array = array.to_arrow()
    elif module != "pyarrow":
        array = pa.array(values, from_pandas=module == "pandas")
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _widened(name: str, array: pa.Array) -> pa.Array:
    """Numbers and text in one of the six types of outputs, without nulls but NaN."""
    array = array.cast(_WIDER.get(str(array.type), array.type))
    if array.type not in _HELD:
        raise _unsupported(f"output {name!r} of predict is of type {array.type}", str(array.type), name)
    if array.null_count:
        if not pa.types.is_floating(array.type):
            raise _unsupported(f"output {name!r} of predict holds a null, and {array.type} has none", "null", name)
        array = pc.fill_null(array, float("nan"))
    return array


def _unsupported(message: str, got: str, name: str | None = None) -> SignatureError:
    place = [{"code": "unsupported_column", "column": name, "expected": "numbers, bool or text", "got": got}]
    return SignatureError(
        message,
        code="unsupported_column",
        hint="give a record batch, a frame, a dict of columns or one column, of numbers, bool or text",
        details=place if name else [],
    )


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """A column as an array, `[rows]` or `[rows, size]`."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    return array.to_numpy(zero_copy_only=False)
