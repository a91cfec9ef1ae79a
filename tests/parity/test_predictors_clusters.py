"""Clusterings that place new rows, and their distances as features, on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judge import Case, assert_equal
from samples import split
from sklearn import cluster
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from monorail.errors import CompileError

FAR = {"iris": 0.5, "wine": 40.0, "digits": 20.0}
ONCE: dict[str, Any] = {"n_init": 1, "random_state": 0}
WHOLE: dict[str, Any] = {"n_clusters": None}
CLUSTERS: dict[str, Any] = {
    "k-means": lambda name: cluster.KMeans(4, **ONCE),
    "mini-batches": lambda name: cluster.MiniBatchKMeans(4, **ONCE),
    "bisecting": lambda name: cluster.BisectingKMeans(6, random_state=0),
    "birch": lambda name: cluster.Birch(threshold=FAR[name], n_clusters=3),
    "birch without a last step": lambda name: cluster.Birch(threshold=FAR[name], **WHOLE),
}


@pytest.mark.parametrize("name", FAR)
@pytest.mark.parametrize("kind", CLUSTERS)
def test_clusters_with_distances(name: str, kind: str) -> None:
    X, held_out, _ = split(name)
    case = assert_equal(CLUSTERS[kind](name).fit(X), X, held_out, outputs=["features"])
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "features"]


@pytest.mark.parametrize("name", ["iris", "wine"])
@pytest.mark.parametrize("kind", [cluster.AffinityPropagation(random_state=0, damping=0.8), cluster.MeanShift()])
def test_nearest_centre(name: str, kind: Any) -> None:
    X, held_out, _ = split(name)
    assert_equal(kind.fit(X), X, held_out)


def test_a_single_cluster() -> None:
    X, held_out, _ = split("iris")
    assert_equal(cluster.BisectingKMeans(1, random_state=0).fit(X), X, held_out)
    assert_equal(cluster.KMeans(1, random_state=0).fit(X), X, held_out)


def test_distances_in_a_pipeline() -> None:
    X, held_out, y = split("iris")
    model = make_pipeline(cluster.KMeans(5, **ONCE), LogisticRegression(max_iter=500)).fit(X, y)
    assert_equal(model, X, held_out)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_other_types_of_columns(dtype: Any) -> None:
    X, held_out, _ = (values.astype(dtype) for values in split("digits"))
    close = 1e-5 if dtype == np.float32 else 1e-9
    assert_equal(cluster.KMeans(5, **ONCE).fit(X), X, held_out, outputs=["features"], close=close)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_centres() -> None:
    X, _, _ = split("iris")
    model = cluster.AffinityPropagation(max_iter=1, random_state=0).fit(X)
    with pytest.raises(CompileError, match="no centres"):
        Case(model, X)
