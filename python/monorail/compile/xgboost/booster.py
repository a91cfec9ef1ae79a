"""XGBoost: float32 margins from its own JSON, then what its objective makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import labels
from ..codes import codes_of_values, whole_codes
from ..columns import Cell, Matrix
from ..graph import TEXT, Tensor
from ..registry import Context, Output, converter
from ..trees import Tree, constant_tree, tree_sums
from .links import LINKS, base_margin, softmax
from .model import BoosterJson, MisreadCategoriesError, read_booster

_SINGLE = np.dtype(np.float32)
_MOST_CODES = 2**24
"""Codes from here on are no categories to XGBoost."""
_ESTIMATORS = "xgboost.sklearn"


def margins(
    context: Context, booster: Any, matrix: Matrix, *, rounds: int | None, missing: float, estimator: bool
) -> tuple[Tensor, BoosterJson]:
    """The booster's margins, `[rows, outputs]` float32, and what its JSON says.

    Args:
        context: the step being compiled.
        booster: an `xgboost.Booster`.
        matrix: its features.
        rounds: how many rounds of boosting count; all if absent.
        missing: the value that stands for a missing one, besides NaN.
        estimator: whether an estimator asks, which adds up dropped trees in another way than the booster alone.
    """
    try:
        model = read_booster(booster.save_raw("json"), rounds)
    except MisreadCategoriesError as error:
        raise context.refuse(booster, str(error)) from error
    if model.objective not in LINKS:
        raise context.refuse(booster, f"its objective `{model.objective}` is not known")
    if model.features != matrix.width:
        raise context.refuse(booster, f"it was trained on {model.features} features and is given {matrix.width}")
    base = base_margin(model.objective, model.base)
    if matrix.sparse:
        # What a sparse matrix does not hold is missing to XGBoost, and zeros are what it does not hold.
        matrix = _without(context, matrix, 0.0, matrix.common())
    if not np.isnan(missing):
        matrix = _without(context, matrix, missing, _SINGLE)
    if model.weights is not None:
        # Every sum of a linear booster starts from the first starting value.
        return _linear(context, matrix, model.weights, base[:1]), model
    matrix = _with_codes(context, booster, matrix, model)
    starts = [constant_tree(target, float(value)) for target, value in enumerate(base)]
    trees = [_weighed(tree, model.dropped, base, place, estimator) for tree, place in model.trees]
    return tree_sums(context, matrix, starts + trees, model.outputs, dtype=_SINGLE), model


def _weighed(tree: Tree, dropped: list[float] | None, base: np.ndarray, place: int, estimator: bool) -> Tree:
    """A tree with what its leaves add in the end: a share of them where trees were dropped while training.

    Estimators ask for each tree's answer with the starting margin on it, which is then taken off again.
    """
    if dropped is None:
        return tree
    values = tree.value.astype(_SINGLE)
    if estimator:
        values = (base[tree.target] + values) - base[tree.target]
    return replace(tree, value=(values * _SINGLE.type(dropped[place])).astype(np.float64))


def _without(context: Context, matrix: Matrix, missing: float, dtype: np.dtype) -> Matrix:
    """NaN in place of the value that stands for a missing one, compared in the original's element type."""
    graph = context.graph
    numbers = [number for number, feature in enumerate(matrix.features) if feature.dtype != TEXT]
    if not numbers:
        return matrix
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    dense = context.reader.dense(matrix.select(numbers), dtype)
    width = dense.tensor.width
    gone = graph.node("Equal", [dense.tensor, graph.constant(np.asarray([missing], dtype))], np.bool_, width)
    tensor = graph.node("Where", [gone, graph.constant(np.asarray([np.nan], dtype)), dense.tensor], dtype, width)
    features = list(matrix.features)
    for number, position in zip(numbers, dense.positions, strict=True):
        features[number] = replace(features[number], source=Cell(tensor, position), nullable=True)
    return replace(matrix, features=tuple(features))


def _with_codes(context: Context, booster: Any, matrix: Matrix, model: BoosterJson) -> Matrix:
    """Codes in place of the features that splits take for categories."""
    features = list(matrix.features)
    split = {int(tree.feature[node]): 0 for tree, _ in model.trees for node in tree.members}
    for tree, _ in model.trees:
        for node, codes in tree.members.items():
            number = int(tree.feature[node])
            split[number] = max(split[number], int(codes.max(initial=0)))
    told = {number for number, kind in enumerate(model.kinds) if kind == "c"}
    for number in sorted(told | set(split)):
        feature = features[number]
        if number in model.categories:
            values = model.categories[number]
            features[number] = codes_of_values(context, feature, values, missing=np.nan, strangers=False)
            context.notes.append(
                f"`{context.path}` refuses categories of `{feature.name}` that it has not seen; the compiled model "
                "takes them for none of the known"
            )
        elif feature.dtype == TEXT:
            raise context.refuse(booster, f"it does not say what the categories of column `{feature.name}` are")
        elif number in split:
            size = min(split[number] + 1, _MOST_CODES)
            features[number] = whole_codes(context, feature, size, below_one=False, missing=np.nan, single=True)
    return replace(matrix, features=tuple(features))


def _linear(context: Context, matrix: Matrix, weights: np.ndarray, base: np.ndarray) -> Tensor:
    """Constant and weighted features, added from left to right; missing values add nothing."""
    graph = context.graph
    tensor = context.reader.ordered(matrix, _SINGLE)
    gone = graph.node("IsNaN", [tensor], np.bool_, tensor.width)
    zero = graph.constant(np.zeros(1, _SINGLE))
    sums = []
    for target in range(weights.shape[1]):
        product = graph.arithmetic("Mul", tensor, graph.constant(weights[:-1, target]), tensor)
        terms = graph.node("Where", [gone, zero, product], _SINGLE, tensor.width)
        first = graph.gather(tensor, [0])
        same = graph.node("Equal", [first, first], np.bool_, 1)
        start = graph.constant(np.asarray([[weights[-1, target] + base[0]]], _SINGLE))
        begin = graph.node("Where", [same, start, start], _SINGLE, 1)
        whole = graph.concat([begin, terms])
        axis = graph.constant(np.asarray(1, np.int64))
        running = graph.node("CumSum", [whole, axis], _SINGLE, whole.width)
        sums.append(graph.gather(running, [whole.width - 1]))
    return graph.concat(sums)


def _estimated(context: Context, model: Any, matrix: Matrix) -> tuple[Tensor, Tensor, BoosterJson]:
    """Margins and answers of an estimator, whose best iteration counts."""
    try:
        rounds: int | None = int(model.best_iteration) + 1
    except AttributeError:
        rounds = None
    missing = np.nan if model.missing is None else float(model.missing)
    margin, read = margins(context, model.get_booster(), matrix, rounds=rounds, missing=missing, estimator=True)
    return margin, LINKS[read.objective](context, margin), read


@converter(f"{_ESTIMATORS}.XGBClassifier", f"{_ESTIMATORS}.XGBRFClassifier")
def xgboost_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label, probability, and the margin. The label is judged on the probability; several labels each on their own."""
    if callable(model.objective):
        raise context.refuse(model, "a Python objective leaves it without probabilities")
    margin, answer, read = _estimated(context, model, matrix)
    classes = int(model.n_classes_)
    values = labels.class_values(context, model, model.classes_)
    names = [str(value) for value in model.classes_]
    several = margin.width > 1 and classes == 2
    outputs = {"score": Output(margin, "float32", names if margin.width > 1 and not several else None)}
    if read.objective == "multi:softmax":
        # Its wrapper makes probabilities of the margins itself.
        place = context.graph.node("ArgMax", [margin], np.int64, 0, attributes={"axis": 1, "keepdims": 0})
        label = labels.label_of_index(context, values, place)
        return {"label": label, "probability": Output(softmax(context, margin), "float32", names), **outputs}
    if margin.width > 1 and not several:
        label = labels.label_of_largest(context, values, answer)
        return {"label": label, "probability": Output(answer, "float32", names), **outputs}
    half = context.graph.constant(np.asarray([0.5], _SINGLE))
    second = context.graph.node("Greater", [answer, half], np.bool_, answer.width)
    label = labels.label_of_test(context, values, second)
    if several:
        numbers = [str(number) for number in range(margin.width)]
        outputs = {"score": Output(margin, "float32", numbers)}
        label = replace(label, names=numbers)
        return {"label": label, "probability": Output(answer, "float32", numbers), **outputs}
    probability = labels.both_probabilities(context, answer)
    return {"label": label, "probability": Output(probability, "float32", names), **outputs}


@converter(
    f"{_ESTIMATORS}.XGBRegressor",
    f"{_ESTIMATORS}.XGBRFRegressor",
    f"{_ESTIMATORS}.XGBRanker",
    f"{_ESTIMATORS}.XGBModel",
)
def xgboost_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """What the booster predicts, and its margin."""
    margin, answer, _ = _estimated(context, model, matrix)
    return _numbers(margin, answer)


@converter("xgboost.core.Booster")
def booster(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """What the booster predicts of all its rounds; several numbers a row for several classes."""
    margin, read = margins(context, model, matrix, rounds=None, missing=np.nan, estimator=False)
    return _numbers(margin, LINKS[read.objective](context, margin))


def _numbers(margin: Tensor, answer: Tensor) -> dict[str, Output]:
    def output(tensor: Tensor) -> Output:
        return Output(tensor, "float32", None if tensor.width == 1 else [str(n) for n in range(tensor.width)])

    return {"prediction": output(answer), "score": output(margin)}
