"""What scikit-learn's estimators are, what they answer, and in which shapes and types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import DBSCAN, FeatureAgglomeration, KMeans
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler

from monorail.adapters.sklearn import SklearnAdapter
from monorail.errors import CompileError

ADAPTER = SklearnAdapter()
X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, :2] > 0).astype(int)


class Bare(BaseEstimator):
    """Somebody's own class that predicts and says no more."""

    def fit(self, X: Any, y: Any = None) -> Bare:
        self.mean_ = 1.0
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize(
    ("model", "target", "kind", "outputs"),
    [
        (LogisticRegression(), Y[:, 0], "classifier", ("label", "probability")),
        (RidgeClassifier(), Y[:, 0], "classifier", ("label", "score")),
        (LinearRegression(), X[:, 0], "regressor", ("prediction",)),
        (KMeans(2), None, "clusterer", ("label",)),
        (GaussianMixture(2), None, "clusterer", ("label", "probability")),
        (IsolationForest(n_estimators=5), None, "outlier_detector", ("label", "score")),
        (StandardScaler(), None, "transformer", ("features",)),
        (FeatureAgglomeration(2), None, "transformer", ("features",)),
        (make_pipeline(StandardScaler(), IsolationForest()), None, "outlier_detector", ("label", "score")),
        (GridSearchCV(KMeans(), {"n_clusters": [2]}, cv=2), None, "clusterer", ("label",)),
        (Bare(), None, "regressor", ("prediction",)),
    ],
    ids=str,
)
def test_kinds(model: Any, target: Any, kind: str, outputs: tuple[str, ...]) -> None:
    described = ADAPTER.describe(model.fit(X, target))
    assert (described.kind, described.outputs) == (kind, outputs)
    for name, values in ADAPTER.answers(model, X, described.offers).items():
        assert len(values) == len(X), name
        assert values.ndim <= 2, name


def test_what_says_nothing_of_new_rows_is_no_model() -> None:
    with pytest.raises(CompileError, match="neither predicts nor transforms"):
        ADAPTER.describe(DBSCAN().fit(X))
    with pytest.raises(CompileError, match="is not fitted"):
        ADAPTER.describe(KMeans())


def test_more_on_request() -> None:
    assert {"features", "label"} < set(ADAPTER.describe(KMeans(2).fit(X)).offers) | {"x"}
    assert "sample_score" in ADAPTER.describe(GaussianMixture().fit(X)).offers
    process = GaussianProcessRegressor(alpha=0.1).fit(X, X[:, 0])
    assert "deviation" in ADAPTER.describe(process).offers
    assert np.array_equal(ADAPTER.answers(process, X, ["deviation"])["deviation"], process.predict(X, True)[1])
    assert "deviation" not in ADAPTER.describe(LinearRegression().fit(X, X[:, 0])).offers


@pytest.mark.parametrize(
    ("model", "places"),
    [
        (RandomForestClassifier(3), ["0:0", "0:1", "1:0", "1:1"]),
        (MultiOutputClassifier(LogisticRegression()), ["0:0", "0:1", "1:0", "1:1"]),
        (ClassifierChain(LogisticRegression()), ["0", "1"]),
        (OneVsRestClassifier(LogisticRegression()), ["0", "1"]),
    ],
    ids=str,
)
def test_several_answers_a_row(model: Any, places: list[str]) -> None:
    model.fit(X, Y)
    answers = ADAPTER.answers(model, X, ["label", "probability"])
    assert answers["label"].shape == (40, 2)
    assert answers["probability"].shape == (40, len(places))
    assert ADAPTER.names(model, "probability", len(places)) == places


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x.astype(np.float16), "float32"),
        (lambda x: x.astype(np.float32), "float32"),
        (lambda x: x.astype(np.int8), "int64"),
        (lambda x: x.astype(np.uint16), "int64"),
        (lambda x: x > 0, "bool"),
        (lambda x: pd.DataFrame({"a": x[:, 0], "b": x[:, 1] > 0}), "float64"),
        (lambda x: np.where(x > 0, "yes", "no"), "<U3"),
    ],
)
def test_features_keep_their_type(change: Any, kind: str) -> None:
    model = FunctionTransformer(change).fit(X)
    assert ADAPTER.answers(model, X, ["features"])["features"].dtype == np.dtype(kind)


def test_sparse_features_are_dense() -> None:
    bins = KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf").fit(X)
    features = ADAPTER.answers(bins, X, ["features"])["features"]
    assert isinstance(features, np.ndarray)
    assert features.shape == (40, 9)
    assert ADAPTER.names(bins, "features", 9)[0] == "x0_0.0"
    assert ADAPTER.names(bins, "features", 4) == ["0", "1", "2", "3"]


def test_what_the_first_step_takes() -> None:
    texts = TfidfVectorizer().fit(["a word", "another word"])
    assert ADAPTER.describe(texts).takes == "series"
    words = ["a word", "another word"]
    assert ADAPTER.describe(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(words, [0, 1])).takes == "series"
    assert ADAPTER.describe(DictVectorizer().fit([{"a": 1}])).takes == "records"
    assert ADAPTER.describe(StandardScaler().fit(X)).takes == ""
