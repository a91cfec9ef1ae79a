"""CatBoost: raw values in float64 from its JSON export, then what its loss makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import labels
from ..codes import codes_of_values
from ..columns import Column, Feature, Indicator, Matrix, Raw, Text, UnreadableError
from ..graph import TEXT, Tensor
from ..registry import Context, Output, converter
from ..trees import tree_sums
from .model import CatBoostJson, UnsupportedModelError, read_model

_DOUBLE = np.dtype(np.float64)
_CORE = "catboost.core"
_MOST_NUMBERS = 100_000
"""A column with a wider range of whole numbers than this is not searched for its categories."""
_EXPONENTIAL = ("Poisson", "Tweedie")
_EACH_CLASS = ("MultiClassOneVsAll",)
_EACH_LABEL = ("MultiLogloss", "MultiCrossEntropy")


def raw_values(context: Context, model: Any, matrix: Matrix) -> tuple[Tensor, CatBoostJson]:
    """The model's raw values, `[rows, outputs]`, and what its export says.

    Args:
        context: the step being compiled.
        model: any CatBoost model.
        matrix: its features.
    """
    try:
        read = read_model(model)
    except UnsupportedModelError as error:
        raise context.refuse(model, str(error)) from error
    expected = len(model.feature_names_)
    if expected != matrix.width:
        raise context.refuse(model, f"it was trained on {expected} features and is given {matrix.width}")
    codes = {position: _codes(context, model, matrix.features[position], read, position) for position in read.values}
    features = []
    for position, place in read.features:
        if place is None:
            features.append(matrix.features[position])
        else:
            features.append(Feature(Indicator(codes[position], place), _DOUBLE, False))
    features = features or [matrix.features[0]]
    # Numbers and borders are compared in float32.
    sums = tree_sums(context, Matrix(tuple(features)), read.trees, read.outputs, rounding=_to_float32)
    if read.scale != 1.0:
        sums = context.graph.arithmetic("Mul", sums, context.graph.constant(read.scale), sums)
    if read.bias.any():
        sums = context.graph.arithmetic("Add", sums, context.graph.constant(read.bias), sums)
    return sums, read


def _to_float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _codes(context: Context, model: Any, feature: Feature, read: CatBoostJson, position: int) -> Tensor:
    """The place of a category among those that splits ask for, -1 for all others.

    The model holds hashes of its categories alone, so those are searched among what the example and the reference
    hold; CatBoost itself says which hash a category has.
    """
    count, number = read.values[position]
    place_of = getattr(model._object, "_calc_cat_feature_perfect_hash", None)
    if place_of is None:
        raise context.refuse(model, "this release of CatBoost does not tell the hashes of categories")
    found: dict[int, Any] = {}
    for value in _candidates(_column(context, feature), feature):
        # Whole numbers and bools are hashed as their digits.
        place = place_of(str(value), number)
        if place < count:
            found.setdefault(place, value)
    absent = count - len(found)
    if absent:
        raise context.refuse(
            model,
            f"{absent} of the categories of column `{feature.name}` that its trees split on are not in the example; "
            "pass an example or a reference that holds all of them",
        )
    return context.reader.cell(codes_of_values(context, feature, [found[place] for place in range(count)]))


def _column(context: Context, feature: Feature) -> Column:
    """The signature's column that a feature is."""
    source = feature.source
    if isinstance(source, Raw):
        return source.column
    if isinstance(source, Text):
        return next(column for column in context.reader.columns if column.name == source.column)
    raise UnreadableError("a category that is not a column of the table as it is")


def _candidates(column: Column, feature: Feature) -> list[Any]:
    """The values of a column that the example and the reference hold, or could hold."""
    if feature.dtype == TEXT:
        return [value for value, _ in column.seen.get("categories", ())]
    if column.type == "bool" or column.dtype.kind == "b":
        return [0, 1]
    low, high = column.seen.get("min"), column.seen.get("max")
    if low is None or high is None or high - low >= _MOST_NUMBERS:
        return []
    return list(range(math.floor(low), math.ceil(high) + 1))


@converter(f"{_CORE}.CatBoostClassifier")
def catboost_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label by the raw value, probability by the loss."""
    raw, read = raw_values(context, model, matrix)
    if read.loss in _EACH_LABEL:
        return _labels(context, raw)
    values = labels.class_values(context, model, model.classes_)
    names = [str(value) for value in model.classes_]
    if raw.width == 1:
        chance = float(model.get_probability_threshold())
        if not 0.0 < chance < 1.0:
            raise context.refuse(model, f"its probability threshold is {chance:g}")
        limit = context.graph.constant(np.asarray([-math.log(1.0 / chance - 1.0)]))
        second = context.graph.node("Greater", [raw, limit], np.bool_, 1)
        label = labels.label_of_test(context, values, second)
        probability = labels.both_probabilities(context, labels.sigmoid(context, raw))
    else:
        label = labels.label_of_largest(context, values, raw)
        link = labels.sigmoid if read.loss in _EACH_CLASS else labels.softmax
        probability = link(context, raw)
    return {
        "label": label,
        "probability": Output(probability, "float64", names),
        "score": Output(raw, "float64", names if raw.width > 1 else None),
    }


def _labels(context: Context, raw: Tensor) -> dict[str, Output]:
    """Several labels a row, each judged on its own."""
    names = [str(number) for number in range(raw.width)]
    above = labels.positive(context, raw)
    return {
        "label": Output(context.graph.cast(above, np.int64), "int64", names),
        "probability": Output(labels.sigmoid(context, raw), "float64", names),
        "score": Output(raw, "float64", names),
    }


@converter(f"{_CORE}.CatBoostRegressor")
def catboost_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The raw value, or what the loss makes of it."""
    graph = context.graph
    raw, read = raw_values(context, model, matrix)
    answer = raw
    if read.loss in _EXPONENTIAL:
        answer = graph.node("Exp", [raw], _DOUBLE, raw.width)
    elif read.loss == "RMSEWithUncertainty":
        # The second value is the logarithm of a standard deviation, and its answer a variance.
        doubled = graph.arithmetic("Mul", graph.gather(raw, [1]), graph.constant([[2.0]]), graph.gather(raw, [1]))
        answer = graph.concat([graph.gather(raw, [0]), graph.node("Exp", [doubled], _DOUBLE, 1)])
    return _numbers(raw, answer)


@converter(f"{_CORE}.CatBoostRanker", f"{_CORE}.CatBoost")
def catboost_model(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The raw value."""
    raw, _ = raw_values(context, model, matrix)
    return _numbers(raw, raw)


def _numbers(raw: Tensor, answer: Tensor) -> dict[str, Output]:
    def output(tensor: Tensor) -> Output:
        return Output(tensor, "float64", None if tensor.width == 1 else [str(n) for n in range(tensor.width)])

    return {"prediction": output(answer), "score": output(raw)}
