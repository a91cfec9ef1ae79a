"""LightGBM fitted from blocks is LightGBM fitted from the whole matrix: every tree, every attribute."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from tests.support.boosting import classes, features
from tests.support.training import MadeRows, plainly, refusal, trained

from monorail.adapters.frames import Form
from monorail.errors import FitError, InputError
from monorail.fit.registry import trainer_for

FIXED = {
    "deterministic": True,
    "force_row_wise": True,
    "n_jobs": 1,
    "verbosity": -1,
    "n_estimators": 8,
    "random_state": 3,
    # Fewer than there are rows, so that the bins come from a sample.
    "subsample_for_bin": 500,
}


def assert_same(plain: Any, ours: Any) -> None:
    """Every attribute and the model's text are equal."""
    assert plain.booster_.model_to_string() == ours.booster_.model_to_string()
    assert plain.booster_.params == ours.booster_.params
    left, right = vars(plain), vars(ours)
    assert left.keys() == right.keys()
    for name in left.keys() - {"_Booster", "_le"}:
        assert repr(left[name]) == repr(right[name]), name
    if "_le" in left:
        np.testing.assert_array_equal(plain._le.classes_, ours._le.classes_)
        assert plain._le.classes_.dtype == ours._le.classes_.dtype
    np.testing.assert_array_equal(plain.feature_name_, ours.feature_name_)


@pytest.mark.parametrize("many", [2, 4])
@pytest.mark.parametrize("form", ["float64", "float32", "columns first", "int", "sparse"])
def test_a_classifier_of_blocks_is_the_classifier_of_the_matrix(form, many):
    matrix = features()
    target = classes(matrix, many)
    data: Any = {
        "float64": matrix,
        "float32": matrix.astype(np.float32),
        "columns first": np.asfortranarray(matrix),
        "int": np.nan_to_num(matrix * 1e8).astype(np.int64),
        "sparse": sp.csr_matrix(np.nan_to_num(matrix)),
    }[form]
    model = LGBMClassifier(**FIXED)
    assert_same(plainly(model, data, target), trained(model, MadeRows(data, target, parts=4, max_rows=271)))


@pytest.mark.filterwarnings("ignore:categorical_feature keyword")  # which LightGBM then heeds all the same
@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 799), max_size=4),
    max_rows=st.integers(1, 900),
    sparse=st.booleans(),
    weighted=st.booleans(),
    extra=st.sampled_from(
        [
            {},
            {"class_weight": "balanced"},
            {"is_unbalance": True},
            {"boosting_type": "goss"},
            {"boosting_type": "dart"},
            {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1},
            {"categorical_feature": [3]},
            {"zero_as_missing": True},
            {"use_missing": False},
            {"max_bin": 7, "enable_bundle": False},
            {"colsample_bytree": 0.5, "extra_trees": True},
            {"monotone_constraints": [1, 0, 0, 0, 0, 0]},
        ]
    ),
)
def test_any_cut_of_the_rows_and_any_parameters_give_the_same_trees(cuts, max_rows, sparse, weighted, extra):
    matrix = features(800)
    target = classes(matrix, 2)
    weight = np.random.default_rng(1).random(800) if weighted else None
    data: Any = sp.csr_matrix(np.nan_to_num(matrix)) if sparse else matrix
    model = LGBMClassifier(**{**FIXED, "n_estimators": 3, **extra})
    plain = plainly(model, data, target, sample_weight=weight)
    rows = MadeRows(data, target, weight=weight, parts=sorted({0, *cuts}), max_rows=max_rows)
    assert_same(plain, trained(model, rows))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["late", "early", "on time"]),
        pa.array(["late", "early", "on time"]).dictionary_encode(),
        pa.array([3, 1, 2], pa.int16()),
        pa.array([3.0, -1.0, 2.0]),
    ],
    ids=["text", "dictionary", "int16", "float"],
)
@pytest.mark.parametrize("class_weight", [None, "balanced", "named"])
def test_classes_are_known_as_the_frame_has_them(values, class_weight):
    matrix = features()
    target = values.take(pa.array(classes(matrix, 3)))
    series = Form("pandas").frame(pa.table({"t": target}))["t"]
    if class_weight == "named":
        class_weight = {series.iloc[0]: 3.0}
        if len(set(series)) == 3:
            class_weight |= dict.fromkeys(set(series) - set(class_weight), 1.5)
    model = LGBMClassifier(class_weight=class_weight, **FIXED)
    assert_same(plainly(model, matrix, series), trained(model, MadeRows(matrix, target)))


def test_two_classes_of_truth_values():
    matrix = features()
    target = classes(matrix, 2).astype(bool)
    model = LGBMClassifier(**FIXED)
    assert_same(plainly(model, matrix, pd.Series(target)), trained(model, MadeRows(matrix, target)))


@pytest.mark.parametrize("extra", [{}, {"objective": "quantile", "alpha": 0.7}, {"objective": "poisson"}])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_regressor_of_blocks_is_the_regressor_of_the_matrix(extra, weighted):
    matrix = features()
    target = np.abs(np.nansum(matrix, axis=1))
    weight = np.random.default_rng(1).random(len(matrix)) if weighted else None
    model = LGBMRegressor(**FIXED, **extra)
    plain = plainly(model, matrix, target, sample_weight=weight)
    assert_same(plain, trained(model, MadeRows(matrix, target, weight=weight)))


def test_columns_keep_their_names():
    matrix = features()
    table = pa.table(
        {
            "near": pa.array(matrix[:, 0], from_pandas=True),
            "far off": pa.array(matrix[:, 1].astype(np.float32)),
            "small": pa.array(matrix[:, 3].astype(np.int8)),
            "flag": pa.array(matrix[:, 2] > 0),
            "some": pa.array([None if value > 3 else int(value) for value in matrix[:, 3]], pa.int32()),
        }
    )
    target = classes(matrix, 2)
    model = LGBMClassifier(**FIXED)
    ours = trained(model, MadeRows(table, target))
    assert_same(plainly(model, Form("pandas").frame(table), target), ours)
    assert list(ours.feature_names_in_) == [name.replace(" ", "_") for name in table.column_names]


def test_an_objective_of_the_users_own():
    def squares(true: Any, predicted: Any) -> Any:
        return predicted - true, np.ones_like(true)

    matrix = features()
    target = np.nansum(matrix, axis=1)
    model = LGBMRegressor(objective=squares, **FIXED)
    plain, ours = plainly(model, matrix, target), trained(model, MadeRows(matrix, target))
    assert plain.booster_.model_to_string() == ours.booster_.model_to_string()


def test_the_fitted_estimator_can_be_pickled_and_predicts():
    matrix = features()
    target = classes(matrix, 3)
    ours = pickle.loads(pickle.dumps(trained(LGBMClassifier(**FIXED), MadeRows(matrix, target))))
    assert ours.predict(matrix).shape == target.shape


def test_the_rows_wanted_first_are_those_that_are_taken():
    class Watched(MadeRows):
        def take(self, rows: Any) -> Any:
            self.taken = np.asarray(rows)
            return super().take(rows)

    matrix = features()
    rows = Watched(matrix, classes(matrix, 2))
    model = LGBMClassifier(**FIXED)
    kind = trainer_for(model)
    assert kind is not None
    wanted = kind(model, rows.inputs).rows_wanted(rows.rows)
    trained(model, rows)
    np.testing.assert_array_equal(wanted, rows.taken)
    assert len(rows.taken) == 500
    drawn = LGBMClassifier(**{**FIXED, "random_state": np.random.RandomState(0)})
    assert kind(drawn, rows.inputs).rows_wanted(rows.rows) is None


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (LGBMClassifier(linear_tree=True), "linear_tree"),
        (LGBMClassifier(early_stopping_round=3), "validation set"),
        (LGBMRegressor(n_iter_no_change=3), "validation set"),
        (LGBMRegressor(class_weight="balanced"), "class_weight"),
        (LGBMRanker(), "groups"),
        (LGBMClassifier(machines="127.0.0.1:1,127.0.0.1:2"), "machines"),
    ],
)
def test_what_cannot_be_fitted_says_why(model, why):
    assert why in refusal(model, MadeRows(features(), np.zeros(1_500)))


def test_columns_that_are_no_numbers_are_refused_by_name():
    rows = MadeRows(pa.table({"a": [1.0, 2.0], "town": ["x", "y"]}), [0, 1])
    assert "column town" in refusal(LGBMClassifier(), rows)


def test_bad_targets_and_bad_columns_are_named():
    matrix = features()
    with pytest.raises(FitError, match="not of classes"):
        trained(LGBMClassifier(**FIXED), MadeRows(matrix, np.nansum(matrix, axis=1)))
    holed = classes(matrix, 2).tolist()
    holed[7] = None
    with pytest.raises(InputError, match="null") as caught:
        trained(LGBMClassifier(**FIXED), MadeRows(matrix, pa.array(holed)))
    assert caught.value.details[0]["row"] == 7
    with pytest.raises(InputError, match="null"):
        trained(LGBMRegressor(**FIXED), MadeRows(matrix, pa.array(holed, pa.float64())))
    assert "learns numbers" in refusal(LGBMRegressor(), MadeRows(matrix, pa.array(["a"] * 1_500)))
    several = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3_000)), 2)
    assert "one target" in refusal(LGBMRegressor(), MadeRows(matrix, several))
    assert "target=" in refusal(LGBMRegressor(), MadeRows(matrix))
    flags = pa.table({"flag": pa.array([None, True, False] * 500), "x": matrix[:, 0]})
    with pytest.raises(InputError, match="flag"):
        trained(LGBMClassifier(**FIXED), MadeRows(flags, classes(matrix, 2)))
