"""Imputers fitted in passes are those that scikit-learn fits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import MissingIndicator, SimpleImputer

from monorail.errors import InputError

from ..support.learning import Refused, fit_streamed, fitted, same_attributes
from ..support.learning_data import number_matrices, number_tables

SPLITS = st.integers(1, 5)
SEEDS = st.integers(0, 1_000)
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}
#: Where scikit-learn itself computes in single precision.
SINGLE: dict[str, Any] = {"rtol": 2e-6, "atol": 1e-6}


def bounds(data: Any) -> dict[str, Any]:
    kinds = data.schema.types if isinstance(data, pa.Table) else [pa.from_numpy_dtype(data.dtype)]
    return SINGLE if any(pa.types.is_floating(kind) and kind.bit_width < 64 for kind in kinds) else CLOSE


@st.composite
def text_tables(draw: Any) -> pa.Table:
    """Columns of text, of numbers and of bools, with nulls."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(2, 40))
    columns: dict[str, Any] = {}
    for place, kind in enumerate(draw(st.lists(st.sampled_from("sldfib"), min_size=1, max_size=4))):
        words = {
            "s": pa.array(random.choice(["b", "a", "Z", "é"], rows)),
            "l": pa.array(random.choice(["x", "y"], rows)).cast(pa.large_string()),
            "d": pa.array(random.choice(["u", "v", "w"], rows)).dictionary_encode(),
            "f": pa.array(random.integers(0, 3, rows) / 2),
            "i": pa.array(random.integers(0, 3, rows)),
            "b": pa.array(random.integers(0, 2, rows).astype(bool)),
        }[kind]
        lost = random.random(rows) < draw(st.sampled_from((0.0, 0.3, 1.0)))
        values = [None if gone else value for value, gone in zip(words.to_pylist(), lost, strict=True)]
        columns[f"c{place}"] = pa.array(values, words.type)
    return pa.table(columns)


def compare(step: Any, data: Any, splits: int, seed: int, **more: Any) -> None:
    """Both learn the same, or both refuse the data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            expected = fitted(step, data)
        except ValueError:
            with pytest.raises((InputError, Refused)):
                fit_streamed(step, data, splits, seed=seed, **more)
            return
    same_attributes(fit_streamed(step, data, splits, seed=seed, **more), expected, **bounds(data))


@settings(max_examples=100)
@given(
    number_tables(),
    SPLITS,
    SEEDS,
    st.sampled_from(["mean", "median", "most_frequent", "constant"]),
    st.booleans(),
    st.booleans(),
)
def test_imputer_of_numbers(
    table: pa.Table, splits: int, seed: int, strategy: str, indicator: bool, keep: bool
) -> None:
    step = SimpleImputer(strategy=strategy, add_indicator=indicator, keep_empty_features=keep)
    compare(step, table, splits, seed, exact=seed % 3 == 0)


@settings(max_examples=80)
@given(text_tables(), SPLITS, SEEDS, st.sampled_from(["most_frequent", "constant"]), st.booleans(), st.booleans())
def test_imputer_of_text(table: pa.Table, splits: int, seed: int, strategy: str, indicator: bool, keep: bool) -> None:
    step = SimpleImputer(strategy=strategy, add_indicator=indicator, keep_empty_features=keep)
    compare(step, table, splits, seed, passes=1)


@settings(max_examples=60)
@given(
    number_tables(shapes=("few", "spread")),
    SPLITS,
    SEEDS,
    st.sampled_from(["mean", "median", "most_frequent", "constant"]),
    st.sampled_from([0, 1, 2.0, -1, 0.5, pd.NA]),
    st.booleans(),
)
def test_imputer_of_a_marker(
    table: pa.Table, splits: int, seed: int, strategy: str, marker: Any, indicator: bool
) -> None:
    step = SimpleImputer(strategy=strategy, missing_values=marker, add_indicator=indicator)
    compare(step, table, splits, seed, exact=seed % 3 == 0)


@settings(max_examples=30)
@given(text_tables(), SPLITS, SEEDS, st.sampled_from(["most_frequent", "constant"]))
def test_imputer_of_a_marker_in_text(table: pa.Table, splits: int, seed: int, strategy: str) -> None:
    compare(SimpleImputer(strategy=strategy, add_indicator=True).set_params(missing_values="a"), table, splits, seed)


@settings(max_examples=60)
@given(
    number_matrices(), SPLITS, SEEDS, st.sampled_from(["mean", "median", "most_frequent"]), st.booleans(), st.booleans()
)
def test_imputer_of_matrices(matrix: Any, splits: int, seed: int, strategy: str, indicator: bool, keep: bool) -> None:
    step = SimpleImputer(strategy=strategy, add_indicator=indicator, keep_empty_features=keep)
    compare(step, matrix, splits, seed)


@settings(max_examples=40)
@given(
    st.one_of(number_tables(), text_tables(), number_matrices()),
    SPLITS,
    SEEDS,
    st.sampled_from(["all", "missing-only"]),
)
def test_missing_indicator(data: Any, splits: int, seed: int, features: str) -> None:
    compare(MissingIndicator(features=features), data, splits, seed, passes=1)  # pyright: ignore[reportArgumentType]


def test_constant_for_text() -> None:
    table = pa.table({"a": ["x", None, "y"], "b": pa.array([None, None, None], pa.string())})
    compare(SimpleImputer(strategy="constant", fill_value="gone"), table, 2, 0)
    compare(SimpleImputer(strategy="constant"), table, 2, 0)


def test_infinity_is_refused_with_its_column() -> None:
    table = pa.table({"a": ["x", "y"], "b": [1.0, float("inf")]})
    for step in (SimpleImputer(strategy="most_frequent"), MissingIndicator()):
        with pytest.raises(InputError) as caught:
            fit_streamed(step, table.select(["b"]))
        assert caught.value.details[0]["column"] == "b"


@pytest.mark.parametrize(
    ("step", "data", "words"),
    [
        (SimpleImputer(), pa.table({"a": ["1", "x"]}), "column 'a' is string"),
        (SimpleImputer().set_params(strategy=np.ptp), pa.table({"a": [1.0]}), "function"),
        (SimpleImputer().set_params(missing_values="x"), pa.table({"a": [1.0]}), "expected to be both numerical"),
        (SimpleImputer(missing_values=0), sp.csr_matrix(np.eye(3)), "sparse"),
        (SimpleImputer(strategy="constant", fill_value="x"), pa.table({"a": [1.0]}), "cannot be cast"),
        (SimpleImputer(strategy="median"), pa.table({"a": pa.array([1], pa.date32())}), "date32"),
        (SimpleImputer(strategy="most_frequent"), np.array([["a"], ["b"]], object), "objects"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_any_pass(step: Any, data: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        fit_streamed(step, data)
