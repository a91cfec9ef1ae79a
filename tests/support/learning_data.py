"""Random tables and matrices for steps of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from hypothesis import strategies as st

FLOATS = (pa.float64(), pa.float32())
NUMBERS = (*FLOATS, pa.float16(), pa.int64(), pa.int32(), pa.int8(), pa.uint8(), pa.uint32(), pa.bool_())


def number_column(random: np.random.Generator, kind: pa.DataType, rows: int, shape: str, missing: float) -> pa.Array:
    """A column of a type.

    Args:
        random: Decides the values.
        kind: Its type.
        rows: How many.
        shape: ``spread``, ``far`` from zero, ``few`` different values, ``constant`` or ``none`` at all.
        missing: Share of nulls; half of them NaN in a column of floats.
    """
    if shape == "none":
        return pa.nulls(rows, kind)
    if shape == "constant":
        values = np.full(rows, random.integers(0, 2))
    elif shape == "few":
        values = random.integers(0, 4, rows)
    elif pa.types.is_boolean(kind):
        values = random.integers(0, 2, rows)
    elif pa.types.is_integer(kind):
        values = random.integers(0, 100, rows)
    else:
        values = random.normal(100.0 if shape == "far" else 0.5, 3.0, rows)
    if pa.types.is_boolean(kind):
        values = values.astype(bool)
    elif pa.types.is_integer(kind) or shape != "spread":
        values = np.clip(values, 0, 100)
    column = pa.array(values.astype(kind.to_pandas_dtype()))
    lost = random.random(rows) < missing
    if pa.types.is_floating(kind) and missing:
        nan = lost & (random.random(rows) < 0.5)
        raw = column.to_numpy(zero_copy_only=False).copy()
        raw[nan] = np.nan
        column, lost = pa.array(raw), lost & ~nan
    return pa.array(column.to_pylist(), kind, mask=lost) if lost.any() else column


@st.composite
def number_tables(
    draw: Any,
    *,
    kinds: Sequence[pa.DataType] = NUMBERS,
    shapes: Sequence[str] = ("spread", "spread", "far", "few", "constant", "none"),
    missing: bool = True,
    most_rows: int = 60,
) -> pa.Table:
    """Tables of one to four columns of numbers, most of them of different types."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(2, most_rows))
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    if draw(st.booleans()):
        chosen = [chosen[0]] * len(chosen)
    columns = {}
    for place, kind in enumerate(chosen):
        share = draw(st.sampled_from((0.0, 0.0, 0.3))) if missing else 0.0
        columns[f"c{place}"] = number_column(random, kind, rows, draw(st.sampled_from(shapes)), share)
    return pa.table(columns)


@st.composite
def number_matrices(draw: Any, *, sparse: bool | None = None, missing: bool = True, least: float = -3.0) -> Any:
    """Matrices of one to five features, dense or sparse rows, float64 or float32."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, width = draw(st.integers(2, 60)), draw(st.integers(1, 5))
    matrix = np.maximum(random.normal(1.0, 2.0, (rows, width)), least)
    matrix[random.random((rows, width)) < 0.4] = 0.0
    if missing and draw(st.booleans()):
        matrix[random.random((rows, width)) < 0.2] = np.nan
    matrix = matrix.astype(draw(st.sampled_from((np.float64, np.float32))))
    if sparse is None:
        sparse = draw(st.booleans())
    return sp.csr_matrix(matrix) if sparse else matrix
