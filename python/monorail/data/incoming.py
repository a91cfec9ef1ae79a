"""From the user's kind of data to an Arrow table, without copying where that can be.

Nothing is coerced here: whether a column's type goes with a signature is Rust's to say. What cannot be one Arrow type
(a column of strings and numbers, say) is refused here, by column and row.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..errors import InputError, MonorailError, SignatureError
from .types import arrow_type

if TYPE_CHECKING:
    import pandas as pd

    from ..signature import Signature

#: Name of the one column that a NumPy array becomes.
TENSOR_COLUMN = "input"
#: What a column of one type that is still no input was expected to be.
_HELD = "a type that signatures hold"
#: What ``pandas.api.types.infer_dtype`` calls object columns that are of one kind.
_PLAIN_OBJECTS = {"string", "boolean", "integer", "floating", "date", "datetime", "empty"}


class _MixedError(Exception):
    """A column that is not of one Arrow type: what was expected, what was found, and where."""

    def __init__(self, expected: str, got: str, row: int | None = None) -> None:
        super().__init__(got)
        self.expected, self.got, self.row = expected, got, row


def to_arrow(data: Any, signature: Signature | None = None) -> pa.Table:
    """Make an Arrow table of what the user holds.

    Args:
        data: A pandas or Polars frame, an Arrow table, batch or reader, anything with the Arrow PyCapsule interface, a
            NumPy array (one tensor column ``input``), a dict of scalars (one row), a dict of lists or arrays (columns),
            or a list of dicts (rows).
        signature: Of the model the data is for. Gives columns that hold only nulls their type, tells a record from
            columns where lists are values, and makes faults ``wrong_type`` instead of ``unsupported_column``.

    Returns:
        A table with the data's own column order.

    Raises:
        SignatureError: ``unsupported_column`` (no signature): the columns that are of no single type.
        InputError: ``wrong_type`` or ``wrong_shape`` (with a signature), or data of a kind that is not known.
    """
    if isinstance(data, np.ndarray):
        return _from_numpy(data, signature)
    if isinstance(data, pa.Table):
        table = data
    elif isinstance(data, pa.RecordBatch):
        table = pa.Table.from_batches([data])
    elif is_pandas(data):
        table = _from_columns(_pandas_columns(data), signature)
    elif hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        try:
            table = read_stream(data)
        except (pa.ArrowInvalid, TypeError) as error:  # one column, not a table
            raise _unknown_kind(data) from error
    elif isinstance(data, Mapping):
        columns = {name: [value] for name, value in data.items()} if is_record(data, signature) else data
        table = _from_columns(columns, signature)
    elif isinstance(data, Sequence) and not isinstance(data, str) and all(isinstance(row, Mapping) for row in data):
        table = _from_columns(_columns_of_rows(data), signature)
    else:
        raise _unknown_kind(data)
    return table if signature is None else _typed_nulls(table, signature)


def read_stream(data: Any) -> pa.Table:
    """A table of anything with the Arrow PyCapsule interface. Unlike ``pyarrow.table`` it does not import pandas."""
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data).read_all()
    return pa.Table.from_batches([pa.record_batch(data)])


def is_pandas(data: object) -> bool:
    """Whether it is a pandas frame; pandas is never imported for it."""
    module = sys.modules.get("pandas")
    return module is not None and isinstance(data, module.DataFrame)


def is_polars(data: object) -> bool:
    """Whether it is a Polars frame; Polars is never imported for it."""
    module = sys.modules.get("polars")
    return module is not None and isinstance(data, module.DataFrame)


def is_record(data: Mapping[str, Any], signature: Signature | None = None) -> bool:
    """Whether a dict is one record, not columns: no value is deeper than a value of its column.

    Args:
        data: The dict.
        signature: Says which columns are tensors, whose values are lists; without one, none is.
    """
    ranks = {} if signature is None else {c.name: len(c.shape or ()) for c in signature.inputs}
    return all(_depth(value) <= ranks.get(name, 0) for name, value in data.items())


def _depth(value: Any) -> int:
    """How many lists deep a value is."""
    if hasattr(value, "ndim"):
        return value.ndim
    if is_arrow_column(value):
        return 1
    if isinstance(value, list | tuple):
        return 1 + (_depth(value[0]) if value else 0)
    return 0


def is_arrow_column(column: Any) -> bool:
    """Whether it is a column with the Arrow PyCapsule interface. pandas has it too, but not for every type."""
    if type(column).__module__.partition(".")[0] == "pandas":
        return False
    return hasattr(column, "__arrow_c_array__") or hasattr(column, "__arrow_c_stream__")


def better_hint(error: InputError, data: Any) -> InputError:
    """The error, with pandas' own way out where a column of whole numbers came as floats because it has gaps."""
    if error.code == "wrong_type" and is_pandas(data):
        for place in error.details:
            name = place.get("column")
            whole = str(place.get("expected", "")).startswith(("int", "uint"))
            if whole and name in data.columns and getattr(data[name].dtype, "kind", "") == "f":
                error.hint = f"pandas makes whole numbers with gaps floats: frame[{name!r}].astype('Int64')"
                break
    return error


def _from_numpy(data: np.ndarray, signature: Signature | None) -> pa.Table:
    """One tensor column; rows are the first axis."""
    if data.dtype.names is not None or not _is_number(data.dtype) or data.ndim < 2:
        error = SignatureError if signature is None else InputError
        code = "unsupported_column" if signature is None else "wrong_shape"
        raise error(
            f"a NumPy array of {data.dtype} with {data.ndim} axes is not a matrix of numbers",
            code=code,
            hint="pass a two-dimensional array of numbers, or a frame with named columns",
        )
    if signature is not None and [c.type for c in signature.inputs] != ["tensor"]:
        names = [c.name for c in signature.inputs]
        raise InputError(
            "a NumPy array was given to a model with named columns",
            code="wrong_shape",
            hint=f"pass a frame or a dict with the columns {', '.join(names[:5])}{', …' if len(names) > 5 else ''}",
        )
    name = TENSOR_COLUMN if signature is None else signature.inputs[0].name
    return pa.table({name: _tensor(data)})


def _is_number(kind: np.dtype) -> bool:
    """Whether Arrow has the numbers; it has none of more than 8 bytes."""
    return kind.kind in "biuf" and kind.itemsize <= 8


def _tensor(values: np.ndarray) -> pa.Array:
    """Nested fixed-size lists over the array's own buffer."""
    array: pa.Array = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _pandas_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """The columns of a pandas frame by name."""
    odd = [name for name in frame.columns if not isinstance(name, str)]
    if odd:
        raise SignatureError(
            f"column names must be strings, and {odd[0]!r} is not",
            code="signature_invalid",
            hint="rename them, for example with frame.columns = frame.columns.map(str), and fit the model again",
        )
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"column {twice!r} is there twice", code="duplicate_column", hint="rename or drop one")
    return {name: frame[name] for name in frame.columns}


def _columns_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of a list of dicts, in order of first appearance; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _from_columns(columns: Mapping[str, Any], signature: Signature | None) -> pa.Table:
    """A table of columns that are each a list, a NumPy array, a pandas series or an Arrow array."""
    arrays: dict[str, Any] = {}
    faults: list[dict[str, Any]] = []
    for name, values in columns.items():
        try:
            arrays[name] = _array(values)
        except _MixedError as fault:
            detail: dict[str, Any] = {
                "code": "unsupported_column" if signature is None else "wrong_type",
                "column": name,
            }
            if fault.row is not None:
                detail["row"] = fault.row
            faults.append(detail | {"expected": fault.expected, "got": fault.got})
    if faults:
        raise _refused(faults, signature)
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{name!r} {length}" for name, length in list(lengths.items())[:5])
        raise InputError(f"columns are of different lengths: {text}", code="wrong_shape", hint="give all the same rows")
    return pa.table(arrays)


def _refused(faults: list[dict[str, Any]], signature: Signature | None) -> MonorailError:
    """The refusal of columns that are not of one type."""
    names = ", ".join(repr(fault["column"]) for fault in faults)
    kind, code = (InputError, "wrong_type") if signature else (SignatureError, "unsupported_column")
    message, hint = (
        "columns that are not of one type",
        "make each one type, for example with frame[column].astype('string')",
    )
    if all(fault["expected"] == _HELD for fault in faults):
        message = "columns of a type that no signature holds"
        hint = "convert them to numbers, bool, strings, dates or timestamps, or leave them out"
    return kind(
        f"{message}: {names}",
        code=code,
        hint=hint,
        details=faults[:100],
    )


def _array(values: Any) -> pa.Array | pa.ChunkedArray:
    """One column as Arrow.

    Raises:
        _MixedError: if its values are of no single type.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f" and not _is_number(values.dtype):
            raise _MixedError(_HELD, str(values.dtype))
        if values.ndim > 1 and _is_number(values.dtype):
            return _tensor(values)
        if _is_number(values.dtype) or values.dtype.kind == "M":
            return pa.array(values)
        values = values.tolist()
    if is_arrow_column(values):
        return pa.chunked_array(values) if hasattr(values, "__arrow_c_stream__") else pa.array(values)
    if hasattr(values, "dtype") and hasattr(values, "to_numpy"):
        return _series(values)
    return _objects(list(values) if isinstance(values, list | tuple) else [values])


def _series(series: Any) -> pa.Array | pa.ChunkedArray:
    """A pandas series as Arrow, over the same buffer where it is plain numbers."""
    if isinstance(series.dtype, np.dtype):
        if _is_number(series.dtype):
            return pa.array(series.to_numpy())
        if series.dtype.kind == "O":
            return _object_series(series)
    if getattr(series.dtype, "tz", None) is not None and not hasattr(series.dtype, "pyarrow_dtype"):
        return _zoned_series(series)
    try:
        array = pa.array(series, from_pandas=True)
        # Categories that are numbers come as the numbers; only text has a dictionary in a signature.
        return array.dictionary_decode() if _of_numbers(array.type) else array
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise _MixedError(_HELD, str(series.dtype)) from error


def _of_numbers(kind: pa.DataType) -> bool:
    """Whether it is a dictionary of numbers or bools."""
    if not pa.types.is_dictionary(kind):
        return False
    value = kind.value_type
    return pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value)


def _zoned_series(series: Any) -> pa.Array:
    """A pandas series of times with a zone; pyarrow's own way through ``.values`` is deprecated by pandas."""
    import pyarrow.lib

    kind = pa.timestamp(series.dtype.unit, pyarrow.lib.tzinfo_to_string(series.dtype.tz))
    return pa.array(series.dt.tz_convert(None).to_numpy()).cast(kind)


def _object_series(series: Any) -> pa.Array | pa.ChunkedArray:
    """A pandas object column, if all its values are of one kind."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(series, skipna=True)
    if kind in _PLAIN_OBJECTS:
        return pa.array(series, from_pandas=True)
    if kind == "mixed" and isinstance(next((v for v in series if v is not None), None), np.ndarray | list):
        return _objects(list(series))
    raise _first_odd(series.tolist(), kind)


def _objects(values: list[Any]) -> pa.Array | pa.ChunkedArray:
    """Python values as Arrow: all of one kind, or lists of one shape."""
    if any(isinstance(value, list | tuple | np.ndarray) for value in values):
        try:
            matrix = np.asarray(values)
        except ValueError:
            raise _MixedError("lists of one shape", "lists of several shapes") from None
        if not _is_number(matrix.dtype):
            raise _MixedError("lists of numbers of one shape", "something else")
        return _tensor(matrix)
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise _first_odd(values, "mixed") from error


def _first_odd(values: Sequence[Any], kind: str) -> _MixedError:
    """Where a column stops being of one kind."""
    known: type | None = None
    for row, value in enumerate(values):
        if value is None or (isinstance(value, float) and value != value):
            continue
        if known is None:
            known = type(value)
        elif type(value) is not known:
            return _MixedError(known.__name__, type(value).__name__, row)
    return _MixedError(_HELD, kind if known is None else known.__name__)


def _typed_nulls(table: pa.Table, signature: Signature) -> pa.Table:
    """Give columns that hold only nulls the type their signature says, so that they count as nulls of it."""
    for i, field in enumerate(table.schema):
        column = signature.column(field.name) if pa.types.is_null(field.type) else None
        if column is None:
            continue
        table = table.set_column(i, field.name, pa.nulls(len(table), arrow_type(column)))
    return table


def _unknown_kind(data: Any) -> InputError:
    """The refusal of data of a kind that is not known."""
    if isinstance(data, list | tuple):
        row = next((row for row, value in enumerate(data) if not isinstance(value, Mapping)), 0)
        got = type(data[row]).__name__
        return InputError(
            f"row {row} is of type {got}, not a dict",
            code="wrong_shape",
            hint="pass a list of dicts, a dict of lists, a frame, an Arrow table or a NumPy matrix",
            details=[{"code": "wrong_shape", "row": row, "expected": "dict", "got": got}],
        )
    kind = f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
    hint = "pass a pandas or Polars frame, an Arrow table, a NumPy matrix, a dict or a list of dicts"
    if type(data).__name__ == "LazyFrame":
        hint = "call .collect() first"
    elif type(data).__name__ == "Series":
        hint = "pass a frame: .to_frame().T for one row, .to_frame() for one column"
    return InputError(f"data of type {kind} is not a table", code="wrong_shape", hint=hint)
