"""Votes and means of the nearest training rows, of those within a radius, and the nearest of class centres."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import labels, pairwise, reductions
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context, Output, converter
from .cluster import nearest, nearest_by_search
from .linear import regression_output
from .nearest import Found, reduced_distances, search, to_distance

_DOUBLE = np.dtype(np.float64)
_CLASSIFICATION, _REGRESSION = "sklearn.neighbors._classification", "sklearn.neighbors._regression"


def _weights(context: Context, model: Any, distances: Tensor) -> Tensor | None:
    """None for equal weights, else one over the distance; where one is no distance away, those alone count."""
    graph = context.graph
    if model.weights in (None, "uniform"):
        return None
    if model.weights != "distance":
        raise context.refuse(model, "its weights are a Python function")
    inverse = graph.arithmetic("Div", graph.constant(1.0), distances, distances)
    here = graph.node("IsInf", [inverse], np.bool_, distances.width)
    share = graph.cast(here, _DOUBLE)
    alone = graph.node("Greater", [reductions.largest(context, share), graph.constant(0.5)], np.bool_, 1)
    return graph.node("Where", [alone, share, inverse], _DOUBLE, distances.width)


def _targets(model: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every output its classes and each training row's one-hot class."""
    codes = np.asarray(model._y)
    codes = codes.reshape(len(codes), -1)
    classes = model.classes_ if model.outputs_2d_ else [model.classes_]
    return [(np.asarray(kinds), np.eye(len(kinds))[codes[:, place]]) for place, kinds in enumerate(classes)]


def _class_outputs(
    context: Context, model: Any, shares: list[Tensor], chosen: list[Tensor] | None = None
) -> dict[str, Output]:
    """Labels and probabilities of one or several outputs."""
    graph, made, names = context.graph, [], []
    kinds = [kinds for kinds, _ in _targets(model)]
    for place, (share, classes) in enumerate(zip(shares, kinds, strict=True)):
        values = labels.class_values(context, model, classes)
        if chosen is None:
            made.append(labels.label_of_largest(context, values, share))
        else:
            made.append(Output(chosen[place], labels.type_name(values)))
        prefix = f"{place}:" if model.outputs_2d_ else ""
        names += [prefix + name for name in labels.class_names(values)]
    probability = Output(graph.concat(shares), "float64", names)
    return {
        "label": labels.side_by_side(context, model, made) if model.outputs_2d_ else made[0],
        "probability": probability,
    }


def _share(context: Context, total: Tensor) -> Tensor:
    return context.graph.arithmetic("Div", total, pairwise.row_sum(context, total), total)


def gathered(context: Context, found: Found, rows: np.ndarray, weights: Tensor | None, operator: str) -> Tensor:
    """`[rows, targets]`: a row of numbers for each neighbour, weighted, then reduced over the neighbours."""
    graph, count, width = context.graph, found.indices.width, rows.shape[1]
    axes = graph.constant([1], np.dtype(np.int64))
    picked = graph.node("Gather", [graph.constant(rows), found.indices], _DOUBLE, width, attributes={"axis": 0})
    if weights is not None:
        deep = graph.node("Reshape", [weights, graph.constant([-1, count, 1], np.dtype(np.int64))], _DOUBLE, 1)
        picked = graph.node("Mul", [picked, deep], _DOUBLE, width)
    return graph.node(operator, [picked, axes], _DOUBLE, width, attributes={"keepdims": 0})


@converter(f"{_CLASSIFICATION}.KNeighborsClassifier")
def neighbors_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Shares of the classes among the neighbours."""
    found = search(context, model, matrix, int(model.n_neighbors))
    weights = _weights(context, model, found.distances)
    totals = [gathered(context, found, hot, weights, "ReduceSum") for _, hot in _targets(model)]
    return _class_outputs(context, model, [_share(context, total) for total in totals])


@converter(f"{_REGRESSION}.KNeighborsRegressor")
def neighbors_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Mean of the neighbours' targets."""
    found = search(context, model, matrix, int(model.n_neighbors))
    targets = np.asarray(model._y, _DOUBLE)
    targets = targets.reshape(len(targets), -1)
    weights = _weights(context, model, found.distances)
    if weights is None:
        return {"prediction": regression_output(gathered(context, found, targets, None, "ReduceMean"))}
    total = gathered(context, found, targets, weights, "ReduceSum")
    share = context.graph.arithmetic("Div", total, reductions.numpy_sum(context, weights), total)
    return {"prediction": regression_output(share)}


def _within(context: Context, model: Any, matrix: Matrix) -> Tensor:
    """The weight of every training row: 0 beyond the radius, `[rows, n]`."""
    graph = context.graph
    reduced, power = reduced_distances(context, model, matrix)
    limit = float(model.radius)
    limit = limit * limit if power == 2 else limit**power
    hit = graph.node("LessOrEqual", [reduced, graph.constant(limit)], np.bool_, reduced.width)
    far = graph.constant(float("inf"))
    distances = to_distance(context, graph.node("Where", [hit, reduced, far], _DOUBLE, reduced.width), power)
    weights = _weights(context, model, distances)
    return graph.cast(hit, _DOUBLE) if weights is None else weights


@converter(f"{_CLASSIFICATION}.RadiusNeighborsClassifier")
def radius_classifier(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Shares of the classes within the radius; rows without any get the outlier label."""
    graph = context.graph
    weights = _within(context, model, matrix)
    none = graph.node("Equal", [pairwise.row_sum(context, weights), graph.constant(0.0)], np.bool_, 1)
    shares, chosen = [], []
    for place, (classes, hot) in enumerate(_targets(model)):
        values = labels.class_values(context, model, classes)
        total = graph.node("MatMul", [weights, graph.constant(hot)], _DOUBLE, len(classes))
        share = _share(context, total)
        label = labels.label_of_largest(context, values, share)
        if model.outlier_label_ is not None:
            outlier = model.outlier_label_[place]
            alone = graph.constant(np.asarray(classes == outlier, _DOUBLE))
            share = graph.node("Where", [none, alone, share], _DOUBLE, share.width)
            flat = graph.node("Squeeze", [none, graph.constant([1], np.dtype(np.int64))], np.bool_, 0)
            stands = graph.constant(np.asarray([outlier], values.dtype))
            tensor = graph.node("Where", [flat, stands, label.tensor], values.dtype, 0)
            label = Output(tensor, label.type)
        shares.append(share)
        chosen.append(label.tensor)
    return _class_outputs(context, model, shares, chosen)


@converter(f"{_REGRESSION}.RadiusNeighborsRegressor")
def radius_regressor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Mean of the targets within the radius; where there is none NaN, as far as the targets' type has it."""
    graph = context.graph
    weights = _within(context, model, matrix)
    targets = np.asarray(model._y, _DOUBLE)
    targets = np.ascontiguousarray(targets.reshape(len(targets), -1))
    total = context.graph.node("MatMul", [weights, context.graph.constant(targets)], _DOUBLE, targets.shape[1])
    whole = pairwise.row_sum(context, weights)
    share = graph.arithmetic("Div", total, whole, total)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unknown = np.full_like(np.asarray(model._y)[:1], np.nan).astype(_DOUBLE).reshape(1, -1)
    none = graph.node("Equal", [whole, graph.constant(0.0)], np.bool_, 1)
    share = graph.node("Where", [none, graph.constant(unknown), share], _DOUBLE, share.width)
    return {"prediction": regression_output(share)}


@converter("sklearn.neighbors._nearest_centroid.NearestCentroid")
def nearest_centroid(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """The nearest class centre; with scores of squared distances and priors."""
    graph, values = context.graph, labels.class_values(context, model, model.classes_)
    x, centroids = context.reader.ordered(matrix, _DOUBLE), points_of(model.centroids_)
    if model.metric not in ("euclidean", "manhattan"):
        raise context.refuse(model, f"its metric is {model.metric!r}")
    spread = np.where(model.within_class_std_dev_ != 0, model.within_class_std_dev_, 1.0)
    own, centres = scaled(context, "Div", x, spread), centroids / spread
    if model.metric == "euclidean":
        distances = apply(context, "Sqrt", pairwise.squared_by_product(context, own, centres))
    else:
        distances = pairwise.manhattan(context, own, centres)
    squared = graph.arithmetic("Mul", distances, distances, distances)
    with np.errstate(divide="ignore"):
        priors = 2.0 * np.log(np.asarray(model.class_prior_, _DOUBLE))
    scores = scaled(context, "Add", apply(context, "Neg", squared), priors)
    if not np.isclose(model.class_prior_, 1 / len(values)).all():
        label = labels.label_of_largest(context, values, scores)
    elif model.metric == "euclidean":
        label = labels.label_of_index(context, values, nearest_by_search(context, x, centroids))
    else:
        index = nearest(context, pairwise.manhattan(context, x, centroids))
        label = labels.label_of_index(context, values, index)
    outputs = {"label": label}
    if not hasattr(model, "decision_function"):
        return outputs
    return outputs | labels.discriminant_outputs(context, values, scores)


@converter("sklearn.neighbors._lof.LocalOutlierFactor")
def local_outlier_factor(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """How much thinner a row's surroundings are than its neighbours'."""
    graph, count = context.graph, int(model.n_neighbors_)
    if not model.novelty:
        raise context.refuse(model, "it was fitted without novelty=True and answers no new rows")
    found = search(context, model, matrix, count)

    near = np.asarray(model._distances_fit_X_)[:, count - 1]
    kept = np.result_type(matrix.floating(), near.dtype)

    def of_neighbors(values: np.ndarray) -> Tensor:
        constant = graph.constant(values, kept)
        return graph.node("Gather", [constant, found.indices], kept, count, attributes={"axis": 0})

    reach = graph.node("Max", [graph.cast(found.distances, kept), of_neighbors(near)], kept, count)
    mean = scaled(context, "Div", reductions.numpy_sum(context, reach), float(count))
    density = graph.arithmetic("Div", graph.constant(1.0, kept), scaled(context, "Add", mean, 1e-10), mean)
    ratio = graph.node("Div", [of_neighbors(np.asarray(model._lrd)), density], kept, count)
    sample = apply(context, "Neg", scaled(context, "Div", reductions.numpy_sum(context, ratio), float(count)))
    sample = graph.cast(sample, _DOUBLE)
    score = scaled(context, "Sub", sample, float(model.offset_))
    return labels.outlier_outputs(context, score) | {"sample_score": Output(sample, "float64")}
