"""XGBoost fitted from blocks is XGBoost fitted from the whole matrix: every byte of the model, every attribute."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.boosting import classes, features
from tests.support.training import MadeRows, plainly, refusal, trained
from xgboost import XGBClassifier, XGBRanker, XGBRegressor, XGBRFClassifier, XGBRFRegressor

from monorail.adapters.frames import Form
from monorail.errors import FitError, InputError

FIXED = {"n_estimators": 4, "n_jobs": 1, "random_state": 3}


def assert_same(plain: Any, ours: Any) -> None:
    """Every attribute and the model's bytes are equal."""
    assert plain.get_booster().save_raw("json") == ours.get_booster().save_raw("json")
    left, right = vars(plain), vars(ours)
    assert left.keys() == right.keys()
    for name in left.keys() - {"_Booster"}:
        assert repr(left[name]) == repr(right[name]), name


@pytest.mark.parametrize("many", [2, 4])
@pytest.mark.parametrize("form", ["float64", "float32", "columns first", "int", "sparse"])
def test_a_classifier_of_blocks_is_the_classifier_of_the_matrix(form, many):
    matrix = features()
    target = classes(matrix, many)
    data: Any = {
        "float64": matrix,
        "float32": matrix.astype(np.float32),
        "columns first": np.asfortranarray(matrix),
        "int": np.nan_to_num(matrix * 100).astype(np.int64),
        "sparse": sp.csr_matrix(np.nan_to_num(matrix)),
    }[form]
    model = XGBClassifier(**FIXED)
    assert_same(plainly(model, data, target), trained(model, MadeRows(data, target, parts=4, max_rows=271)))


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 799), max_size=4),
    max_rows=st.integers(20, 900),
    sparse=st.booleans(),
    weighted=st.booleans(),
    extra=st.sampled_from(
        [
            {},
            {"max_bin": 8},
            {"subsample": 0.5, "colsample_bytree": 0.5},
            {"booster": "dart"},
            {"missing": 0.0},
            {"scale_pos_weight": 3.0},
            {"tree_method": "hist", "grow_policy": "lossguide", "max_leaves": 5},
            {"feature_weights": [1.0, 2.0, 1.0, 1.0, 4.0, 1.0], "colsample_bynode": 0.6},
            {"feature_types": ["q", "q", "q", "c", "q", "q"], "enable_categorical": True},
        ]
    ),
)
def test_any_cut_of_the_rows_and_any_parameters_give_the_same_trees(cuts, max_rows, sparse, weighted, extra):
    matrix = features(800)
    target = classes(matrix, 2)
    weight = np.random.default_rng(1).random(800) if weighted else None
    data: Any = sp.csr_matrix(np.nan_to_num(matrix)) if sparse else matrix
    model = XGBClassifier(**{**FIXED, "n_estimators": 3, **extra})
    rows = MadeRows(data, target, weight=weight, parts=sorted({0, *cuts}), max_rows=max_rows)
    assert_same(plainly(model, data, target, sample_weight=weight), trained(model, rows))


def test_the_sketch_of_many_rows_does_not_depend_on_blocks():
    matrix = features(60_000)
    target = np.nansum(matrix, axis=1)
    weight = np.random.default_rng(1).random(60_000)
    model = XGBRegressor(**{**FIXED, "n_estimators": 2})
    rows = MadeRows(matrix, target, weight=weight, parts=3, max_rows=7_777)
    assert_same(plainly(model, matrix, target, sample_weight=weight), trained(model, rows))


@pytest.mark.parametrize("kind", [XGBRegressor, XGBRFRegressor, XGBRFClassifier])
def test_regressors_and_forests(kind):
    matrix = features()
    target = classes(matrix, 2) if kind is XGBRFClassifier else np.nansum(matrix, axis=1)
    model = kind(**FIXED)
    assert_same(plainly(model, matrix, target), trained(model, MadeRows(matrix, target)))


def test_columns_keep_their_names_and_types():
    matrix = features()
    holed = [None if value > 3 else int(value) for value in matrix[:, 3]]
    table = pa.table(
        {
            "near": pa.array(matrix[:, 0], from_pandas=True),
            "far off": pa.array(matrix[:, 1].astype(np.float32)),
            "small": pa.array(matrix[:, 3].astype(np.int8)),
            "flag": pa.array(matrix[:, 2] > 0),
            "some": pa.array(sorted(holed, key=lambda value: value is None), pa.int32()),
        }
    )
    target = classes(matrix, 2)
    model = XGBClassifier(**FIXED)
    ours = trained(model, MadeRows(table, target))
    assert_same(plainly(model, Form("pandas").frame(table), target), ours)
    assert ours.get_booster().feature_types == ["float", "float", "int", "i", "float"]
    assert list(ours.feature_names_in_) == table.column_names


def test_several_targets_at_once():
    matrix = features()
    both = np.column_stack([np.nansum(matrix, axis=1), np.nansum(matrix[:, :2], axis=1)])
    target = pa.FixedSizeListArray.from_arrays(pa.array(both.ravel()), 2)
    model = XGBRegressor(**FIXED)
    assert_same(plainly(model, matrix, both), trained(model, MadeRows(matrix, target)))


def test_truth_values_are_classes():
    matrix = features()
    target = classes(matrix, 2).astype(bool)
    model = XGBClassifier(**FIXED)
    assert_same(plainly(model, matrix, target), trained(model, MadeRows(matrix, target)))


def test_the_fitted_estimator_can_be_pickled_and_predicts():
    matrix = features()
    target = classes(matrix, 3)
    ours = pickle.loads(pickle.dumps(trained(XGBClassifier(**FIXED), MadeRows(matrix, target))))
    assert ours.predict(matrix).shape == target.shape


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (XGBClassifier(tree_method="exact"), "'exact'"),
        (XGBRegressor(tree_method="approx"), "'approx'"),
        (XGBRegressor(booster="gblinear"), "gblinear"),
        (XGBClassifier(early_stopping_rounds=3), "validation set"),
        (XGBRanker(), "groups"),
    ],
)
def test_what_cannot_be_fitted_says_why(model, why):
    assert why in refusal(model, MadeRows(features(), np.zeros(1_500)))


def test_bad_targets_and_columns_are_named():
    matrix = features()
    with pytest.raises(FitError, match="takes the classes 0, 1"):
        trained(XGBClassifier(**FIXED), MadeRows(matrix, classes(matrix, 2) + 1))
    assert "number them" in refusal(XGBClassifier(), MadeRows(matrix, np.array(["a", "b"])[classes(matrix, 2)]))
    assert "learns numbers" in refusal(XGBRegressor(), MadeRows(matrix, np.array(["a", "b"])[classes(matrix, 2)]))
    assert "target=" in refusal(XGBRegressor(), MadeRows(matrix))
    holed = classes(matrix, 2).astype(float)
    holed[9] = np.nan
    with pytest.raises(InputError, match="null") as caught:
        trained(XGBRegressor(**FIXED), MadeRows(matrix, holed))
    assert caught.value.details[0]["row"] == 9
    rows = MadeRows(pa.table({"a": [1.0, 2.0], "town": ["x", "y"]}), [0, 1])
    assert "column town" in refusal(XGBClassifier(), rows)
