"""Logistic regression in passes: the coefficients of scikit-learn's own fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from tests.support.learning import framed, same_attributes
from tests.support.training import MadeRows

from monorail.errors import FitError, InputError
from monorail.fit.registry import trainer_for


def trained(estimator: Any, rows: MadeRows) -> Any:
    kind = trainer_for(estimator)
    assert kind is not None
    trainer = kind(clone(estimator), rows.inputs)
    assert trainer.refusal() is None
    trainer.fit(rows)
    return trainer.estimator


def plainly(estimator: Any, *data: Any) -> Any:
    copy: Any = clone(estimator)
    return copy.fit(*data)


def made(rows: int = 900, width: int = 5, classes: int = 2, seed: int = 0):
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, width)) * random.uniform(0.3, 2, width) + random.normal(size=width)
    scores = matrix @ random.normal(size=(width, classes)) + random.gumbel(size=(rows, classes)) * 2
    names = np.array(["no", "yes", "maybe", "b", "a"])[:classes]
    return matrix, pa.array(names[np.argmax(scores, axis=1)].tolist()), random.uniform(0, 3, rows)


def series(target: pa.Array) -> Any:
    return framed(pa.table({"y": target}))["y"]


def same(learnt: Any, expected: Any) -> None:
    same_attributes(learnt, expected, 1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    "step",
    [
        LogisticRegression(),
        LogisticRegression(C=0.01, fit_intercept=False),
        LogisticRegression(class_weight="balanced"),
        LogisticRegression(class_weight={"yes": 3.0}),
        LogisticRegression(C=np.inf),
    ],
    ids=str,
)
def test_coefficients_are_those_of_all_rows(step, classes, weighted):
    matrix, target, weight = made(classes=classes)
    weight = weight if weighted else None
    learnt = trained(step, MadeRows(matrix, target, weight=weight, max_rows=250))
    same(learnt, plainly(step, matrix, series(target), weight))


@settings(max_examples=8)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 5), parts=st.integers(1, 7), size=st.integers(20, 300))
def test_any_split(seed, classes, parts, size):
    matrix, target, _ = made(200, 4, classes, seed)
    if len(target.unique()) < 2:
        return
    learnt = trained(LogisticRegression(), MadeRows(matrix, target, parts=parts, max_rows=size))
    same(learnt, plainly(LogisticRegression(), matrix, series(target)))


@pytest.mark.parametrize("classes", [2, 3])
def test_sparse_rows(classes):
    matrix, target, weight = made(classes=classes)
    sparse = sp.csr_matrix(np.where(np.abs(matrix) < 0.5, 0, matrix))
    step = LogisticRegression(class_weight="balanced")
    learnt = trained(step, MadeRows(sparse, target, weight=weight))
    same(learnt, plainly(step, sparse, series(target), weight))


def test_numbers_booleans_and_float32():
    matrix, target, _ = made()
    table = pa.table({"a": matrix[:, 0], "b": (matrix[:, 1] * 3).astype(np.int32), "c": matrix[:, 2] > 0})
    for kind in (pa.int8(), pa.bool_()):
        flags = pa.array([name == "yes" for name in target.to_pylist()]).cast(kind)
        learnt = trained(LogisticRegression(), MadeRows(table, flags))
        same(learnt, plainly(LogisticRegression(), framed(table), series(flags)))
    small = matrix.astype(np.float32)
    learnt = trained(LogisticRegression(), MadeRows(small, target))
    same_attributes(learnt, plainly(LogisticRegression(), small, series(target)), 1e-2, atol=1e-3, skip=["n_iter_"])


def test_it_says_that_it_did_not_converge():
    matrix, target, _ = made()
    step = LogisticRegression(max_iter=3)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        learnt = trained(step, MadeRows(matrix, target))
    with pytest.warns(ConvergenceWarning):
        same(learnt, plainly(step, matrix, series(target)))


def test_what_cannot_be_is_refused_with_what_would_work():
    matrix, target, _ = made()
    inputs = MadeRows(matrix, target).inputs

    def refused(step: Any) -> str:
        kind = trainer_for(step)
        return (kind and kind(step, inputs).refusal()) or ""

    assert "SGDClassifier" in refused(LogisticRegression(l1_ratio=1.0, solver="saga"))
    assert "SGDClassifier" in refused(LogisticRegression(l1_ratio=0.5, solver="saga"))
    assert "lbfgs" in refused(LogisticRegression(solver="newton-cholesky"))


def test_one_class_and_missing_values_are_refused():
    matrix, target, _ = made()
    with pytest.raises(FitError, match="two classes"):
        trained(LogisticRegression(), MadeRows(matrix, pa.array(["a"] * len(matrix))))
    matrix[5, 1] = np.nan
    with pytest.raises(InputError) as found:
        trained(LogisticRegression(), MadeRows(matrix, target))
    assert found.value.details == [{"row": 5, "column": "feature 1"}]
