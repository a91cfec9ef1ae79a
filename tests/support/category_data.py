"""Random tables of categories: text, numbers, bools, dates, dictionaries, with nulls, NaN and signed zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

TEXTS = ("string", "large_string", "string_view", "dictionary")
KINDS = (*TEXTS, "int64", "int8", "uint16", "bool", "float64", "float32", "date")
WORDS = ("", "a", "b", "aa", "Z", "\u00e9", "\U0001f600", "\ufb01", "nan", "None", "0")
FLOATS = (0.0, -0.0, 1.5, -2.0, 1e300, 3.0, float("nan"))


def category_column(random: np.random.Generator, kind: str, rows: int, most: int, missing: float) -> pa.Array:
    """A column of at most ``most`` different values of a kind; a share of them null."""
    places = np.minimum(random.geometric(0.3, rows) - 1, most - 1)
    lost = random.random(rows) < missing
    if kind in TEXTS:
        words = [WORDS[place % len(WORDS)] * (1 + place // len(WORDS)) for place in places]
        column = pa.array([None if gone else word for word, gone in zip(words, lost, strict=True)], pa.string())
        if kind == "dictionary":
            return column.dictionary_encode()
        return column.cast(getattr(pa, kind)())
    if kind == "date":
        return pa.array(places.astype(np.int32), pa.int32(), mask=lost).cast(pa.date32())
    if kind.startswith("float"):
        values: Any = np.array([FLOATS[place % len(FLOATS)] for place in places])
        if kind == "float32":
            values = np.clip(values, -10, 10)
    elif kind == "bool":
        values = places % 2 == 1
    else:
        values = places % 100
    made = pa.array(values.tolist(), mask=lost)
    return made.cast({"bool": pa.bool_()}.get(kind) or getattr(pa, kind)())


@st.composite
def category_tables(
    draw: Any, *, kinds: Sequence[str] = KINDS, most_rows: int = 80, missing: Sequence[float] = (0.0, 0.0, 0.3, 1.0)
) -> pa.Table:
    """Tables of one to three columns of categories."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(1, most_rows))
    columns = {}
    for place, kind in enumerate(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))):
        share = draw(st.sampled_from(missing))
        columns[f"c{place}"] = category_column(random, kind, rows, draw(st.integers(1, 14)), share)
    return pa.table(columns)


@st.composite
def object_matrices(draw: Any) -> np.ndarray:
    """Matrices of Python objects, as an imputer of text leaves them: text or numbers a column, None and NaN."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, width = draw(st.integers(1, 40)), draw(st.integers(1, 3))
    matrix = np.empty((rows, width), object)
    for place in range(width):
        values: Any = draw(st.sampled_from([("a", "b", "c"), (1, 2.5, True, 0), ("x", None), ("x", "y", float("nan"))]))
        for row in range(rows):
            matrix[row, place] = values[random.integers(len(values))]
    return matrix
