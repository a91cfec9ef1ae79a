"""Records as features: a number a name, and one column for each word that a name was seen with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..columns import Cell, Feature, Indicator, Matrix, Raw
from ..graph import TEXT
from ..registry import Context, converter
from .encode import category_codes
from .maths import where

_DOUBLE, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)


@converter("sklearn.feature_extraction._dict_vectorizer.DictVectorizer")
def dict_vectorizer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Each known name's number, or whether it holds the known word; what is missing is 0."""
    dtype = np.dtype(model.dtype)
    if dtype.kind not in "fiu":
        raise context.refuse(model, f"its features are of type {dtype}")
    found: dict[str, Feature] = {}
    for feature in matrix.features:
        if isinstance(feature.source, Raw) and feature.source.column.type == "tensor":
            raise context.refuse(model, "it is given an array in the place of records")
        if feature.dtype == TEXT:
            made = _words(context, model, feature, dtype)
        elif feature.name in model.vocabulary_:
            made = {feature.name: _number(context, feature, dtype)}
        else:
            continue
        twice = sorted(set(made) & set(found))
        if twice:
            raise context.refuse(model, f"two columns become the feature `{twice[0]}`")
        found |= made
    absent = [str(name) for name in model.feature_names_ if str(name) not in found]
    if absent:
        nothing = Feature(_zero(context, matrix.features[0]), dtype, False)
        found |= dict.fromkeys(absent, nothing)
    features = [found[str(name)] for name in model.feature_names_]
    return Matrix(tuple(features), dtype, bool(model.sparse))


def _words(context: Context, model: Any, feature: Feature, dtype: np.dtype) -> dict[str, Feature]:
    """A column of text: one feature for each word that goes with its name."""
    start = f"{feature.name}{model.separator}"
    words = [str(name)[len(start) :] for name in model.vocabulary_ if str(name).startswith(start)]
    if not words:
        return {}
    codes = category_codes(context, feature, words, [float(number) for number in range(len(words))], -1.0)
    return {start + word: Feature(Indicator(codes, code), dtype, False) for code, word in enumerate(words)}


def _number(context: Context, feature: Feature, dtype: np.dtype) -> Feature:
    tensor = context.graph.cast(context.reader.cell(feature), _DOUBLE)
    if feature.nullable:
        none = context.graph.node("IsNaN", [tensor], _BOOL, 1)
        tensor = context.graph.node("Where", [none, context.graph.constant(0.0), tensor], _DOUBLE, 1)
    return Feature(Cell(context.graph.cast(tensor, dtype), 0), dtype, False)


def _zero(context: Context, feature: Feature) -> Cell:
    """A column of zeros, for names that no column has."""
    if feature.dtype == TEXT:
        some = category_codes(context, feature, [], [], 0.0)
    else:
        some = context.graph.cast(context.reader.cell(feature), _DOUBLE)
    test = context.graph.node("IsNaN", [some], _BOOL, 1)
    return Cell(where(context, test, 0.0, 0.0, some), 0)
