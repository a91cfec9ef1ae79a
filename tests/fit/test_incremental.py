"""Estimators with partial_fit: equal to their own fit where that is promised, and as good where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.cluster import Birch, MiniBatchKMeans
from sklearn.decomposition import IncrementalPCA, LatentDirichletAllocation, MiniBatchNMF
from sklearn.linear_model import Perceptron, SGDClassifier, SGDOneClassSVM, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from tests.support.learning import framed, same_attributes
from tests.support.training import MadeRows

from monorail.errors import InputError
from monorail.fit.registry import trainer_for


def trained(estimator: Any, rows: MadeRows) -> Any:
    kind = trainer_for(estimator)
    assert kind is not None
    trainer = kind(clone(estimator), rows.inputs)
    assert trainer.refusal() is None
    trainer.fit(rows)
    assert trainer.note()
    return trainer.estimator


def plainly(estimator: Any, *data: Any, **settings: Any) -> Any:
    copy: Any = clone(estimator)
    return copy.fit(*data, **settings)


def made(rows: int = 800, width: int = 5, classes: int = 2, seed: int = 0):
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, width)) * 0.8
    scores = matrix @ random.normal(size=(width, classes)) + random.gumbel(size=(rows, classes)) * 0.3
    names = np.array(["no", "yes", "maybe", "b"])[:classes]
    return matrix, pa.array(names[np.argmax(scores, axis=1)].tolist()), random.uniform(0.1, 3, rows)


def counts(rows: int = 500, width: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.7, (rows, width)).astype(float)


def series(target: pa.Array) -> Any:
    return framed(pa.table({"y": target}))["y"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("step", [MultinomialNB(), ComplementNB(norm=True), BernoulliNB(), CategoricalNB()], ids=str)
def test_counts_of_classes_are_those_of_all_rows(step, sparse, weighted):
    if sparse and isinstance(step, CategoricalNB):
        pytest.skip("scikit-learn takes dense features alone")
    matrix = counts()
    _, target, weight = made(500, classes=3)
    given = sp.csr_matrix(matrix) if sparse else matrix
    weight = weight if weighted else None
    learnt = trained(step, MadeRows(given, target, weight=weight, max_rows=60))
    same_attributes(learnt, plainly(step, given, series(target), sample_weight=weight), 1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_gaussian_moments_are_those_of_all_rows(classes, weighted):
    matrix, target, weight = made(classes=classes)
    matrix[:, 0] += 1e5
    weight = weight if weighted else None
    learnt = trained(GaussianNB(), MadeRows(matrix, target, weight=weight, max_rows=60))
    same_attributes(learnt, plainly(GaussianNB(), matrix, series(target), weight), 1e-9)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "step",
    [
        SGDClassifier(shuffle=False, max_iter=4).set_params(tol=None),
        SGDClassifier(shuffle=False, max_iter=3, class_weight="balanced").set_params(tol=None),
        Perceptron(shuffle=False, max_iter=3).set_params(tol=None),
    ],
    ids=str,
)
def test_descent_in_order_takes_the_steps_of_fit(step, classes):
    matrix, target, weight = made(classes=classes)
    learnt = trained(step, MadeRows(matrix, target, weight=weight, max_rows=130))
    same_attributes(
        learnt, plainly(step, matrix, series(target), sample_weight=weight), 1e-6, atol=1e-9, skip=["_loss_function_"]
    )


@pytest.mark.parametrize("size", [50, 77, 1000])
def test_the_blocks_do_not_matter(size):
    matrix, target, _ = made()
    step = SGDClassifier(random_state=0, max_iter=5).set_params(tol=None)
    first, second = (trained(step, MadeRows(matrix, target, max_rows=rows)) for rows in (size, 800))
    np.testing.assert_array_equal(first.coef_, second.coef_)


@pytest.mark.parametrize(
    "step",
    [
        SGDClassifier(random_state=0),
        SGDClassifier(random_state=0, loss="modified_huber", learning_rate="adaptive", eta0=0.1),
        SGDClassifier(random_state=0, loss="log_loss", class_weight="balanced", penalty="l1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 3])
def test_descent_stops_by_its_loss_and_is_as_good(step, classes):
    matrix, target, _ = made(classes=classes)
    learnt = trained(step, MadeRows(matrix, target))
    labels = series(target)
    expected = plainly(step, matrix, labels)
    assert learnt.n_iter_ < 60
    assert learnt.score(matrix, labels) > expected.score(matrix, labels) - 0.06
    assert set(vars(learnt)) == set(vars(expected))
    assert learnt.get_params() == expected.get_params()


def test_a_regressor_and_a_detector():
    matrix, _, _ = made()
    target = matrix @ [1.0, 2, 3, 4, 5] + 7
    step = SGDRegressor(random_state=0, loss="huber", epsilon=1.0)
    learnt, expected = trained(step, MadeRows(matrix, target)), plainly(step, matrix, target)
    assert learnt.score(matrix, target) > expected.score(matrix, target) - 0.02
    assert set(vars(learnt)) == set(vars(expected))
    detector = SGDOneClassSVM(random_state=0)
    said = trained(detector, MadeRows(matrix + 3)).predict(matrix + 3)
    assert (said == plainly(detector, matrix + 3).predict(matrix + 3)).mean() > 0.8


def test_networks():
    matrix, target, _ = made()
    step = MLPClassifier((8,), random_state=0, max_iter=40, tol=1e-3, learning_rate_init=0.02)
    learnt = trained(step, MadeRows(matrix, target))
    assert learnt.score(matrix, series(target)) > 0.9
    assert learnt.n_iter_ == len(learnt.loss_curve_) <= 40
    numbers = matrix @ [1.0, 2, 3, 4, 5]
    network = MLPRegressor(random_state=0, learning_rate_init=0.02, max_iter=60).set_params(hidden_layer_sizes=(16,))
    regressor = trained(network, MadeRows(matrix, numbers))
    assert regressor.score(matrix, numbers) > 0.9


@pytest.mark.parametrize(
    "step", [IncrementalPCA(3), IncrementalPCA(batch_size=70), IncrementalPCA(whiten=True)], ids=str
)
def test_components_are_those_of_its_own_batches(step):
    matrix, _, _ = made(503)
    same_attributes(trained(step, MadeRows(matrix, max_rows=33)), plainly(step, matrix), 1e-9)


def test_a_machine_and_topics_are_those_of_their_own_batches():
    step = BernoulliRBM(4, random_state=0, batch_size=30, n_iter=3)
    matrix = (counts() > 0).astype(float)
    same_attributes(trained(step, MadeRows(matrix)), plainly(step, matrix), 1e-9)
    topics = LatentDirichletAllocation(3, random_state=0, learning_method="online", batch_size=64, max_iter=2)
    sparse = sp.csr_matrix(counts())
    same_attributes(trained(topics, MadeRows(sparse)), plainly(topics, sparse), 1e-8)


def test_clusters():
    random = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    # In the order of the clusters: whoever begins with the first rows sees one of them.
    matrix = np.repeat(centres, 400, axis=0) + random.normal(size=(1200, 2))
    learnt = trained(MiniBatchKMeans(3, random_state=0, batch_size=100), MadeRows(matrix))
    found = learnt.cluster_centers_[np.argsort(learnt.cluster_centers_ @ [1.0, 2.0])]
    np.testing.assert_allclose(found, centres, atol=0.5)
    assert learnt.labels_.shape == (1200,)
    assert learnt.inertia_ == pytest.approx(np.square(matrix - learnt.cluster_centers_[learnt.labels_]).sum())
    step = Birch(n_clusters=3)
    tree, expected = trained(step, MadeRows(matrix)), plainly(step, matrix)
    np.testing.assert_array_equal(tree.labels_, expected.labels_)
    np.testing.assert_allclose(tree.subcluster_centers_, expected.subcluster_centers_)


def test_others_are_called_piece_by_piece():
    matrix, target, _ = made(classes=3)
    several = trained(OneVsRestClassifier(SGDClassifier(random_state=0)), MadeRows(matrix, target))
    assert several.score(matrix, series(target)) > 0.7
    factors = trained(MiniBatchNMF(random_state=0, batch_size=100).set_params(n_components=3), MadeRows(counts()))
    assert factors.components_.shape == (3, 12)


def test_a_table_gives_names():
    matrix, target, _ = made(width=2)
    table = pa.table({"a": matrix[:, 0], "b": matrix[:, 1]})
    learnt = trained(SGDClassifier(random_state=0), MadeRows(table, target))
    assert learnt.feature_names_in_.tolist() == ["a", "b"]
    learnt.predict(framed(table))


def test_what_cannot_be_is_refused_with_what_would_work():
    matrix, target, _ = made()
    inputs = MadeRows(matrix, target).inputs

    def refused(step: Any) -> str:
        kind = trainer_for(step)
        return (kind and kind(step, inputs).refusal()) or ""

    assert "tol=" in refused(SGDClassifier(early_stopping=True))
    assert "adam" in refused(MLPClassifier(solver="lbfgs"))
    assert "online" in refused(LatentDirichletAllocation())
    matrix[9, 1] = np.nan
    with pytest.raises(InputError) as found:
        trained(GaussianNB(), MadeRows(matrix, target))
    assert found.value.details == [{"row": 9, "column": "feature 1"}]
