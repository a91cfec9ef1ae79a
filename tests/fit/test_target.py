"""Target encoders fitted in passes are those that scikit-learn fits, and encode training rows as it does."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, StratifiedKFold, TimeSeriesSplit
from sklearn.preprocessing import TargetEncoder

from monorail.errors import FitError, InputError
from monorail.fit.learning import Block
from monorail.fit.sklearn import folds, tables
from monorail.fit.sklearn import target as target_module
from monorail.fit.sklearn.folds import Folds

from ..support.category_data import category_column, category_tables, object_matrices
from ..support.learning import Refused, blocks_of, drive, fit_streamed, framed, learner_of, same_attributes

SEEDS = st.integers(0, 1_000)
TARGETS = ("two", "text", "bool", "three", "whole floats", "continuous", "float32", "ints")
Encoder: Any = TargetEncoder
#: Sums of a few dozen numbers, in another order.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}


def target_of(kind: str, rows: int, random: np.random.Generator) -> pa.Array:
    """A target that scikit-learn takes for binary, multiclass or continuous; every class is there if it can be."""
    codes = np.arange(rows) % 3
    random.shuffle(codes)
    made: Any = {
        "two": (codes > 0).astype(np.int64),
        "text": np.array(["no", "yes", "no"])[codes],
        "bool": codes == 1,
        "three": codes * 10,
        "whole floats": codes.astype(np.float64),
        "continuous": random.normal(100, 1, rows),
        "float32": random.normal(1, 1, rows).astype(np.float32),
        "ints": random.integers(0, 3, rows),
    }[kind]
    return pa.array(made)


def quietly(function: Any, *arguments: Any) -> Any:
    """Called without the warnings that few rows bring."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def compare(step: Any, data: Any, target: pa.Array, splits: int = 3, seed: int = 0, **close: float) -> None:
    """Attributes and training rows are the same, or both refuse."""
    rows = framed(data) if isinstance(data, pa.Table) else data
    y = framed(pa.table({"y": target}))["y"]
    expected: Any = clone(step)
    try:
        encoded = quietly(expected.fit_transform, rows, y)
    except (ValueError, TypeError, IndexError):
        with pytest.raises((FitError, Refused)):
            fit_streamed(step, data, splits, target=target, seed=seed)
        return
    learner = learner_of(step, data, target=target, rows_known=bool(seed % 2))
    quietly(lambda: drive(learner, data, splits, target=target, seed=seed, passes=2))
    bounds: dict[str, Any] = {**CLOSE, **close}
    same_attributes(learner.step, expected, **bounds)
    training = pickle.loads(pickle.dumps(learner.for_training()))
    blocks = blocks_of(data, 0, len(y), np.random.default_rng(seed))
    made = np.concatenate([training(block) for block in blocks])
    np.testing.assert_allclose(made, encoded, **bounds)


PARAMETERS = st.fixed_dictionaries(
    {
        "smooth": st.sampled_from(["auto", 0.0, 1.0, 30]),
        "cv": st.sampled_from([2, 3, KFold(3), KFold(2, shuffle=True, random_state=3), StratifiedKFold(2)]),
    }
)


@settings(max_examples=80)
@given(category_tables(missing=(0.0, 0.3)), st.sampled_from(TARGETS), PARAMETERS, st.integers(1, 4), SEEDS)
def test_target_encoder_learns_the_same(
    table: pa.Table, kind: str, parameters: dict[str, Any], splits: int, seed: int
) -> None:
    if table.num_rows < 9:
        table = pa.concat_tables([table] * 9)
    target = target_of(kind, table.num_rows, np.random.default_rng(seed))
    if isinstance(parameters["cv"], int):
        # The folds are shuffled by NumPy's own generator, as scikit-learn's are.
        parameters["cv"] = KFold(parameters["cv"])
    single = {"rtol": 2e-6, "atol": 1e-6} if kind == "float32" else {}
    compare(Encoder(**parameters), table, target, splits, seed, **single)


@settings(max_examples=25)
@given(object_matrices(), st.sampled_from(["two", "three", "continuous"]), SEEDS)
def test_matrices_of_objects(matrix: np.ndarray, kind: str, seed: int) -> None:
    matrix = np.concatenate([matrix] * 9)
    compare(Encoder(cv=KFold(3)), matrix, target_of(kind, len(matrix), np.random.default_rng(seed)), 3, seed)


def table_of(rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table({kind: category_column(random, kind, rows, 9, 0.1) for kind in ("string", "int64", "dictionary")})


@pytest.mark.parametrize("kind", TARGETS)
def test_folds_are_those_of_numpys_generator(kind: str) -> None:
    table, target = table_of(300), target_of(kind, 300, np.random.default_rng(1))
    frame, y = framed(table), framed(pa.table({"y": target}))["y"]
    np.random.seed(7)
    encoded = Encoder().fit_transform(frame, y)
    learner = learner_of(Encoder(), table, target=target)
    np.random.seed(7)
    drive(learner, table, target=target, passes=2)
    training = learner.for_training()
    assert training is not None
    made = np.concatenate([training(block) for block in blocks_of(table, 0, 300, np.random.default_rng(0))])
    np.testing.assert_allclose(made, encoded, rtol=1e-6 if kind == "float32" else 1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("parameters", [{"random_state": 5}, {"shuffle": False}, {"cv": 7, "random_state": 0}])
@pytest.mark.parametrize("kind", ["two", "three", "continuous"])
def test_deprecated_parameters_of_the_folds(parameters: dict[str, Any], kind: str) -> None:
    compare(Encoder(**parameters), table_of(200), target_of(kind, 200, np.random.default_rng(2)))


@pytest.mark.parametrize("kind", ["two", "three", "continuous", "ints"])
@pytest.mark.parametrize("target_type", ["binary", "multiclass", "continuous"])
def test_types_of_target_that_are_said(kind: str, target_type: Any) -> None:
    step = Encoder(target_type=target_type, cv=KFold(2), smooth=2.0)
    compare(step, table_of(40), target_of(kind, 40, np.random.default_rng(3)))


GIVEN: Any = [["a", "Z", np.nan], [0, 1, 2, np.nan], ["a"]]


@pytest.mark.parametrize("kind", ["two", "three", "continuous"])
@pytest.mark.parametrize("smooth", ["auto", 5.0])
def test_given_categories(kind: str, smooth: Any) -> None:
    step = Encoder(categories=GIVEN, cv=StratifiedKFold(3) if kind != "continuous" else KFold(3), smooth=smooth)
    compare(step, table_of(150), target_of(kind, 150, np.random.default_rng(4)))


@pytest.mark.parametrize(
    "cv",
    [
        PredefinedSplit([0, 1] * 30),
        PredefinedSplit([0, -1] * 30),
        TimeSeriesSplit(3),
        GroupKFold(3),
        [(np.arange(30), np.arange(30, 60)), (np.arange(30, 60), np.arange(30))],
        StratifiedKFold(40),
    ],
)
@pytest.mark.parametrize("kind", ["two", "continuous"])
def test_other_splitters(cv: Any, kind: str) -> None:
    compare(Encoder(cv=cv), table_of(60), target_of(kind, 60, np.random.default_rng(5)))


def test_a_small_difference_of_large_numbers_is_kept() -> None:
    random = np.random.default_rng(6)
    table = table_of(5_000)
    target = pa.array(1e6 + random.normal(0, 1e-2, 5_000))
    compare(Encoder(cv=KFold(4)), table, target, 5)


def test_rows_beyond_those_whose_folds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (folds, target_module):
        monkeypatch.setattr(module, "MOST_ROWS", 100)
    table, target = table_of(3_000), target_of("two", 3_000, np.random.default_rng(7))
    learner = learner_of(Encoder(), table, target=target)
    drive(learner, table, target=target)
    assert "more than 100 rows" in (learner.note() or "")
    training = learner.for_training()
    assert training is not None
    parts = [training(block) for block in blocks_of(table, 0, 3_000, np.random.default_rng(1))]
    again = [training(block) for block in blocks_of(table, 0, 3_000, np.random.default_rng(2))]
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(again))
    # Cross fitted: near the encodings of all rows, and not the same.
    plain = learner.step.transform(framed(table))
    assert 0 < np.abs(np.concatenate(parts) - plain).max() < 0.5
    sizes = np.bincount(Folds(5).of(Block(None, np.empty((100_000, 1)), 0)))
    assert len(sizes) == 5
    assert (abs(sizes - 20_000) < 1_000).all()


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ([1.0, None, 2.5], "null_not_allowed"),
        ([1.0, float("nan"), 2.5], "null_not_allowed"),
        ([1.0, np.inf], "not_finite"),
    ],
)
def test_a_target_with_holes_is_refused(target: Any, code: str) -> None:
    table = pa.table({"a": ["x"] * len(target)})
    with pytest.raises(InputError) as caught:
        fit_streamed(Encoder(), table, target=pa.array(target, from_pandas=False))
    assert caught.value.code == code


def test_no_target_and_targets_that_are_no_numbers() -> None:
    table = pa.table({"a": ["x", "y"]})
    with pytest.raises(Refused, match="needs a target"):
        fit_streamed(Encoder(), table)
    with pytest.raises(Refused, match="said to be continuous, and is string"):
        fit_streamed(Encoder(target_type="continuous"), table, target=pa.array(["a", "b"]))


def test_too_many_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_CLASSES", 20)
    table, target = table_of(100), pa.array(np.arange(100) % 21)
    with pytest.raises(FitError, match="classes") as caught:
        fit_streamed(Encoder(), table, target=target)
    assert "continuous" in str(caught.value.hint)
    compare(Encoder(target_type="continuous", cv=KFold(2)), table, target)
