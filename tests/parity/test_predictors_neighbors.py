"""Neighbours of every search, metric and weight; ties too, which the original settles by its heap's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import Case, assert_equal
from samples import split, two
from sklearn import cluster, neighbors, semi_supervised
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from monorail.errors import CompileError


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree", "brute"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("p", [1, 2, 1.5, np.inf])
def test_classes(algorithm: Any, weights: Any, p: Any) -> None:
    X, held_out, y = split("iris")
    model = neighbors.KNeighborsClassifier(4, algorithm=algorithm, weights=weights, p=p, leaf_size=7)
    assert_equal(model.fit(X, y), X, held_out)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree", "brute"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_numbers(algorithm: Any, weights: Any) -> None:
    X, held_out, y = split("diabetes", True)
    model = neighbors.KNeighborsRegressor(algorithm=algorithm, weights=weights)
    assert_equal(model.fit(X, y), X, held_out)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree", "brute"])
@pytest.mark.parametrize("leaf_size", [1, 30])
def test_ties_on_a_grid(count: int, algorithm: Any, leaf_size: int) -> None:
    random = np.random.default_rng(count)
    X, held_out = random.integers(0, 4, (300, 3)) / 1.0, random.integers(0, 4, (400, 3)) / 1.0
    y = random.normal(size=300)
    model = neighbors.KNeighborsRegressor(count, algorithm=algorithm, leaf_size=leaf_size).fit(X, y)
    assert_equal(model, X, held_out)


def test_ties_with_the_serving_engine_in_batches_of_every_size(tmp_path: Any) -> None:
    random = np.random.default_rng(0)
    X = random.integers(0, 4, (200, 3)) / 1.0
    model = neighbors.KNeighborsRegressor(4, leaf_size=5).fit(X, random.normal(size=200))
    case = Case(model, X)
    engine = case.serving_engine(tmp_path)
    for start, count in ((0, 1), (1, 2), (3, 64), (0, 200)):
        rows = case.table.slice(start, count)
        np.testing.assert_allclose(engine(rows)["prediction"], model.predict(X[start : start + count]), rtol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "manhattan", "chebyshev", "euclidean"])
def test_metrics(metric: str) -> None:
    X, held_out, y = split("iris")
    assert_equal(neighbors.KNeighborsClassifier(metric=metric).fit(X, two(y)), X, held_out)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_several_answers(weights: Any) -> None:
    X, held_out, y = split("wine", True)
    both = np.column_stack([y, X[:, 0] > 0]).astype(np.int64)
    case = assert_equal(neighbors.KNeighborsClassifier(weights=weights).fit(X, both), X, held_out)
    assert case.compiled.outputs[0] == {"name": "label", "type": "int64", "size": 2, "names": ["0", "1"]}
    assert case.compiled.outputs[1]["names"] == ["0:0", "0:1", "0:2", "1:0", "1:1"]
    assert_equal(neighbors.KNeighborsRegressor(weights=weights).fit(X, both / 3), X, held_out)


@pytest.mark.parametrize("algorithm", ["kd_tree", "brute"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("outlier", ["most_frequent", 9, 1])
def test_radius_classes(algorithm: Any, weights: Any, outlier: Any) -> None:
    X, held_out, y = split("wine", True)
    model = neighbors.RadiusNeighborsClassifier(2.5, algorithm=algorithm, weights=weights, outlier_label=outlier)
    assert_equal(model.fit(X, y), X, held_out)


@pytest.mark.parametrize("algorithm", ["kd_tree", "brute"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_radius_numbers(algorithm: Any, weights: Any) -> None:
    X, held_out, y = split("diabetes", True)
    model = neighbors.RadiusNeighborsRegressor(2.5, algorithm=algorithm, weights=weights)
    assert_equal(model.fit(X, np.column_stack([y, -y])), X, held_out)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize("priors", ["uniform", "empirical"])
def test_nearest_centroid(metric: Any, priors: Any) -> None:
    X, held_out, y = split("wine")
    model = neighbors.NearestCentroid(metric=metric, priors=priors, shrink_threshold=0.2)
    assert_equal(model.fit(X, y), X, held_out)
    assert_equal(model.fit(X, two(y)), X, held_out)


@pytest.mark.parametrize("name", ["iris", "wine", "cancer"])
def test_local_outlier_factor(name: str) -> None:
    X, held_out, _ = split(name)
    assert_equal(neighbors.LocalOutlierFactor(novelty=True).fit(X), X, held_out, outputs=["sample_score"])


@pytest.mark.parametrize("kind", [semi_supervised.LabelPropagation, semi_supervised.LabelSpreading])
@pytest.mark.parametrize("kernel", ["rbf", "knn"])
def test_label_propagation(kind: Any, kernel: Any) -> None:
    X, held_out, y = split("iris")
    y = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    assert_equal(kind(kernel=kernel).fit(X, y), X, held_out)


def test_functions_cannot_compile() -> None:
    X, _, y = split("iris")
    functions: list[dict[str, Any]] = [
        {"weights": lambda distances: 1 / (1 + distances)},
        {"metric": lambda one, other: abs(one - other).sum()},
    ]
    for given in functions:
        with pytest.raises(CompileError, match="Python function"):
            Case(neighbors.KNeighborsClassifier(**given).fit(X, y), X)
    with pytest.raises(CompileError, match="'canberra'"):
        Case(neighbors.KNeighborsClassifier(metric="canberra").fit(X, y), X)


def test_numbers_of_nobody_near_keep_their_type() -> None:
    X, held_out, y = split("iris")
    for target in (y, y / 2, np.column_stack([y, y])):
        assert_equal(neighbors.RadiusNeighborsRegressor(0.2).fit(X, target), X, held_out)


def table(rows: int, seed: int) -> pd.DataFrame:
    """Words, whole numbers and one decimal: many rows are equally near."""
    random = np.random.default_rng(seed)
    words = random.choice(["red", "green", "blue", "ä"], rows)
    return pd.DataFrame({"word": words, "size": random.integers(0, 4, rows), "share": random.random(rows).round(1)})


@pytest.mark.parametrize(
    "model",
    [
        neighbors.KNeighborsClassifier(),
        neighbors.KNeighborsClassifier(metric="manhattan"),
        neighbors.KNeighborsRegressor(weights="distance"),
        neighbors.LocalOutlierFactor(novelty=True),
        cluster.AffinityPropagation(random_state=0, damping=0.9),
        cluster.Birch(threshold=0.3),
    ],
)
def test_mixed_tables_full_of_ties(model: Any) -> None:
    encode = make_column_transformer((OneHotEncoder(), ["word"]), remainder="passthrough", sparse_threshold=0)
    frame = table(200, 0)
    y = (frame["size"] > 1).to_numpy().astype(np.int64)
    assert_equal(make_pipeline(encode, model).fit(frame, y), frame, table(150, 1))


def test_sparse_rows_cannot_compile_where_chance_settles_ties() -> None:
    encode = make_column_transformer((OneHotEncoder(), ["word"]), remainder="passthrough", sparse_threshold=1)
    frame = table(200, 0)
    model = make_pipeline(encode, neighbors.KNeighborsClassifier()).fit(frame, frame["size"] > 1)
    with pytest.raises(CompileError, match="equally near"):
        Case(model, frame)


@pytest.mark.parametrize("name", ["cancer", "digits", "diabetes"])
@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_many_rows_are_shortlisted_by_a_product(name: str, offset: float) -> None:
    X, held_out, y = split(name)
    X, y = np.concatenate([X, X[:30]]) + offset, np.concatenate([y, y[30:60]])
    model = neighbors.KNeighborsRegressor(7, algorithm="kd_tree", weights="distance").fit(X, y)
    case = assert_equal(model, X, np.concatenate([held_out + offset, X[:40]]))
    assert "If" in {node.op_type for node in case.compiled.graph.graph.node}
