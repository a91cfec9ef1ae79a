"""Small data sets that ship with scikit-learn, split once: rows to fit on and rows held out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

Split = tuple[np.ndarray, np.ndarray, np.ndarray]
_LOADERS: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
}


@cache
def split(name: str, scaled: bool = False) -> Split:
    """Rows to fit on, rows held out, and the target of the former; of digits only the first 300."""
    X, y = _LOADERS[name](return_X_y=True)
    X, y = np.asarray(X, np.float64)[:600], np.asarray(y)[:600]
    if name == "digits":
        X, y = X[:300], y[:300]
    if scaled:
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    parts = train_test_split(X, y, test_size=0.3, random_state=0)
    fitted, held_out, target, _ = (np.asarray(part) for part in parts)
    return fitted, held_out, target


def two(y: np.ndarray) -> np.ndarray:
    """Two classes out of several, as text."""
    return np.where(y > 0, "yes", "no")
