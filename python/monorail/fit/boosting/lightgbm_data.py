"""LightGBM's own binned data, filled from blocks: the raw rows are never in memory at once.

LightGBM finds the bins from a sample of rows, and then takes rows a few at a time through its C interface. The sample
is of the very rows that it would take from the whole matrix, so bins, and with them the trees, are the same.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InputError, InternalError
from ..learning import Block
from .categories import Categories

#: Of LightGBM's C interface: the element types.
FLOAT32, FLOAT64, INT32, INT64 = 0, 1, 2, 3
#: What LightGBM takes for zero, and leaves out of a sample.
ZERO = 1e-35


@dataclass(frozen=True)
class Feed:
    """Where a data set's rows come from.

    Attributes:
        rows: How many there will be.
        blocks: Gives the rows in order, each time it is called.
        labels: The label of each row of a block, float32.
        weights: The weight of each row of a block, float32; None where all weigh the same.
        sample: The rows that the bins are found from.
        rows_in_all: How many rows the sample was taken of: those that other workers have are among them.
        categories: Of columns that have some.
    """

    rows: int
    blocks: Callable[[], Iterator[Block]]
    labels: Callable[[Block], np.ndarray]
    weights: Callable[[Block], np.ndarray] | None
    sample: Block
    rows_in_all: int
    categories: Categories = field(default_factory=lambda: Categories({}))


def sampled_rows(rows: int, params: Mapping[str, Any]) -> np.ndarray:
    """Numbers of the rows, increasing, that LightGBM would find the bins from.

    Args:
        rows: How many rows there are.
        params: LightGBM's parameters; the size of the sample and the seed are among them.
    """
    library, check, text = _library()
    words = text(_written(params))
    most = ctypes.c_int(0)
    check(library.LGBM_GetSampleCount(ctypes.c_int32(rows), words, ctypes.byref(most)))
    numbers = np.empty(most.value, np.int32)
    found = ctypes.c_int32(0)
    check(library.LGBM_SampleIndices(ctypes.c_int32(rows), words, _at(numbers, ctypes.c_int32), ctypes.byref(found)))
    return numbers[: found.value]


def streamed(feed: Feed, params: Mapping[str, Any], feature_name: Any = "auto") -> Any:
    """A ``lightgbm.Dataset`` that fills itself from blocks when it is constructed.

    Args:
        feed: Where the rows come from.
        params: LightGBM's parameters.
        feature_name: Names of the features, or "auto".

    Raises:
        InputError: on construction: a feature holds what LightGBM does not take.
    """
    return _dataset_class()(feed, params=dict(params), feature_name=feature_name)


def matrix_of(block: Block) -> Any:
    """A block's features as LightGBM would see them in a frame or matrix: dense rows, or SciPy sparse rows.

    Raises:
        InputError: a column of truth values with nulls, which a frame holds as objects.
    """
    if block.batch is not None:
        for place, field in enumerate(block.batch.schema):
            if field.type == "bool" and block.batch.column(place).null_count:
                raise InputError(
                    f"column {field.name} holds truth values and nulls, which LightGBM does not take",
                    code="null_not_allowed",
                    hint="impute it first, or cast it to a number",
                    details=[{"column": field.name}],
                )
        return block.dense
    if hasattr(block.matrix, "indptr"):
        return block.matrix
    wanted = block.matrix.dtype if block.matrix.dtype in (np.float32, np.float64) else np.float32
    return np.ascontiguousarray(block.matrix, wanted)


@functools.cache
def _dataset_class() -> Any:
    import lightgbm

    base: Any = lightgbm.Dataset

    class StreamedDataset(base):
        """Filled from a :class:`Feed` in place of data."""

        def _lazy_init(self, data: Any, params: Any, feature_name: Any, **rest: Any) -> Any:
            # Parameters are complete only now: training adds its own before it has the data constructed.
            _, _, text = _library()
            self.params = params or {}
            _set_categorical(self.params, data.categories.places)
            self._has_non_default_feature_names = feature_name != "auto"
            # As a frame leaves it; a matrix leaves None.
            self.pandas_categorical = data.categories.listed if self._has_non_default_feature_names else None
            self._handle = _from_sample(
                data.categories.coded(data.sample), data.rows, data.rows_in_all, text(_written(self.params))
            )
            labels, weights = _fill(self._handle, data)
            self.set_label(labels)
            if weights is not None:
                self.set_weight(weights)
            return self.set_feature_name(feature_name)

    return StreamedDataset


def _set_categorical(params: dict[str, Any], places: list[int]) -> None:
    """Say which columns are categories, as LightGBM says it of a frame: what the user had said gives way."""
    if places:
        import lightgbm

        for alias in lightgbm.basic._ConfigAliases.get("categorical_feature"):
            params.pop(alias, None)
        params["categorical_column"] = places


def _fill(handle: Any, feed: Feed) -> tuple[np.ndarray, np.ndarray | None]:
    """Push every row, and gather what is said of them."""
    labels = np.empty(feed.rows, np.float32)
    weights = None if feed.weights is None else np.empty(feed.rows, np.float32)
    done = 0
    for block in feed.blocks():
        if not block.rows:
            continue
        if done + block.rows > feed.rows:
            break
        labels[done : done + block.rows] = feed.labels(block)
        if weights is not None and feed.weights is not None:
            weights[done : done + block.rows] = feed.weights(block)
        _push(handle, matrix_of(feed.categories.coded(block)), done)
        done += block.rows
    else:
        if done == feed.rows:
            return labels, weights
    raise InternalError(f"the data changed while it was read: {feed.rows} rows were counted before", code="internal")


def _push(handle: Any, matrix: Any, start: int) -> None:
    library, check, _ = _library()
    if not hasattr(matrix, "indptr"):
        values, kind = matrix.reshape(-1), FLOAT32 if matrix.dtype == np.float32 else FLOAT64
        rows, width = matrix.shape
        check(library.LGBM_DatasetPushRows(handle, _at(values), kind, rows, width, ctypes.c_int32(start)))
        return
    values = matrix.data if matrix.data.dtype in (np.float32, np.float64) else matrix.data.astype(np.float64)
    places = np.ascontiguousarray(matrix.indices, np.int32)
    bounds = np.ascontiguousarray(matrix.indptr)
    check(
        library.LGBM_DatasetPushRowsByCSR(
            handle,
            _at(bounds),
            INT64 if bounds.dtype == np.int64 else INT32,
            _at(places, ctypes.c_int32),
            _at(values),
            FLOAT32 if values.dtype == np.float32 else FLOAT64,
            ctypes.c_int64(len(bounds)),
            ctypes.c_int64(len(values)),
            ctypes.c_int64(matrix.shape[1]),
            ctypes.c_int64(start),
        )
    )


def _from_sample(sample: Block, rows: int, rows_in_all: int, words: Any) -> Any:
    """A data set without rows yet, its bins found from a sample."""
    library, check, _ = _library()
    columns, places = _columns(matrix_of(sample))
    # LightGBM sorts the values in place: they are copies already.
    values = (ctypes.POINTER(ctypes.c_double) * len(columns))(*(_at(column, ctypes.c_double) for column in columns))
    where = (ctypes.POINTER(ctypes.c_int32) * len(columns))(*(_at(place, ctypes.c_int32) for place in places))
    lengths = np.array([len(column) for column in columns], np.int32)
    handle = ctypes.c_void_p()
    check(
        library.LGBM_DatasetCreateFromSampledColumn(
            values,
            where,
            ctypes.c_int32(len(columns)),
            _at(lengths, ctypes.c_int32),
            ctypes.c_int32(sample.rows),
            ctypes.c_int32(rows),
            ctypes.c_int64(rows_in_all),
            words,
            ctypes.byref(handle),
        )
    )
    return handle


def _columns(matrix: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A sample by columns: the values that are not zero, float64, and the rows they are in, int32."""
    if hasattr(matrix, "indptr"):
        matrix = matrix.tocsc()
        matrix.sort_indices()
        found = [
            (matrix.data[begin:end], matrix.indices[begin:end])
            for begin, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
        ]
    else:
        numbers = np.arange(matrix.shape[0], dtype=np.int32)
        found = [(matrix[:, place], numbers) for place in range(matrix.shape[1])]
    columns, places = [], []
    for values, rows in found:
        kept = (np.abs(values) > ZERO) | np.isnan(values)
        columns.append(values[kept].astype(np.float64))
        places.append(rows[kept].astype(np.int32))
    return columns, places


def _at(values: np.ndarray, kind: Any = None) -> Any:
    """Where an array's elements are, for C."""
    return values.ctypes.data_as(ctypes.POINTER(kind) if kind else ctypes.c_void_p)


def _written(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have a text; an objective of the user's own is a function."""
    return {name: value for name, value in params.items() if not callable(value)}


def _library() -> tuple[Any, Callable[[int], None], Callable[[Mapping[str, Any]], Any]]:
    """LightGBM's C interface, what raises its errors, and what writes parameters for it.

    These names are LightGBM's own, not public ones; there is no public way to push rows.
    """
    import lightgbm

    basic: Any = lightgbm.basic
    return basic._LIB, basic._safe_call, lambda params: basic._c_str(basic._param_dict_to_str(dict(params)))
