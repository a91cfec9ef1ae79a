"""Small real data sets that ship with scikit-learn, whose own types say too little."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine


def arrays(load: Any) -> tuple[Any, Any]:
    """Features and target."""
    features, target = load(return_X_y=True)
    return np.asarray(features), np.asarray(target)


WINE, KINDS = arrays(load_wine)
IRIS, SPECIES = arrays(load_iris)
DIABETES, PROGRESS = arrays(load_diabetes)
CANCER, _ = arrays(load_breast_cancer)
DIGITS, _ = arrays(load_digits)
