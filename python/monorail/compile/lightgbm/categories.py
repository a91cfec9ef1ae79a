"""Columns that LightGBM takes for categories: pandas' category type by its own list of values, numbers as codes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..codes import codes_of_values, whole_codes
from ..columns import Matrix
from ..graph import TEXT
from ..registry import Context
from .text import BoosterText


def with_codes(context: Context, booster: Any, matrix: Matrix, text: BoosterText) -> Matrix:
    """The matrix with codes in place of the categories.

    Raises:
        RefusalError: it cannot be told which column has which of the booster's lists of categories.
    """
    features = list(matrix.features)
    lists = _pandas_columns(context, booster, matrix, text)
    for number, categories in lists.items():
        # What training did not see is NaN, as null is; columns with ordered categories are numbers from here on.
        features[number] = codes_of_values(context, features[number], categories, missing=np.nan, unknown=np.nan)
    for number, largest in text.categories.items():
        if number not in lists:
            features[number] = whole_codes(context, features[number], largest + 1, below_one=True)
    return replace(matrix, features=tuple(features))


def _pandas_columns(context: Context, booster: Any, matrix: Matrix, text: BoosterText) -> dict[int, list[Any]]:
    """The columns of pandas' category type and their categories, which LightGBM keeps in the order of the columns."""
    if not text.pandas:
        return {}
    words = {number for number, feature in enumerate(matrix.features) if feature.dtype == TEXT}
    found = sorted(words)
    if len(found) < len(text.pandas):
        found = sorted(words | set(text.listed))
    if len(found) != len(text.pandas):
        raise context.refuse(
            booster,
            f"it was trained on {len(text.pandas)} columns of pandas' category type, and {len(found)} columns look "
            "like one; make their categories text",
        )
    return dict(zip(found, text.pandas, strict=True))
