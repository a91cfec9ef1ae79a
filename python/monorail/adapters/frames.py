"""Arrow tables in the form a model was fitted with: the example the user gave is the pattern."""

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
        kind: "numpy" (one tensor column), "matrix" (numeric columns as one array), "pandas" or "polars".
        dtypes: for pandas the example's element type of each column, for polars its schema.
        null_text: what a null is to the original, "nan" or "none", of the columns where something says it.
    """

    kind: str
    dtypes: dict[str, Any] = field(default_factory=dict)
    null_text: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(example: Any, feature_names: Sequence[str] = ()) -> Form:
        """The form of an example.

        Args:
            example: what the user passed as `example=`.
            feature_names: the columns the model was fitted on; empty if it was fitted on an array.

        Raises:
            SignatureError: `unsupported_column`: columns that hold both None and NaN.
        """
        module = type(example).__module__.partition(".")[0]
        if isinstance(example, np.ndarray):
            return Form("numpy")
        if module == "pandas" and hasattr(example, "dtypes"):
            if not feature_names and all(_plain_number(dtype) for dtype in example.dtypes):
                return Form("matrix")
            dtypes = {str(name): example.dtypes[name] for name in example.columns}
            return Form("pandas", dtypes, _nulls_of(example))
        if module == "polars" and hasattr(example, "schema"):
            return Form("polars", dict(example.schema))
        return Form("pandas" if feature_names else "matrix")

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
            import polars

            frame = polars.from_arrow(table)
            # An Enum cannot hold the words that hard rows bring; as text they are the same to the original.
            kinds = {
                name: kind for name, kind in self.dtypes.items() if kind != polars.Enum and name in table.column_names
            }
            return frame.cast(kinds)  # type: ignore[union-attr]
        return _pandas(table, self.dtypes, self.null_text)


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
    return array.to_numpy(zero_copy_only=False).reshape(rows, *shape)


def _plain_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _nulls_of(example: Any) -> dict[str, str]:
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


def _pandas(table: pa.Table, dtypes: dict[str, Any], nulls: dict[str, str]) -> Any:
    import pandas

    columns = {}
    for name in table.column_names:
        columns[name] = _series(table[name], dtypes.get(name), nulls.get(name, "nan"))
    return pandas.DataFrame(columns)


def _series(column: pa.ChunkedArray, dtype: Any, null: str) -> Any:
    import pandas

    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if null == "none":
        return pandas.Series(_objects(column), dtype=object)
    if isinstance(dtype, pandas.CategoricalDtype):
        return column.to_pandas().astype("category")
    of_objects = dtype is None and null == "nan" and column.null_count and pa.types.is_boolean(column.type)
    if of_objects or (isinstance(dtype, np.dtype) and dtype.kind == "O"):
        values = _objects(column)
        values[column.is_null().to_numpy().astype(bool)] = np.nan
        return pandas.Series(values, dtype=object)
    if isinstance(dtype, np.dtype) and _plain_number(dtype):
        values = _numbers(column)
        return pandas.Series(values if column.null_count else values.astype(dtype, copy=False))
    if dtype is not None and not isinstance(dtype, np.dtype) and (text or _is_number(column.type)):
        return column.to_pandas(types_mapper=lambda kind: dtype)
    return column.to_pandas()


def _objects(column: pa.ChunkedArray) -> np.ndarray:
    """A column as Python's own values, one an element also where each is a list."""
    values = np.empty(len(column), dtype=object)
    for row, value in enumerate(column.to_pylist()):
        values[row] = value
    return values
