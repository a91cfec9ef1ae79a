"""FunctionTransformers that are read, and those that must not be: a wrong reading would answer wrongly in silence."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import Case, assert_equal
from numpy import asarray, log1p, where
from real_data import KINDS, WINE
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from monorail.errors import CompileError

MATRIX = np.linspace(-1, 1, 26).reshape(13, 2)


def ratio(X: Any, least: float = 1e-3) -> Any:
    X = np.asarray(X, dtype=float)
    return np.column_stack([X, X[:, 0] / (X[:, 1] + least), np.sqrt(np.abs(X[:, 2]))])


def helper(values: Any) -> Any:
    return np.where(values > 2.0, values, -values)


def with_helper(X: Any) -> Any:
    return np.c_[X[:, [0, 1]], helper(X[:, 3]), np.zeros(X.shape[0])[:, None] + X[:, 4:5]]


def in_place(X: Any) -> Any:
    X = X.copy()
    first = X[:, 0]
    first -= 3
    X[X < 0] = 0
    X[:, 2:4] *= 2.0
    X[:, 5][X[:, 5] > 3] = 3.0
    X[:, 0] = np.log1p(X[:, 0])
    return X


def masked(X: Any) -> Any:
    X = np.array(X)
    chosen = X[:, 0] > 13
    X[chosen, 1] = np.log1p(np.abs(X[chosen, 1]))
    X[np.isnan(X)] = -1
    return X


def by_columns(X: Any) -> Any:
    return np.array([column * 2 + number for number, column in enumerate(X.T)]).T


def filled(X: Any) -> Any:
    made = np.zeros((X.shape[0], 3))
    made[:, 0] = X[:, 0] > 13
    made[:, 1] = X[:, 1].astype(int)
    made[:, 2] = np.digitize(X[:, 2], [2.0, 2.36, 2.5])
    return made


def over_columns(X: Any) -> Any:
    sizes = [X.sum(axis=1), X.mean(axis=1), X.std(axis=1), X.min(1), X.max(1), np.prod(X[:, :3], axis=1)]
    sizes += [np.linalg.norm(X, axis=1), X.var(axis=1, ddof=1), (X > 2).sum(axis=1), np.any(X > 1000, axis=1)]
    return np.stack(sizes, axis=1)


def chosen(X: Any) -> Any:
    return np.select([X[:, 0] > 14, X[:, 0] > 13], [X[:, 1], X[:, 2] * 2], default=-1)[:, None]


def curves(X: Any) -> Any:
    parts = [np.sin(X), np.cos(X), np.tan(X[:, :1]), np.tanh(X), np.sinh(X / 100), np.cosh(X / 100), np.cbrt(X)]
    parts += [np.exp(-X), np.expm1(X / 100), np.log2(X), np.log10(X), np.log1p(X), X**0.3, X**3, X**-1, np.exp2(-X)]
    return np.hstack([*parts, np.deg2rad(X), np.sqrt(X), np.reciprocal(X), np.square(X)])


def steps(X: Any) -> Any:
    parts = [np.floor(X[:, 0]), np.ceil(X[:, 1]), np.round(X[:, 2]), np.round(X[:, 3], 1), np.trunc(X[:, 4])]
    parts += [X[:, 5] // 0.7, X[:, 6] % 0.3, np.sign(X[:, 7] - 1), np.fmod(X[:, 8], 0.4), np.clip(X[:, 2], 2, 3)]
    parts += [(X[:, 9] > 4) & ~(X[:, 10] < 1), np.isfinite(X[:, 11]), np.heaviside(X[:, 12] - 700, 0.5)]
    return np.column_stack([*parts, np.fmax(X[:, 0], X[:, 1]), np.isin(X[:, 1], [1.5, 2.0]), np.maximum(X[:, 0], 13)])


def own_import(X: Any) -> Any:
    import numpy as other

    return other.log1p(other.abs(X)) if isinstance(X, np.ndarray) else X.missing


READ: dict[str, Any] = {
    function.__name__: function
    for function in (ratio, with_helper, in_place, masked, by_columns, filled, over_columns, chosen, curves, steps)
} | {
    "own import": own_import,
    "log1p": np.log1p,
    "lambda": lambda X: np.log1p(np.abs(X)) * 2 - 1,
    "partial": functools.partial(np.power, 2.0),
    "names of numpy": lambda X: where(asarray(X) > 1, log1p(X), 0.0),
    "clip": functools.partial(np.clip, a_min=1, a_max=3),
    "product": lambda X: X @ MATRIX,
    "no missing": np.nan_to_num,
    "reshaped": lambda X: X[:, 3].reshape(-1, 1) + X[:, :2],
    "flattened": lambda X: X.reshape(X.shape[0], -1) / 2,
    "polynomial": lambda X: np.polyval([1, 2, 3], X),
}


@pytest.mark.parametrize("name", READ)
def test_function_is_read(name: str) -> None:
    assert_equal(FunctionTransformer(READ[name]).fit(WINE), WINE)


@pytest.mark.parametrize("name", ["masked", "over_columns", "steps", "no missing", "clip", "log1p"])
def test_function_of_missing_values(name: str) -> None:
    X = WINE.copy()
    X[::7, 0] = X[::5, 2] = np.nan
    assert_equal(FunctionTransformer(READ[name]).fit(X), X)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int16, np.uint8])
def test_types_are_numpys(dtype: Any) -> None:
    X = (WINE[:, :6] * 3).astype(dtype)

    def function(X: Any) -> Any:
        return np.column_stack(
            [X[:, 0] * X[:, 1] + 100, X[:, 2] / 3, X[:, 3] ** 2, -X[:, 4], X[:, 5] // 2, X[:, 5] % 7]
        )

    assert_equal(FunctionTransformer(function).fit(X), X, close=1e-9 if dtype != np.float32 else 1e-6)
    assert_equal(FunctionTransformer(lambda X: X * X).fit(X), X, close=1e-9 if dtype != np.float32 else 1e-6)


def test_options_and_models_around_it() -> None:
    step = FunctionTransformer(ratio, kw_args={"least": 2.0}, validate=True)
    for model in (DecisionTreeClassifier(max_depth=5, random_state=0), LogisticRegression(max_iter=300)):
        assert_equal(make_pipeline(step, StandardScaler(), model).fit(WINE, KINDS), WINE)


def test_limits_become_hard_rows() -> None:
    case = Case(FunctionTransformer(lambda X: np.where(X > 13.05, 1.0, X)).fit(WINE), WINE)
    assert {split.element for split in case.compiled.splits} == set(range(13))
    assert all(13.05 in split.at for split in case.compiled.splits)


def branches(X: Any) -> Any:
    return X if X[:, 0].max() > 3 else -X


def decides(X: Any) -> Any:
    return X if X[:, 0] else -X


def swallows(X: Any) -> Any:
    try:
        return np.asarray([row.sum() for row in X])
    except Exception:
        return X


REFUSED: dict[str, tuple[Any, str]] = {
    "rows": (lambda X: X - X.mean(axis=0), "over rows"),
    "all values": (lambda X: X / np.max(X), "over rows"),
    "branch on rows": (branches, "over rows"),
    "branch on values": (decides, "decides by the values"),
    "loop": (lambda X: np.asarray([np.sum(row) for row in X]), "loops over rows"),
    "swallowed": (swallows, "loops over rows"),
    "one row": (lambda X: X[0] + X, "single rows"),
    "sorted rows": (lambda X: X[np.argsort(X[:, 0])], "argsort"),
    "number of rows": (lambda X: X * len(X), "number of rows"),
    "chance": (lambda X: X + np.random.normal(), "numpy.random"),
    "Fourier": (lambda X: np.abs(np.fft.fft(X)), "numpy.fft"),
    "text": (lambda X: X.astype(str), "turns numbers into"),
    "step of a curve": (lambda X: np.floor(np.log10(X)), "not exact to the last bit"),
    "limit of a curve": (lambda X: np.where(np.log10(X) >= 3, 1.0, 0.0), "not exact to the last bit"),
    "not in double precision": (np.arctan, "no operator of this precision"),
    "picked rows": (lambda X: X[X[:, 0] > 13], "other than an array of rows"),
    "constant": (lambda X: 5.0, "other than an array of rows"),
    "against a row": (lambda X: X + X[:, 0], "row against column"),
    "broken": (lambda X: X.nothing, "has no attribute 'nothing'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_function_is_refused(name: str) -> None:
    function, reason = REFUSED[name]
    with pytest.raises(CompileError, match=reason):
        Case(FunctionTransformer(function).fit(WINE), WINE)


def people(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"city": random.choice(np.asarray(["Oslo", "Rome", None]), rows), "age": random.integers(18, 90, rows)}
    )
    frame["weight"] = np.where(random.random(rows) < 0.1, np.nan, random.normal(70, 12, rows))
    frame["height"] = random.normal(1.75, 0.1, rows)
    frame["member"] = random.random(rows) < 0.4
    return frame


def body(frame: pd.DataFrame) -> Any:
    made = frame.assign(bmi=frame["weight"] / frame.height**2, old=lambda table: table["age"] > 60)
    made["filled"] = made["weight"].fillna(70.0).clip(50, 90)
    made["missing"] = made["weight"].isna()
    made["logs"] = np.log1p(made["age"].astype(float))
    made["kept"] = made["height"].where(made["member"], 0)
    return made.drop(columns=["member"]).rename(columns={"age": "years"})


def test_function_of_a_frame_before_a_model() -> None:
    frame = people()
    rest: Any = make_pipeline(SimpleImputer(), StandardScaler())
    prepare = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder=rest)
    model = make_pipeline(FunctionTransformer(body), prepare, LogisticRegression(max_iter=300))
    assert_equal(model.fit(frame, frame["age"] > 50), frame, people(seed=3))


FRAMES: dict[str, Any] = {
    "columns": lambda frame: frame[["age", "weight"]] * 2 + 1,
    "curve": lambda frame: np.sqrt(frame[["age", "height"]].abs()),
    "array": lambda frame: np.column_stack([frame["age"] * 2, np.where(frame["member"], frame["weight"], -1)]),
    "plain": lambda frame: frame[["age", "height"]].to_numpy() / 3,
    "means": lambda frame: frame[["weight", "height"]].mean(axis=1).to_frame("mean"),
    "kind": lambda frame: frame[["age"]] * 2 if isinstance(frame, pd.DataFrame) else frame,
    "missing": lambda frame: pd.isna(frame["weight"]).to_frame(),
    "among": lambda frame: frame.assign(a=frame.age.between(20, 40), b=frame.age.isin([20, 30]))[["a", "b"]],
}


@pytest.mark.parametrize("name", FRAMES)
def test_function_of_a_frame(name: str) -> None:
    frame = people()
    assert_equal(FunctionTransformer(FRAMES[name]).fit(frame), frame)


REFUSED_FRAMES: dict[str, tuple[Any, str]] = {
    "rows": (lambda frame: frame[["age"]] - frame["age"].mean(), "Series.mean"),
    "picked rows": (lambda frame: frame[frame["age"] > 20], "rows of a table"),
    "text": (lambda frame: frame["city"].str.upper(), "which is text"),
    "aligned": (lambda frame: frame[["age"]] * frame["age"], "aligns by name"),
    "unknown": (lambda frame: frame[["age"]].rolling(3).sum(), "DataFrame.rolling"),
    "made anew": (lambda frame: pd.DataFrame({"age": frame["age"]}), "pandas.DataFrame"),
    "value by value": (lambda frame: frame["age"].apply(lambda value: value + 1), "single values"),
}


@pytest.mark.parametrize("name", REFUSED_FRAMES)
def test_function_of_a_frame_is_refused(name: str) -> None:
    function, reason = REFUSED_FRAMES[name]
    frame = people()
    with pytest.raises(CompileError, match=reason):
        Case(FunctionTransformer(function).fit(frame), frame)
