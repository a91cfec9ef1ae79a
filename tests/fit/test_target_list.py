"""A target named in a list of one is to an estimator what a frame of one column is to its own ``fit``."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import clone, is_classifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder
from xgboost import XGBRegressor

import monorail as mr
from monorail.errors import FitError

from ..support.learning import framed


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Three features, and two targets that they say much of."""
    random = np.random.default_rng(0)
    a, b, c = np.abs(random.normal(size=(3, 300)))
    y = 2 * a - b + random.normal(scale=0.1, size=300)
    return pa.table({"a": a, "b": b, "c": c, "y": y, "late": np.where(y > 0.7, "late", "ok").tolist()})


REGRESSORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False, positive=True),
    Ridge(),
    Ridge(solver="svd", fit_intercept=False),
    Lasso(alpha=0.01),
    ElasticNet(alpha=0.01),
    SGDRegressor(random_state=0),
    MLPRegressor(hidden_layer_sizes=(4,), random_state=0, max_iter=3, tol=1.0, n_iter_no_change=1),
    MultiOutputRegressor(SGDRegressor(random_state=0)),
    LGBMRegressor(n_estimators=2, verbosity=-1),
    XGBRegressor(n_estimators=2),
    # In memory.
    RandomForestRegressor(2, random_state=0),
    KNeighborsRegressor(),
]
CLASSIFIERS = [
    LogisticRegression(),
    RidgeClassifier(),
    SGDClassifier(random_state=0),
    GaussianNB(),
    LGBMClassifier(n_estimators=2, verbosity=-1),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", [*REGRESSORS, *CLASSIFIERS], ids=lambda model: type(model).__name__)
def test_predictions_and_attributes_have_the_shapes_of_its_own_fit(table: pa.Table, model: Any) -> None:
    target = "late" if is_classifier(model) else "y"
    data = table.select(["a", "b", "c", target])
    ours = mr.fit(make_pipeline(StandardScaler(), model), data, target=[target], sample_rows=1_000, quiet=True)
    rows = framed(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = make_pipeline(StandardScaler(), clone(model)).fit(rows[["a", "b", "c"]], rows[[target]])
    assert ours.predict(rows[["a", "b", "c"]]).shape == plain.predict(rows[["a", "b", "c"]]).shape
    for name in ("coef_", "intercept_", "classes_", "dual_gap_", "singular_"):
        if hasattr(plain[-1], name):
            assert np.shape(getattr(ours[-1], name)) == np.shape(getattr(plain[-1], name)), name


def test_least_squares_of_a_list_predicts_a_column(table: pa.Table) -> None:
    data = table.drop_columns(["late"])
    listed = mr.fit(LinearRegression(), data, target=["y"], quiet=True)
    named = mr.fit(LinearRegression(), data, target="y", quiet=True)
    rows = framed(data.drop_columns(["y"]))
    assert listed.predict(rows).shape == (300, 1)
    np.testing.assert_allclose(listed.predict(rows)[:, 0], named.predict(rows), rtol=1e-12)


def test_a_step_before_learns_of_a_target_in_a_list(table: pa.Table) -> None:
    words = pa.array(np.random.default_rng(1).choice(["x", "y", "z"], 300))
    data = pa.table({"word": words, "y": table["y"]})
    model = make_pipeline(TargetEncoder(random_state=0), LinearRegression())
    listed, named = (mr.fit(model, data, target=target, quiet=True) for target in (["y"], "y"))
    np.testing.assert_array_equal(listed[0].encodings_[0], named[0].encodings_[0])
    assert listed[-1].coef_.shape == (1, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_of_a_list_is_the_search_of_a_frame(table: pa.Table, workers: int) -> None:
    data = table.drop_columns(["late"])
    search = GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}, cv=2)
    assert mr.fit(search, data, target=["y"], workers=workers, quiet=True).best_estimator_.coef_.shape == (1, 3)
    # It would only take the frame for a series, with a warning.
    forest = GridSearchCV(RandomForestRegressor(2, random_state=0), {"max_depth": [1, 2]}, cv=2)
    assert mr.fit(forest, data, target=["y"], workers=workers, quiet=True).best_estimator_.n_outputs_ == 1


def test_several_targets_are_not_learnt_of_one_that_is_not_in_a_list(table: pa.Table) -> None:
    with pytest.raises(FitError, match=r"it learns several: name them in a list, target=\[\.\.\.\]") as told:
        mr.fit(MultiOutputRegressor(SGDRegressor()), table.drop_columns(["late"]), target="y", quiet=True)
    assert "sample_rows" not in str(told.value)
