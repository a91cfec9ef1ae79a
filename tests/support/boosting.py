"""Rows that boosters are fitted on in tests: features of several kinds, and classes that they say much of."""

from __future__ import annotations

import numpy as np


def features(rows: int = 1_500) -> np.ndarray:
    """Six numbers a row of several kinds: zeros, nulls, few values, one constant column."""
    random = np.random.default_rng(0)
    made = random.normal(size=(rows, 6))
    made[random.random(made.shape) < 0.2] = 0
    made[random.random(made.shape) < 0.05] = np.nan
    made[:, 3] = random.integers(0, 5, rows)
    made[:, 4] = 7.0
    return made


def classes(matrix: np.ndarray, many: int) -> np.ndarray:
    """As many classes, learnable."""
    return np.digitize(np.nansum(matrix, axis=1), np.linspace(5, 14, many - 1))
