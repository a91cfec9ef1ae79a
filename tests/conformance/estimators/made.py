"""Recipes of the estimators that need more than their defaults and a target, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from tests.conformance.estimators.data import DATA, counts, documents, holes, positive, records, words

Made = tuple[Any, Any, Any]
RECIPES: dict[str, Callable[[Any], Made]] = {}
"""For a class the fitted estimator, rows to describe it with, and rows held out."""
X, HELD = DATA.rows, DATA.held_out


def seeded(model: Any) -> Any:
    """The estimator with a fixed seed, where it takes one."""
    parameters = model.get_params(deep=False)
    return model.set_params(random_state=0) if "random_state" in parameters else model


def _put(names: str, make: Callable[[Any], Made]) -> None:
    RECIPES.update(dict.fromkeys(names.split(), make))


def _on(target: Any = None, change: Any = None, **options: Any) -> Callable[[Any], Made]:
    """Fitted with these options, on rows changed by a function, for a target."""

    def make(kind: Any) -> Made:
        rows, held = DATA.by(change) if change else (X, HELD)
        return seeded(kind(**options)).fit(rows, target), rows, held

    return make


def _array(frame: Any) -> Any:
    return frame.to_numpy()


def _logistic() -> Any:
    return LogisticRegression(max_iter=300)


def _tree() -> Any:
    return DecisionTreeClassifier(max_depth=3, random_state=0)


# Targets of another kind.
_put("MultiTaskElasticNet MultiTaskLasso", _on(DATA.numbers, alpha=0.01))
_put("MultiTaskElasticNetCV MultiTaskLassoCV CCA PLSCanonical PLSRegression PLSSVD", _on(DATA.numbers))
_put("PoissonRegressor GammaRegressor TweedieRegressor", _on(DATA.number))
_put(
    "IsotonicRegression", lambda kind: (kind(out_of_bounds="clip").fit(X[["x0"]], DATA.number), X[["x0"]], HELD[["x0"]])
)

# Rows of another kind.
_put("AdditiveChi2Sampler MultinomialNB ComplementNB NMF MiniBatchNMF", _on(DATA.classes, positive))
_put("SkewedChi2Sampler", _on(None, positive))
_put("LatentDirichletAllocation TfidfTransformer", _on(None, counts))
_put("CategoricalNB", _on(DATA.classes, counts, min_categories=12))
_put("BernoulliRBM", _on(None, lambda frame: ((frame + 4) / 8).clip(0, 1), n_components=4))
_put("SimpleImputer KNNImputer MissingIndicator", _on(None, holes))
_put("OrdinalEncoder", _on(None, words))
_put("OneHotEncoder", _on(None, words, min_frequency=30, handle_unknown="infrequent_if_exist"))
_put("TargetEncoder", _on(DATA.classes, words))
_put("CountVectorizer TfidfVectorizer", lambda kind: _text(kind()))
_put("HashingVectorizer", lambda kind: _text(kind(n_features=64)))
_put(
    "DictVectorizer FeatureHasher",
    lambda kind: _records(kind(**({"n_features": 32} if kind.__name__ == "FeatureHasher" else {}))),
)
_put("KernelCenterer", lambda kind: _kernel(kind()))


def _text(model: Any) -> Made:
    rows, held = DATA.by(documents)
    return model.fit(rows["text"].tolist()), rows, held


def _records(model: Any) -> Made:
    rows, held = DATA.by(records)
    return model.fit(rows.to_dict("records")), rows, held


def _kernel(model: Any) -> Made:
    points = X[:40].to_numpy()
    fitted, held = rbf_kernel(points), rbf_kernel(HELD.to_numpy(), points)
    return model.fit(fitted), fitted, held


# Options without which it does not answer for new rows, or not for these.
_put("LocalOutlierFactor", _on(None, novelty=True))
_put("SparseCoder", _on(None, dictionary=np.linalg.qr(np.vander(np.linspace(-1, 1, 6)))[0]))
_put("GaussianRandomProjection SparseRandomProjection", _on(None, n_components=3))
_put("RadiusNeighborsClassifier", _on(DATA.classes, radius=6.0))
_put("RadiusNeighborsRegressor", _on(DATA.number, radius=6.0))
_put("RadiusNeighborsTransformer", _on(None, radius=6.0))
_put("FunctionTransformer", _on(None, positive, func=np.log1p))
_put("LogisticRegressionCV", _on(DATA.classes, Cs=3, cv=3, max_iter=300, l1_ratios=(0,), use_legacy_attributes=False))
_put("QuantileTransformer", _on(None, n_quantiles=50))
_put("KBinsDiscretizer", _on(None, quantile_method="averaged_inverted_cdf"))
_put("MLPClassifier", _on(DATA.classes, hidden_layer_sizes=(8,), max_iter=60))
_put("MLPRegressor", _on(DATA.number, hidden_layer_sizes=(8,), max_iter=60))
_put("GradientBoostingClassifier", _on(DATA.classes, n_estimators=20))
_put("GradientBoostingRegressor", _on(DATA.number, n_estimators=20))
_put("RandomForestClassifier ExtraTreesClassifier", _on(DATA.classes, n_estimators=20))
_put("RandomForestRegressor ExtraTreesRegressor RandomTreesEmbedding", _on(DATA.number, n_estimators=20))
_put("HistGradientBoostingClassifier", _on(DATA.classes, max_iter=20))
_put("HistGradientBoostingRegressor", _on(DATA.number, max_iter=20))
_put("IsolationForest", _on(None, n_estimators=30))
_put("DictionaryLearning MiniBatchDictionaryLearning", _on(None, n_components=4, max_iter=20))
_put("SparsePCA MiniBatchSparsePCA", _on(None, n_components=3, max_iter=50))
_put("GenericUnivariateSelect", _on(DATA.classes, mode="k_best", param=3))
_put("SelectKBest", _on(DATA.classes, k=3))
_put("VarianceThreshold", _on(None, threshold=0.5))
_put("Nystroem", _on(None, n_components=20))
_put("RBFSampler PolynomialCountSketch", _on(None, n_components=20))
_put("LabelPropagation LabelSpreading", lambda kind: _on(_some_known(), max_iter=200)(kind))


def _some_known() -> np.ndarray:
    """The classes as numbers, a third of them unknown."""
    numbers = np.unique(DATA.classes, return_inverse=True)[1]
    return np.where(np.arange(len(numbers)) % 3 == 0, -1, numbers)


# Estimators of estimators.
_put("BaggingClassifier", _on(DATA.classes, estimator=_tree(), max_features=4))
_put("BaggingRegressor", _on(DATA.number, estimator=DecisionTreeRegressor(max_depth=3, random_state=0)))
_put("AdaBoostClassifier", _on(DATA.classes, n_estimators=10))
_put("AdaBoostRegressor", _on(DATA.number, n_estimators=10))
_put("CalibratedClassifierCV", _on(DATA.classes, estimator=GaussianNB(), cv=3))
_put("ClassifierChain MultiOutputClassifier", _on(DATA.labels, estimator=_logistic()))
_put("RegressorChain MultiOutputRegressor", _on(DATA.numbers, estimator=Ridge()))
_put("OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier", _on(DATA.classes, estimator=_logistic()))
_put("FixedThresholdClassifier", _on(DATA.two, estimator=_logistic(), threshold=0.3))
_put("TunedThresholdClassifierCV", _on(DATA.two, estimator=_logistic(), cv=3))
_put("FrozenEstimator", lambda kind: (kind(_logistic().fit(X, DATA.classes)), X, HELD))
_put("GridSearchCV", _on(DATA.classes, estimator=_logistic(), param_grid={"C": [0.1, 1.0]}, cv=3))
_put(
    "RandomizedSearchCV",
    _on(DATA.classes, estimator=_tree(), param_distributions={"max_depth": [2, 3]}, n_iter=2, cv=3),
)
_put("RANSACRegressor", _on(DATA.number, estimator=LinearRegression()))
_put("RFE RFECV SelectFromModel", _on(DATA.classes, estimator=_logistic()))
_put("SequentialFeatureSelector", _on(DATA.classes, estimator=GaussianNB(), n_features_to_select=3, cv=3))
_put("SelfTrainingClassifier", lambda kind: _on(_some_known(), estimator=GaussianNB())(kind))
_put("StackingClassifier", _on(DATA.classes, estimators=[("a", _logistic()), ("b", _tree())], cv=3))
_put("StackingRegressor", _on(DATA.number, estimators=[("a", Ridge()), ("b", LinearRegression())], cv=3))
_put("TransformedTargetRegressor", _on(DATA.number, regressor=Ridge(), func=np.log, inverse_func=np.exp))
_put("VotingClassifier", _on(DATA.classes, estimators=[("a", _logistic()), ("b", _tree())], voting="soft"))
_put("VotingRegressor", _on(DATA.number, estimators=[("a", Ridge()), ("b", LinearRegression())]))
_put("Pipeline", _on(DATA.classes, steps=[("scale", StandardScaler()), ("reduce", PCA(3)), ("predict", _logistic())]))
_put("FeatureUnion", _on(None, transformer_list=[("a", StandardScaler()), ("b", PCA(2))]))
_put("ColumnTransformer", lambda kind: _columns(kind))


def _columns(kind: Any) -> Made:
    rows, held = (frame.join(words(frame)) for frame in (X, HELD))
    parts = [("a", MinMaxScaler(), ["x0", "x3"]), ("b", OneHotEncoder(handle_unknown="ignore"), ["size"])]
    return kind(parts, sparse_threshold=0).fit(rows), rows, held
