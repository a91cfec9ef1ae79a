"""IsolationForest: how deep each row falls on average, as a score; and the leaves of a forest as features."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import labels
from ..columns import Feature, Indicator, Matrix
from ..registry import Context, Output, converter
from ..trees import Tree, largest_left, tree_sums
from .tree import as_array, on_features, to_float32, tree_of

_DOUBLE = np.dtype(np.float64)


@converter("sklearn.ensemble._iforest.IsolationForest")
def isolation_forest(context: Context, model: Any, matrix: Matrix) -> dict[str, Output]:
    """Label and score by the depth of the leaves met.

    The score never falls where the depth rises, so the label is a test of the depth: at the one where the original's
    own arithmetic says that the score is no longer below zero. Scores that meet the threshold, which is one of the
    training scores itself, get the original's label so.
    """
    graph = context.graph
    whole = float(len(model.estimators_) * _average_depth(int(model._max_samples)))
    if whole == 0.0:
        raise context.refuse(model, "it was fitted on one row")
    depth = tree_sums(context, as_array(matrix), _depth_trees(model), 1, rounding=to_float32)
    share = graph.arithmetic("Div", depth, graph.constant(-whole), depth)
    power = graph.node("Pow", [graph.constant(2.0), share], _DOUBLE, 1)
    sample = graph.node("Neg", [power], _DOUBLE, 1)
    offset = float(model.offset_)
    score = graph.arithmetic("Sub", sample, graph.constant(offset), sample)

    def decision(depths: np.ndarray) -> np.ndarray:
        return -(2 ** (-np.divide(depths, whole))) - offset

    last_outside = largest_left(_DOUBLE, decision, np.asarray([np.nextafter(0.0, -1.0)]))
    inside = graph.node("Greater", [depth, graph.constant(last_outside)], np.bool_, 1)
    return {
        "label": labels.label_of_test(context, np.asarray([-1, 1]), inside),
        "score": Output(score, "float64"),
        "sample_score": Output(sample, "float64"),
    }


def _depth_trees(model: Any) -> list[Tree]:
    subset = model._max_features != model.n_features_in_
    trees = []
    for number, (estimator, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        depth = model._decision_path_lengths[number] + model._average_path_length_per_tree[number] - 1.0
        tree = tree_of(estimator, 0, depth)
        trees.append(on_features(tree, features) if subset else tree)
    return trees


def _average_depth(rows: int) -> float:
    """Average depth at which a random tree over so many rows ends."""
    if rows <= 2:
        return float(max(rows - 1, 0))
    return float(2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)


@converter("sklearn.ensemble._forest.RandomTreesEmbedding")
def random_trees_embedding(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """One feature a leaf, 1 where the row ends in it."""
    encoder = model.one_hot_encoder_
    dtype = np.dtype(encoder.dtype)
    trees = []
    for number, (estimator, leaves) in enumerate(zip(model.estimators_, encoder.categories_, strict=True)):
        place = np.full(estimator.tree_.node_count, -1.0)
        place[np.asarray(leaves, np.int64)] = np.arange(len(leaves))
        trees.append(tree_of(estimator, number, place))
    codes = tree_sums(context, as_array(matrix), trees, len(trees), rounding=to_float32)
    features = []
    for number, leaves in enumerate(encoder.categories_):
        column = context.graph.gather(codes, [number])
        features += [Feature(Indicator(column, code), dtype, False) for code in range(len(leaves))]
    return Matrix(tuple(features), dtype, bool(encoder.sparse_output))
