"""Linear models from moments: what scikit-learn's own fit leaves, from blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge, RidgeClassifier
from tests.support.learning import framed, same_attributes
from tests.support.training import MadeRows

from monorail.errors import FitError, InputError
from monorail.fit.learning import Inputs
from monorail.fit.registry import trainer_for


def trained(estimator: Any, rows: MadeRows) -> Any:
    kind = trainer_for(estimator)
    assert kind is not None
    trainer = kind(clone(estimator), rows.inputs)
    assert trainer.refusal() is None
    trainer.fit(rows)
    return trainer.estimator


def plainly(estimator: Any, *data: Any) -> Any:
    """What scikit-learn's own ``fit`` makes of it."""
    copy: Any = clone(estimator)
    return copy.fit(*data)


def refused(estimator: Any, inputs: Inputs) -> str:
    kind = trainer_for(estimator)
    return (kind and kind(estimator, inputs).refusal()) or ""


def made(rows: int = 700, width: int = 6, seed: int = 0, kind: type = np.float64):
    random = np.random.default_rng(seed)
    matrix = (random.normal(size=(rows, width)) * [1, 10, 0.1, 3, 1, 100][:width] + 5).astype(kind)
    target = matrix @ random.normal(size=width) + random.normal(size=rows) - 40
    return matrix, target.astype(kind), random.uniform(0, 3, rows)


def sparse(rows: int = 900, seed: int = 0):
    """One-hot columns, whose sum is constant, beside a few numbers."""
    random = np.random.default_rng(seed)
    hot = np.eye(5)[random.integers(0, 5, rows)]
    numbers = random.normal(size=(rows, 3)) * (random.random((rows, 3)) < 0.4)
    matrix = sp.csr_matrix(np.hstack([hot, numbers]))
    return matrix, matrix @ random.normal(size=8) + random.normal(size=rows) + 100, random.uniform(0.5, 2, rows)


PLAIN = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    LinearRegression(positive=True),
    Ridge(),
    Ridge(alpha=0.1, fit_intercept=False),
    Ridge(solver="svd"),
    Ridge(solver="lsqr"),
    Ridge(positive=True),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("step", PLAIN, ids=str)
def test_least_squares_are_those_of_all_rows(step, weighted):
    matrix, target, weight = made()
    weight = weight if weighted else None
    learnt = trained(step, MadeRows(matrix, target, weight=weight, max_rows=90))
    loose = step.get_params().get("solver") == "lsqr" or (isinstance(step, Ridge) and step.positive)
    same_attributes(learnt, plainly(step, matrix, target, weight), 1e-6 if loose else 1e-9)


@settings(max_examples=40)
@given(
    rows=st.integers(2, 60),
    width=st.integers(1, 6),
    seed=st.integers(0, 1000),
    parts=st.integers(1, 6),
    size=st.integers(1, 40),
    intercept=st.booleans(),
)
def test_any_shape_split_any_way(rows, width, seed, parts, size, intercept):
    matrix, target, _ = made(rows, width, seed)
    step = LinearRegression(fit_intercept=intercept)
    learnt = trained(step, MadeRows(matrix, target, parts=parts, max_rows=size))
    expected = plainly(step, matrix, target)
    bound = 1e-9 * max(1.0, float(expected.singular_[0]))
    same_attributes(learnt, expected, 1e-6, atol=1e-7, within={"singular_": (1e-9, bound)})


def test_columns_that_depend_on_each_other_get_the_least_norm():
    matrix, target, _ = made()
    matrix = np.hstack([matrix, matrix[:, :2] @ [[1.0], [2.0]], np.full((len(matrix), 1), 7.0)])
    learnt = trained(LinearRegression(), MadeRows(matrix, target))
    expected = plainly(LinearRegression(), matrix, target)
    assert learnt.rank_ == expected.rank_ == 6
    same_attributes(learnt, expected, 1e-8, atol=1e-9)


def test_badly_conditioned_columns_lose_no_digits_to_squares():
    random = np.random.default_rng(1)
    first = random.normal(size=2_000)
    matrix = np.column_stack([first, first + 1e-5 * random.normal(size=2_000), random.normal(size=2_000) + 1e6])
    target = matrix @ [1.0, 2.0, 3.0] + random.normal(size=2_000)
    step = LinearRegression(tol=1e-12)
    same_attributes(trained(step, MadeRows(matrix, target)), plainly(step, matrix, target), 1e-7)


@pytest.mark.parametrize("step", [Ridge(), Ridge(solver="svd"), Lasso(alpha=0.1), LinearRegression()], ids=str)
def test_columns_far_from_zero_and_columns_that_do_not_vary(step):
    matrix, target, weight = made()
    far = np.array([0, 1e8, 0, -1e6, 0, 0])
    matrix = np.hstack([matrix + far, np.full((len(matrix), 1), 1e5 / 3)])
    learnt = trained(step, MadeRows(matrix, target, weight=weight, max_rows=90))
    same_attributes(learnt, plainly(step, matrix, target, weight), 1e-6, atol=1e-7, skip=["dual_gap_"])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "step",
    [
        LinearRegression(),
        LinearRegression(fit_intercept=False),
        Ridge(),
        Ridge(solver="lsqr"),
        Ridge(fit_intercept=False),
    ],
    ids=str,
)
def test_sparse_rows(step, weighted):
    matrix, target, weight = sparse()
    weight = weight if weighted else None
    learnt = trained(step, MadeRows(matrix, target, weight=weight, max_rows=100))
    same_attributes(learnt, plainly(step, matrix, target, weight), 1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [LinearRegression(), Ridge().set_params(alpha=[0.5, 20.0])], ids=str)
def test_several_targets(step):
    matrix, target, _ = made()
    both = np.column_stack([target, -2 * target + matrix[:, 0]])
    lists = pa.FixedSizeListArray.from_arrays(pa.array(both.ravel()), 2)
    struct = pa.StructArray.from_arrays([pa.array(both[:, 0]), pa.array(both[:, 1])], ["one", "two"])
    for column in (lists, struct):
        same_attributes(trained(step, MadeRows(matrix, column)), plainly(step, matrix, both), 1e-9)


def test_float32_stays_float32():
    matrix, target, _ = made(kind=np.float32)
    learnt = trained(Ridge(), MadeRows(matrix, target))
    same_attributes(learnt, plainly(Ridge(), matrix, target), 1e-3)


def test_a_table_gives_names():
    matrix, target, _ = made(width=3)
    table = pa.table({"a": matrix[:, 0], "b": pa.array(matrix[:, 1].astype(np.int64)), "c": matrix[:, 2] > 5})
    learnt = trained(LinearRegression(), MadeRows(table, target))
    same_attributes(learnt, plainly(LinearRegression(), framed(table), target), 1e-9)


@pytest.mark.parametrize("step", [Lasso(alpha=0.5), ElasticNet(alpha=0.2, l1_ratio=0.3), Lasso(positive=True)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_coordinate_descent_takes_the_same_steps(step, weighted):
    matrix, target, weight = made()
    weight = weight if weighted else None
    learnt = trained(step, MadeRows(matrix, target, weight=weight))
    same_attributes(learnt, plainly(step, matrix, target, weight), 1e-8, within={"dual_gap_": (1e-3, 1e-8)})


@pytest.mark.parametrize("step", [RidgeClassifier(), RidgeClassifier(class_weight="balanced", alpha=3.0)], ids=str)
@pytest.mark.parametrize("classes", [2, 3])
def test_ridge_classifier(step, classes):
    matrix, target, weight = made()
    names = np.array(["b", "c", "a"])[np.digitize(target, np.quantile(target, [0.2, 0.5][: classes - 1]))].tolist()
    labels = pa.array(names)
    learnt = trained(step, MadeRows(matrix, labels, weight=weight))
    series = framed(pa.table({"y": labels}))["y"]
    same_attributes(learnt, plainly(step, matrix, series, weight), 1e-9)


def test_what_cannot_be_is_refused_before_any_pass():
    matrix, _, _ = made()
    dense, sparse = MadeRows(matrix).inputs, MadeRows(sp.csr_matrix(matrix)).inputs
    assert "single rows" in refused(Ridge(solver="saga"), dense)
    assert "positive" in refused(Ridge(solver="lbfgs"), dense)
    assert "dense" in refused(LinearRegression(positive=True), sparse)
    assert "'b' is string" in refused(Ridge(), Inputs(("a", "b"), (pa.float64(), pa.string()), None))


def test_rows_that_cannot_be_learnt_from_are_named():
    matrix, target, weight = made()
    matrix[300, 2] = np.nan
    with pytest.raises(InputError) as found:
        trained(Ridge(), MadeRows(matrix, target))
    assert found.value.code == "null_not_allowed"
    assert found.value.details == [{"row": 300, "column": "feature 2"}]
    matrix[300, 2] = np.inf
    with pytest.raises(InputError) as found:
        trained(Ridge(), MadeRows(sp.csr_matrix(matrix), target))
    assert found.value.code == "not_finite"
    assert found.value.details == [{"row": 300, "column": "feature 2"}]
    matrix[300, 2] = 0
    with pytest.raises(InputError, match="null"):
        trained(Ridge(), MadeRows(matrix, pa.array(target, mask=weight < 0.01)))
    with pytest.raises(InputError, match="weight"):
        trained(Ridge(), MadeRows(matrix, target, weight=-weight))
    with pytest.raises(FitError, match="no class"):
        trained(RidgeClassifier(class_weight={"x": 2.0}), MadeRows(matrix, pa.array(["no class", "b"] * 350)))
