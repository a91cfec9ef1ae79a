"""Naive Bayes, discriminants, mixtures and networks: classes by their shares, on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judge import assert_equal
from samples import split, two
from sklearn import discriminant_analysis, linear_model, mixture, naive_bayes, neural_network

BAYES = {
    "gaussian": naive_bayes.GaussianNB(),
    "gaussian with priors": naive_bayes.GaussianNB(priors=[0.7, 0.2, 0.1]),
    "multinomial": naive_bayes.MultinomialNB(),
    "complement": naive_bayes.ComplementNB(),
    "complement with norms": naive_bayes.ComplementNB(norm=True),
    "bernoulli": naive_bayes.BernoulliNB(binarize=2.0),
}
DISCRIMINANTS = {
    "linear": discriminant_analysis.LinearDiscriminantAnalysis(),
    "linear, lsqr": discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
    "linear, eigen": discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
    "quadratic": discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    "quadratic, eigen": discriminant_analysis.QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.1),
}
SHAPES = ("full", "tied", "diag", "spherical")


@pytest.mark.parametrize("name", BAYES)
def test_bayes(name: str) -> None:
    X, held_out, y = split("wine")
    assert_equal(BAYES[name].fit(X, y), X, held_out)
    if "priors" not in name:
        assert_equal(BAYES[name].fit(X, two(y)), X, held_out)


def test_bayes_of_categories() -> None:
    X, held_out, y = split("digits")
    X, held_out = X[:, 20:28], held_out[:, 20:28]
    assert_equal(naive_bayes.CategoricalNB(min_categories=17).fit(X, y), X, held_out)
    whole = X.astype(np.int64)
    assert_equal(naive_bayes.CategoricalNB(min_categories=17).fit(whole, y), whole, held_out.astype(np.int64))


def test_bernoulli_of_what_is_binary() -> None:
    X, held_out, y = ((values > 5).astype(np.float64) for values in split("digits"))
    options: dict[str, Any] = {"binarize": None}
    assert_equal(naive_bayes.BernoulliNB(**options).fit(X, y), X, held_out)


def test_bernoulli_meets_its_threshold() -> None:
    X, held_out, y = split("digits")
    case = assert_equal(naive_bayes.BernoulliNB(binarize=5.0).fit(X, y), X, held_out)
    assert {float(value) for one in case.compiled.splits for value in one.at} == {5.0}


@pytest.mark.parametrize("name", DISCRIMINANTS)
@pytest.mark.parametrize("classes", [2, 3])
def test_discriminants(name: str, classes: int) -> None:
    X, held_out, y = split("wine")
    outputs = ["score", "features"] if name in ("linear", "linear, eigen") else ["score"]
    model = DISCRIMINANTS[name].fit(X, two(y) if classes == 2 else y)
    assert_equal(model, X, held_out, outputs=outputs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaled", [True, False])
def test_mixture(shape: Any, scaled: bool) -> None:
    X, held_out, _ = split("wine", scaled)
    model = mixture.GaussianMixture(3, covariance_type=shape, random_state=0).fit(X)
    case = assert_equal(model, X, held_out, outputs=["sample_score"])
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "probability", "sample_score"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prior", ["dirichlet_process", "dirichlet_distribution"])
def test_bayesian_mixture(shape: Any, prior: Any) -> None:
    X, held_out, _ = split("iris")
    model = mixture.BayesianGaussianMixture(
        n_components=4, covariance_type=shape, weight_concentration_prior_type=prior, random_state=0, max_iter=500
    )
    assert_equal(model.fit(X), X, held_out)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_networks(activation: Any) -> None:
    X, held_out, y = split("wine", True)
    options: dict[str, Any] = {
        "hidden_layer_sizes": (12, 6),
        "activation": activation,
        "max_iter": 30,
        "random_state": 0,
    }
    classes = neural_network.MLPClassifier(**options)
    numbers = neural_network.MLPRegressor(**options)
    several = np.column_stack([y > 0, X[:, 0] > 0]).astype(np.int64)
    for target in (y, two(y), several):
        case = assert_equal(classes.fit(X, target), X, held_out)
    assert case.compiled.outputs[0] == {"name": "label", "type": "int64", "size": 2, "names": ["0", "1"]}
    for target in (y, several / 3):
        assert_equal(numbers.fit(X, target), X, held_out)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_network_of_counts() -> None:
    X, held_out, y = split("diabetes", True)
    assert_equal(neural_network.MLPRegressor(loss="poisson", max_iter=30, random_state=0).fit(X, y), X, held_out)


LOSSES = ("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: Any) -> None:
    X, held_out, y = split("wine", True)
    model = linear_model.SGDClassifier(loss=loss, random_state=0)
    for target in (y, two(y)):
        case = assert_equal(model.fit(X, target), X, held_out)
        second = "probability" if loss in ("log_loss", "modified_huber") else "score"
        assert [entry["name"] for entry in case.compiled.outputs] == ["label", second]


@pytest.mark.parametrize("model", [linear_model.RidgeClassifier(), linear_model.RidgeClassifierCV()])
def test_several_labels_of_a_line(model: Any) -> None:
    X, held_out, y = split("wine", True)
    case = assert_equal(model.fit(X, np.column_stack([y > 0, X[:, 0] > 0]).astype(np.int64)), X, held_out)
    assert case.compiled.outputs[0] == {"name": "label", "type": "int64", "size": 2, "names": ["0", "1"]}


SINGLE = {
    "bayes": naive_bayes.GaussianNB(),
    "mixture": mixture.GaussianMixture(3, random_state=0),
    "diagonal mixture": mixture.GaussianMixture(3, covariance_type="diag", random_state=0),
    "discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
}


@pytest.mark.parametrize("name", SINGLE)
def test_what_the_original_computes_in_single_precision(name: str) -> None:
    X, held_out, y = split("wine", True)
    X, held_out = X.astype(np.float32), held_out.astype(np.float32)
    assert_equal(SINGLE[name].fit(X, y), X, held_out, close=1e-5)
