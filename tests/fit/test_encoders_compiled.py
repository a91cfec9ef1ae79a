"""Encoders fitted in passes compile: between steps the serving engine gives what their own ``transform`` gives."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from monorail.fit.between import frame_of
from monorail.fit.graphs import compiled
from monorail.fit.sparse import one_hot

from ..support.category_data import category_tables
from ..support.learning import fit_streamed

Encoder: Any = TargetEncoder
OneHot: Any = OneHotEncoder
#: Kinds that every road takes; those of dates and bools with nulls are Python's own between steps.
KINDS = ("string", "large_string", "dictionary", "int64", "int8", "float64", "float32")
STEPS = (
    OneHot(sparse_output=False),
    OneHot(sparse_output=False, min_frequency=3, handle_unknown="infrequent_if_exist"),
    OneHot(sparse_output=False, drop="if_binary", handle_unknown="ignore", dtype=np.float32),
    OrdinalEncoder(encoded_missing_value=-5),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=3),
    Encoder(smooth=2.0, cv=2),
    Encoder(target_type="continuous"),
)


def check(step: Any, table: pa.Table, later: pa.Table) -> None:
    """The graph of the fitted step gives what the step gives, for these rows and later ones; both were pickled."""
    target = pa.array(np.arange(table.num_rows) % 3)
    fitted = pickle.loads(pickle.dumps(fit_streamed(step, table, target=target)))
    nullable = frozenset(name for name in table.column_names if _has_null(table[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = fitted.transform(frame_of(table, nullable))
        graph = compiled(fitted, table, nullable, expected)
        assert graph is not None
        for rows in (table, later):
            made = pickle.loads(pickle.dumps(graph)).run(_batch(rows))
            wanted = fitted.transform(frame_of(rows, nullable))
            assert made.dtype == wanted.dtype
            np.testing.assert_allclose(made, wanted, rtol=1e-12, atol=1e-15)


def _batch(table: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([_one(column) for column in table.columns], schema=table.schema)


def _has_null(column: pa.ChunkedArray) -> bool:
    return any(value is None or value != value for value in column.to_pylist())


def _one(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


@pytest.mark.parametrize("step", STEPS, ids=range(len(STEPS)))
@settings(max_examples=15)
@given(category_tables(kinds=KINDS, missing=(0.0, 0.3)), st.integers(0, 1_000))
def test_the_graph_gives_what_the_step_gives(step: Any, table: pa.Table, seed: int) -> None:
    table = pa.concat_tables([table] * 15) if table.num_rows < 15 else table
    order = np.random.default_rng(seed).permutation(table.num_rows)
    check(step, table, table.take(pa.array(order)))


UNSEEN = [step for step in STEPS if getattr(step, "handle_unknown", "") != "error"]


@pytest.mark.parametrize("step", UNSEEN, ids=range(len(UNSEEN)))
def test_categories_that_no_row_had(step: Any) -> None:
    table = pa.table({"a": ["x", "y", None, "x"] * 9, "b": [1.0, 2.0, None, 2.0] * 9})
    check(step, table, pa.table({"a": ["new", None, "x"], "b": [7.0, None, 1.0]}))


SPARSE = (
    OneHot(),
    OneHot(min_frequency=3, handle_unknown="infrequent_if_exist"),
    OneHot(drop="first", handle_unknown="ignore", dtype=np.float32),
    OneHot(drop="if_binary", max_categories=2),
    OneHot(max_categories=1),
)


@pytest.mark.parametrize("step", SPARSE, ids=range(len(SPARSE)))
@settings(max_examples=30)
@given(category_tables(kinds=("string", "large_string", "string_view", "dictionary", "int64"), missing=(0.0, 0.3, 1.0)))
def test_sparse_rows_are_those_of_the_step(step: Any, table: pa.Table) -> None:
    fitted = fit_streamed(step, table)
    made = one_hot(fitted, _batch(table), table.column_names)
    if made is None:
        assert any(pa.types.is_integer(kind) for kind in table.schema.types)
        return
    expected = fitted.transform(frame_of(table))
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made.toarray(), expected.toarray())


def test_many_categories_are_never_a_dense_matrix() -> None:
    words = [f"word-{number}" for number in range(50_000)]
    table = pa.table({"a": words, "b": [f"{number % 7}" for number in range(50_000)]})
    fitted = fit_streamed(OneHot(), table)
    made = one_hot(fitted, _batch(table), table.column_names)
    assert made.shape == (50_000, 50_007)
    assert abs(made - fitted.transform(frame_of(table))).sum() == 0
