"""XGBoost, alone and as the last step: bit-equal, but for probabilities that its wrapper makes with SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars
import pytest
import xgboost
from judge import Case, assert_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_steps import label, matrix, mixed, prepared, target, with_holes

from monorail.adapters import find_adapter
from monorail.errors import CompileError

OPTIONS: dict[str, Any] = {"n_estimators": 15, "max_depth": 4, "n_jobs": 1}


def grades(X: np.ndarray) -> np.ndarray:
    return np.digitize(target(X), [-50, 50])


def share(X: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-target(X) / 100))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int16", "bool"])
@pytest.mark.parametrize("form", ["array", "table"])
def test_element_types(dtype: str, form: str) -> None:
    X: Any = (matrix(400) * (10_000_000 if dtype == "int64" else 1)).astype(dtype) if dtype != "bool" else matrix() > 0
    y = target(matrix(len(X)))
    X = X if form == "array" else pd.DataFrame(X, columns=list("abcdef"))
    assert_equal(xgboost.XGBRegressor(**OPTIONS).fit(X, y), X, close=0.0, outputs=["score"])


def test_values_around_a_rounded_threshold() -> None:
    X = matrix(400)
    model = xgboost.XGBRegressor(**OPTIONS).fit(X, target(X))
    case = Case(model, X)
    proof = case.prove(least_rows=6000, rtol=0.0, atol=0.0)
    proof.check()
    assert proof.generators["threshold"] > 5000


@pytest.mark.parametrize("method", ["hist", "exact", "approx"])
def test_missing_values(method: str) -> None:
    X = with_holes(matrix(400))
    model = xgboost.XGBRegressor(**OPTIONS, tree_method=method, gamma=5).fit(X, target(X))
    assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0)


@pytest.mark.parametrize("missing", [-1.0, 0.1, 0.0])
def test_a_value_that_stands_for_missing(missing: float) -> None:
    holes = with_holes(matrix(400))
    X = np.where(np.isnan(holes), missing, holes)
    assert_equal(xgboost.XGBRegressor(**OPTIONS, missing=missing).fit(X, target(holes)), X, close=0.0, nullable=True)


@pytest.mark.parametrize(
    "objective",
    [
        *("reg:squarederror", "reg:squaredlogerror", "reg:logistic", "reg:pseudohubererror", "reg:absoluteerror"),
        *("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "binary:logistic", "binary:logitraw"),
    ],
)
def test_objective(objective: str) -> None:
    X = with_holes(matrix(400))
    y = share(X) if not objective.startswith("binary") else target(X) > 0
    model = xgboost.XGBRegressor(**OPTIONS, objective=objective).fit(X, y)
    case = assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0)
    assert_margins_equal(case)


def assert_margins_equal(case: Case) -> None:
    scored = Case(case.model, case.form.frame(case.table), outputs=["score"])
    got, wanted = scored.engine()(scored.table), scored.original.answers(scored.table)
    assert np.array_equal(got["score"], wanted["score"])


@pytest.mark.parametrize("alpha", [0.3, [0.1, 0.5, 0.9]], ids=["one", "several"])
def test_quantiles(alpha: Any) -> None:
    X = with_holes(matrix(400))
    model = xgboost.XGBRegressor(**OPTIONS, objective="reg:quantileerror", quantile_alpha=alpha)
    assert_equal(model.fit(X, target(X)), X, close=0.0)


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "binary:hinge"])
def test_two_classes(objective: str) -> None:
    X = with_holes(matrix(400))
    model = xgboost.XGBClassifier(**OPTIONS, objective=objective).fit(X, target(X) > 0)
    assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0)


@pytest.mark.parametrize("objective", ["multi:softprob", "multi:softmax"])
def test_several_classes(objective: str) -> None:
    X = with_holes(matrix(400))
    model = xgboost.XGBClassifier(**OPTIONS, objective=objective).fit(X, grades(X))
    case = assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0 if objective == "multi:softprob" else 1e-6)
    assert [entry["type"] for entry in case.compiled.outputs] == ["int64", "float32"]


def test_label_where_probabilities_meet() -> None:
    """Margins a few float32 steps apart: the label is judged on rounded probabilities, not on margins."""
    steps = np.arange(400.0)[:, None]
    y = np.where(np.arange(400) % 2, 1.0, 0.0)
    for scale in (1e-7, 4e-8, 3e-9):
        model = xgboost.XGBClassifier(n_estimators=40, max_depth=6, learning_rate=scale, base_score=0.5, n_jobs=1)
        assert_equal(model.fit(steps, y), steps, close=0.0)
        rank = xgboost.XGBClassifier(n_estimators=10, max_depth=6, learning_rate=scale, base_score=0.0, n_jobs=1)
        assert_equal(rank.fit(steps, np.arange(400) % 3), steps, close=0.0)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_outputs(strategy: str) -> None:
    X = with_holes(matrix(400))
    y = np.column_stack([target(X), -(target(X) ** 2), np.nan_to_num(X[:, 0])])
    model = xgboost.XGBRegressor(**OPTIONS, multi_strategy=strategy).fit(X, y)
    assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0)
    labelled = xgboost.XGBClassifier(**OPTIONS, multi_strategy=strategy).fit(X, (y > 0).astype(int))
    case = assert_equal(labelled, X, close=0.0)
    assert case.compiled.outputs[0]["size"] == 3


@pytest.mark.parametrize("kind", ["numbers", "two classes", "three classes"])
@pytest.mark.parametrize("booster", ["dart", "gblinear"])
def test_other_boosters(booster: str, kind: str) -> None:
    X = with_holes(matrix(400))
    options: dict[str, Any] = {"dart": {**OPTIONS, "rate_drop": 0.3}, "gblinear": {"n_estimators": 15}}[booster]
    if kind == "numbers":
        model: Any = xgboost.XGBRegressor(booster=booster, **options).fit(X, target(X))
    else:
        model = xgboost.XGBClassifier(booster=booster, **options)
        model.fit(X, target(X) > 0 if kind == "two classes" else grades(X))
    assert_equal(model, X, with_holes(matrix(seed=4)), close=0.0 if kind == "numbers" else 1e-6)


def test_forests_of_its_own() -> None:
    X = with_holes(matrix(400))
    assert_equal(xgboost.XGBRFRegressor(n_estimators=9, n_jobs=1).fit(X, target(X)), X, close=0.0)
    assert_equal(xgboost.XGBRFClassifier(n_estimators=9, n_jobs=1).fit(X, grades(X)), X, close=0.0)
    parallel = xgboost.XGBRegressor(**OPTIONS, num_parallel_tree=3, subsample=0.5)
    assert_equal(parallel.fit(X, target(X)), X, close=0.0)


def test_ranker() -> None:
    X = matrix(400)
    model = xgboost.XGBRanker(**OPTIONS).fit(X, np.clip(target(X) / 50, 0, 4).astype(int), group=[20] * 20)
    assert_equal(model, X, close=0.0)


def test_best_iteration_counts_for_the_estimator_alone() -> None:
    X, other = matrix(400), matrix(seed=4)
    model = xgboost.XGBRegressor(n_estimators=60, learning_rate=0.9, early_stopping_rounds=3, n_jobs=1)
    model.fit(X, target(X), eval_set=[(other, target(other) + np.random.default_rng(0).normal(0, 80, 300))], verbose=0)
    assert 0 < model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    assert_equal(model, X, close=0.0)
    assert_equal(model.get_booster(), X, close=0.0)


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_native_booster(booster: str) -> None:
    X = with_holes(matrix(400))
    options = {"objective": "multi:softprob", "num_class": 3, "booster": booster, "nthread": 1}
    model = xgboost.train(options, xgboost.DMatrix(X, grades(X)), 9)
    case = assert_equal(model, X, outputs=["score"], close=0.0)
    assert case.compiled.outputs[0]["size"] == 3
    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = xgboost.train({"nthread": 1}, xgboost.DMatrix(frame, target(X)), 9)
    assert_equal(named, frame, close=0.0)


def fruit(rows: int = 500, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    names = [f"sort {number}" for number in range(90)]
    frame = pd.DataFrame({"sort": pd.Categorical(random.choice(names, rows), categories=names)})
    frame["skin"] = pd.Categorical(random.choice(["red", "green", "yellow"], rows))
    frame["size"] = pd.Categorical(random.choice([3, 5, 9], rows))
    frame["weight"] = random.normal(size=rows)
    frame.loc[random.random(rows) < 0.1, "skin"] = None
    return frame


def ripeness(frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(frame["weight"] + frame["sort"].cat.codes % 7 + 3.0 * (frame["skin"].astype(str) == "red"))


@pytest.mark.parametrize("one_hot", [2, 200], ids=["sets", "one against rest"])
@pytest.mark.parametrize("nullable", [None, True], ids=["as seen", "nullable"])
def test_pandas_categories(one_hot: int, nullable: bool | None) -> None:
    frame = fruit()
    model = xgboost.XGBRegressor(**OPTIONS, enable_categorical=True, max_cat_to_onehot=one_hot)
    case = assert_equal(model.fit(frame, ripeness(frame)), frame, fruit(300, seed=4), close=0.0, nullable=nullable)
    assert any("not seen" in note for note in case.compiled.notes)


def test_unseen_categories_are_refused_whatever_they_sort_before() -> None:
    frame = fruit()
    model = xgboost.XGBRegressor(**OPTIONS, enable_categorical=True).fit(frame, ripeness(frame))
    strange = frame.head(1).assign(skin=pd.Categorical(["blue"]))
    with pytest.raises(ValueError, match="'blue' of column 'skin'"):
        find_adapter(model).answers(model, strange, ["prediction"])
    with pytest.raises(ValueError, match="'blue' of column 'skin'"):
        find_adapter(model).answers(model, polars.from_pandas(strange), ["prediction"])


def test_categories_outside_ascii_are_refused() -> None:
    frame = fruit()
    frame["skin"] = frame["skin"].cat.rename_categories({"red": "röd"})
    model = xgboost.XGBRegressor(**OPTIONS, enable_categorical=True).fit(frame, ripeness(frame))
    with pytest.raises(CompileError, match="outside ASCII"):
        Case(model, frame)


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_codes(dtype: str) -> None:
    random = np.random.default_rng(1)
    X = np.column_stack([random.integers(0, 150, 500), random.integers(0, 5, 500), random.normal(0, 3, 500)])
    odd = [-0.5, -0.0, -1.0, 0.5, 1.999999999999, 3e9, 2.0**24, 2.0**24 - 1, 63.5, 149.9, 150.0, -1e-40, 1e38, np.nan]
    more = np.column_stack([np.repeat(odd, 2), np.zeros(2 * len(odd)), np.tile([-1.0, 1.0], len(odd))])
    X, y = X.astype(dtype), X[:, 0] % 7 + X[:, 1] ** 2 + X[:, 2]
    model = xgboost.XGBRegressor(**OPTIONS, feature_types=["c", "c", "q"], enable_categorical=True).fit(X, y)
    assert_equal(model, X if dtype == "int64" else np.concatenate([X, more.astype("float32").astype(dtype)]), close=0.0)
    data = xgboost.DMatrix(X, y, feature_types=["c", "c", "q"], enable_categorical=True)
    assert_equal(xgboost.train({"nthread": 1}, data, 9), X, close=0.0)


@pytest.mark.parametrize("sparse", [0.0, 1.0])
def test_last_step_of_a_mixed_pipeline(sparse: float) -> None:
    frame = mixed(600)
    model = make_pipeline(prepared(sparse_threshold=sparse), xgboost.XGBClassifier(**OPTIONS))
    assert_equal(model.fit(frame, label(frame)), frame, mixed(300, seed=3), close=0.0)


def test_behind_a_scaler() -> None:
    X = matrix(400)
    assert_equal(make_pipeline(StandardScaler(), xgboost.XGBRegressor(**OPTIONS)).fit(X, target(X)), X, close=0.0)


def test_only_leaves() -> None:
    X = matrix(60)
    assert_equal(xgboost.XGBRegressor(n_estimators=2, gamma=1e9).fit(X, target(X)), X, close=0.0)


def test_what_is_not_known_is_refused() -> None:
    X = matrix()
    own = xgboost.XGBClassifier(**OPTIONS, objective=lambda y, p: (p - y, np.ones_like(y)))
    with pytest.raises(CompileError, match="Python objective"):
        Case(own.fit(X, target(X) > 0), X)
    with pytest.raises(CompileError, match="not fitted"):
        find_adapter(xgboost.XGBRegressor()).describe(xgboost.XGBRegressor())
