"""What an estimator answers beside its own outputs: by the graph where it can, else in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import BayesianRidge
from sklearn.mixture import GaussianMixture

import monorail as mr
from monorail.errors import CompileError

X = np.random.default_rng(0).normal(size=(60, 3))


def saved(model: Any, output: str, folder: Path) -> tuple[mr.Version, np.ndarray]:
    version = mr.save(model, "model", example=X, outputs=output, registry=folder / "registry", quiet=True)
    return version, np.asarray(mr.load(version).predict(X)[output])


def test_by_the_graph(tmp_path: Path) -> None:
    clusters: Any = KMeans(3, random_state=0).fit(X)
    version, distances = saved(clusters, "features", tmp_path)
    assert (version.engine, distances.shape) == ("native", (60, 3))
    assert np.allclose(distances, clusters.transform(X), rtol=1e-9, atol=1e-9)
    mixture: Any = GaussianMixture(2, random_state=0).fit(X)
    version, scores = saved(mixture, "sample_score", tmp_path)
    assert version.engine == "native"
    assert np.allclose(scores, mixture.score_samples(X), rtol=1e-9, atol=1e-9)


def test_in_a_worker(tmp_path: Path) -> None:
    model: Any = BayesianRidge().fit(X, X[:, 0])
    version, deviation = saved(model, "deviation", tmp_path)
    assert version.engine == "worker"
    assert "`deviation`" in version.reason
    assert np.array_equal(deviation, model.predict(X, return_std=True)[1])


def test_what_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no output `probability`"):
        saved(BayesianRidge().fit(X, X[:, 0]), "probability", tmp_path)
