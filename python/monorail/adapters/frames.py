"""Arrow tables in the form a model was fitted with: the example the user gave is the pattern.

A form is words only, so that it travels in a bundle: the worker process makes its frames with the very code that the
proof does. It needs numpy, pyarrow and the frames' own library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import SignatureError


@dataclass(frozen=True)
class Form:
    """How to turn a table of the signature's types into what the original takes.

    Attributes:
        kind: "numpy" (one tensor column), "matrix" (numeric columns as one array), "pandas", "polars", "series" (one
            column of text as a list), "records" (a list of dicts, without what is null), "batch" (a record batch) or
            "arrays" (a dict of NumPy arrays by column).
        dtypes: words for the example's element types by column, where they are more than the signature's type says:
            pandas' own names, "arrow", or categories and whether they are ordered.
        null_text: what a null is to the original, "nan" or "none", of the columns where something says it.
    """

    kind: str
    dtypes: dict[str, Any] = field(default_factory=dict)
    null_text: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(example: Any, feature_names: Sequence[str] = (), takes: str = "") -> Form:
        """The form of an example.

        Args:
            example: what the user passed as `example=`.
            feature_names: the columns the model was fitted on; empty if it was fitted on an array.
            takes: the kind of form that the model takes whatever the example is (`Description.takes`).

        Raises:
            SignatureError: `unsupported_column`: columns that hold both None and NaN.
        """
        if takes and takes != "pandas":
            return Form(takes)
        module = type(example).__module__.partition(".")[0]
        if not takes and module == "numpy":
            return Form("numpy")
        if module == "pandas" and hasattr(example, "dtypes"):
            if not takes and not feature_names and all(_plain_number(dtype) for dtype in example.dtypes):
                return Form("matrix")
            dtypes = {str(name): _pandas_word(example.dtypes[name]) for name in example.columns}
            return Form("pandas", dtypes, nulls_of(example))
        if module == "polars" and hasattr(example, "schema") and not takes:
            words = {name: _polars_word(dtype) for name, dtype in example.schema.items()}
            return Form("polars", {name: word for name, word in words.items() if word})
        return Form("pandas" if feature_names or takes else "matrix")

    @staticmethod
    def from_json(form: Mapping[str, Any]) -> Form:
        """The form that `to_json` gave."""
        return Form(form["kind"], dict(form.get("dtypes", {})), dict(form.get("null_text", {})))

    def to_json(self) -> dict[str, Any]:
        """Words, lists and dicts alone."""
        return {"kind": self.kind, "dtypes": self.dtypes, "null_text": self.null_text}

    def with_nulls(self, null_text: Mapping[str, str]) -> Form:
        """This form with nulls as the fitted steps know them (`Compiled.null_text`).

        A Polars frame cannot hold NaN in text, so a model that was fitted on it is asked through pandas.
        """
        if self.kind == "polars":
            return Form("pandas", {}, dict(null_text)) if "nan" in null_text.values() else self
        return Form(self.kind, self.dtypes, {**self.null_text, **null_text})

    def frame(self, table: pa.Table) -> Any:
        """The table's rows for the original."""
        if self.kind == "numpy":
            return tensor_values(table.column(0))
        if self.kind == "matrix":
            if not all(_is_number(kind) for kind in table.schema.types):
                return _pandas(table, {}, self.null_text)
            return np.column_stack([_numbers(table[name]) for name in table.column_names])
        if self.kind == "polars":
            return _polars(table, self.dtypes)
        if self.kind == "series":
            return table.column(0).to_pylist()
        if self.kind == "records":
            return [{name: value for name, value in row.items() if not _is_null(value)} for row in table.to_pylist()]
        if self.kind == "batch":
            return one_batch(table)
        if self.kind == "arrays":
            return {name: _as_array(table[name]) for name in table.column_names}
        return _pandas(table, self.dtypes, self.null_text)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """The table as one record batch, also where it has no rows."""
    batches = table.combine_chunks().to_batches()
    if batches:
        return batches[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)


def tensor_values(column: pa.ChunkedArray) -> np.ndarray:
    """A tensor column as an array with one row a record; null elements are NaN."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    rows, shape = len(array), []
    while pa.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    if array.null_count and pa.types.is_floating(array.type):
        array = pc.fill_null(array, float("nan"))
    values = array.to_numpy(zero_copy_only=False).reshape(rows, *shape)
    # Arrow's memory is read-only, and some originals ask for an array they could write to.
    return values if values.flags.writeable else values.copy()


def _plain_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _pandas_word(dtype: Any) -> Any:
    """A pandas element type as words."""
    kind = type(dtype).__name__
    if kind == "CategoricalDtype" and all(isinstance(word, str | int | float) for word in dtype.categories.tolist()):
        return {"categories": dtype.categories.tolist(), "ordered": bool(dtype.ordered)}
    return "arrow" if kind == "ArrowDtype" else str(dtype)


def _polars_word(dtype: Any) -> str:
    """A Polars element type as a word, "" where the signature's type says it.

    An Enum cannot hold the words that hard rows bring; as text they are the same to the original.
    """
    name = type(dtype).__name__ if not isinstance(dtype, type) else dtype.__name__
    if name == "Datetime":
        return f"Datetime {dtype.time_unit}"
    return name if name == "Categorical" else ""


def _polars(table: pa.Table, words: Mapping[str, str]) -> Any:
    import polars

    frame: Any = polars.from_arrow(table)
    kinds: dict[str, Any] = {}
    for name, word in words.items():
        if name not in table.column_names:
            continue
        if word == "Categorical":
            kinds[name] = polars.Categorical
        else:
            unit: Any = word.removeprefix("Datetime ")
            kinds[name] = polars.Datetime(unit, frame.schema[name].time_zone)
    return frame.cast(kinds)


def nulls_of(example: Any) -> dict[str, str]:
    """What nulls are in the columns of a pandas frame that hold one: "none" or "nan"."""
    found, both = {}, []
    for name in example.columns:
        series = example[name]
        if not series.isna().any():
            continue
        values = series.to_numpy() if series.dtype == np.dtype(object) else ()
        none = any(value is None for value in values)
        if none and any(isinstance(value, float) and value != value for value in values):
            both.append(str(name))
        found[str(name)] = "none" if none else "nan"
    if both:
        names = ", ".join(f"`{name}`" for name in both)
        raise SignatureError(
            f"{names}: holds both None and NaN, which the model tells apart",
            code="unsupported_column",
            hint="make them one, in the data the model is fitted on too",
            details=[{"code": "unsupported_column", "column": name, "got": "None and NaN"} for name in both],
        )
    return found


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A numeric column as numpy; integers and bools with nulls become float64 with NaN."""
    if pa.types.is_floating(column.type):
        return pc.fill_null(column, float("nan")).to_numpy()
    if column.null_count:
        column = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    return column.to_numpy()


def _as_array(column: pa.ChunkedArray) -> np.ndarray:
    """A column as an array, rows first; text is objects."""
    if isinstance(column.type, pa.BaseExtensionType) or pa.types.is_fixed_size_list(column.type):
        return tensor_values(column)
    return _numbers(column) if _is_number(column.type) else _objects(column)


def _pandas(table: pa.Table, words: Mapping[str, Any], nulls: Mapping[str, str]) -> Any:
    import pandas

    columns = {}
    for name in table.column_names:
        columns[name] = _series(table[name], words.get(name), nulls.get(name, "nan"))
    return pandas.DataFrame(columns)


def _series(column: pa.ChunkedArray, word: Any, null: str) -> Any:
    import pandas

    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    if null == "none":
        return pandas.Series(_objects(column), dtype=object)
    if isinstance(word, Mapping):
        return _categories(column, word)
    if word == "category":
        # Whole numbers stay whole numbers beside a null.
        return pandas.Series(pandas.Categorical(column.to_pylist() if column.null_count else column.to_pandas()))
    if word == "arrow":
        return column.to_pandas(types_mapper=pandas.ArrowDtype)
    dtype: Any = None if word is None else pandas.api.types.pandas_dtype(word)
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    of_objects = dtype is None and null == "nan" and column.null_count and pa.types.is_boolean(column.type)
    if of_objects or (isinstance(dtype, np.dtype) and dtype.kind == "O"):
        values = _objects(column)
        values[column.is_null().to_numpy().astype(bool)] = np.nan
        return pandas.Series(values, dtype=object)
    if isinstance(dtype, np.dtype) and _plain_number(dtype) and _is_number(column.type):
        values = _numbers(column)
        return pandas.Series(values if column.null_count else values.astype(dtype, copy=False))
    if dtype is not None and not isinstance(dtype, np.dtype) and (text or _is_number(column.type)):
        return column.to_pandas(types_mapper=lambda kind: dtype)
    if dtype is not None and pa.types.is_timestamp(column.type):
        return _times(column, dtype)
    return column.to_pandas()


def _categories(column: pa.ChunkedArray, word: Mapping[str, Any]) -> Any:
    """A categorical series with the fitted categories, so that codes stay what they were; new words come after them."""
    import pandas

    known = dict.fromkeys(word["categories"])
    held = [value for value in column.unique().to_pylist() if not _is_null(value)]
    new = sorted(value for value in held if value not in known)
    # Numbers keep their width; with a null beside them pandas would make them floats.
    plain = column.type.to_pandas_dtype() if _is_number(column.type) else None
    dtype = pandas.CategoricalDtype(pandas.Index([*known, *new], dtype=plain), word["ordered"])
    values: Any = column.to_pylist() if plain is not None else column.to_pandas()
    return pandas.Series(pandas.Categorical(values, dtype=dtype))


def _times(column: pa.ChunkedArray, dtype: Any) -> Any:
    """Times in the unit of the example; one that nanoseconds cannot hold leaves all in microseconds."""
    series: Any = column.to_pandas()
    try:
        return series.astype(dtype)
    except (ValueError, OverflowError):
        return series


def _objects(column: pa.ChunkedArray) -> np.ndarray:
    """A column as Python's own values, one an element also where each is a list."""
    values = np.empty(len(column), dtype=object)
    for row, value in enumerate(column.to_pylist()):
        values[row] = value
    return values
