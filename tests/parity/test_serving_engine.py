"""The engine that serves against the original: one model for each way a column or an output can travel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judge import CLOSE, Case
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from test_models import CLASSES, TREE_CLASSIFIERS, classes
from test_steps import label, matrix, mixed, prepared, target, with_holes

from monorail.compile.hard_rows import make_hard_rows
from monorail.compile.proof import prove


def tensor(dtype: str, names: str) -> tuple[Any, Any, None]:
    X = matrix(300, dtype=dtype)
    return TREE_CLASSIFIERS["forest"].fit(X, classes(X, CLASSES[names])), X, None


def mixed_table() -> tuple[Any, Any, None]:
    frame = mixed(600)
    return make_pipeline(prepared(), LogisticRegression(max_iter=500)).fit(frame, label(frame)), frame, None


def nullable_numbers() -> tuple[Any, Any, bool]:
    frame = mixed(600)[["age", "small", "weight", "narrow"]]
    steps = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), TREE_CLASSIFIERS["boosting"])
    return steps.fit(frame, label(mixed(600))), frame, True


def nullable_text() -> tuple[Any, Any, bool]:
    frame = mixed(600, text="object", missing=None)[["city", "size"]]
    encode = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30)
    return (
        make_pipeline(encode, RidgeClassifier()).fit(frame, np.where(label(mixed(600)) > 0, "ja", "nein")),
        frame,
        True,
    )


def holes() -> tuple[Any, Any, None]:
    X = with_holes(matrix())
    return make_pipeline(SimpleImputer(add_indicator=True), LinearRegression()).fit(X, target(X)), X, None


def features() -> tuple[Any, Any, None]:
    frame = mixed(600)
    steps = [("text", OneHotEncoder(handle_unknown="ignore"), ["city", "size"]), ("age", StandardScaler(), ["age"])]
    return ColumnTransformer(steps).fit(frame), frame, None


def several_targets() -> tuple[Any, Any, None]:
    frame = pd.DataFrame(matrix(200), columns=list("abcdef"))
    return LinearRegression().fit(frame, frame[["a", "b"]].to_numpy() * 2 + 1), frame, None


CASES = {
    "tensor of float64": lambda: tensor("float64", "three texts"),
    "tensor of float32": lambda: tensor("float32", "int32"),
    "tensor of int64": lambda: tensor("int64", "bool"),
    "mixed table": mixed_table,
    "nullable numbers": nullable_numbers,
    "nullable text": nullable_text,
    "tensor with holes": holes,
    "features": features,
    "several targets": several_targets,
}


@pytest.mark.parametrize("name", CASES)
def test_serving_engine_answers_as_the_original(name: str, tmp_path: Path) -> None:
    model, example, nullable = CASES[name]()
    case = Case(model, example, nullable=nullable)
    hard = make_hard_rows(case.inputs, case.table, case.compiled.splits, least_rows=600)
    proof = prove(case.original, case.serving_engine(tmp_path), case.table, hard, rtol=CLOSE, atol=CLOSE)
    proof.check()
    assert proof.label_mismatches == 0
