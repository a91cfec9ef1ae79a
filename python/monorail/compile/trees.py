"""Sums of decision trees as one TreeEnsemble node, in float64 with splits moved onto the raw columns, or in float32.

A split on a feature that was made from a column by order-keeping steps (imputing, scaling, rounding to float32) is the
same as a split of the raw column at the largest raw value that still goes left. That value is found by bisection over
the float's bits through the very arithmetic the original uses, so the answer is the original's, bit for bit, and the
graph needs none of those steps. The moved values are also what the hard rows are made from.

Where the original adds in float32 the node must too, so its inputs are float32 and no split is moved.

Every split on a number is "less or equal": our engine evaluates these, and other runtimes are half as fast again when
they must look up each node's mode, which costs more than making the one-hot columns that the splits read. A split on a
set of codes is a membership test. The node's post_transform is wrong in float64, so it is never used, and hitrates are
left out on purpose (the runtime wants float32 there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .columns import Cell, Dense, Feature, Indicator, Matrix, Origin, Raw, Text, UnreadableError
from .graph import ML, Tensor
from .registry import Context

_MEMBER = 6
"""The node mode of a membership test."""
_NO_CODE = -2
_WIDE = (np.dtype(np.int64), np.dtype(np.uint64))
"""What float64 does not tell apart."""


@dataclass
class Tree:
    """One tree that adds to one target. Children: an inner node's number, or `-1 - leaf`.

    Attributes:
        target: which sum it adds to.
        feature, threshold, nan_left, left, right: one entry an inner node, all empty for a lone leaf.
        value: one entry a leaf.
        members: for inner nodes that split on categories, the codes (whole numbers from 0) that go left; such a node's
            threshold counts for nothing.
        A value goes left where it is less than or equal to the threshold; NaN goes left where `nan_left`.
    """

    target: int
    feature: np.ndarray
    threshold: np.ndarray
    nan_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    members: dict[int, np.ndarray] = field(default_factory=dict)


def constant_tree(target: int, value: float) -> Tree:
    """A tree that adds the same to every row: a starting value, in its place in the order of sums."""
    none = np.zeros(0, dtype=np.int64)
    return Tree(target, none, none.astype(np.float64), none.astype(bool), none, none, np.asarray([value], np.float64))


@dataclass
class _Splits:
    """The splits of an ensemble after they were moved to the columns the node reads; one row a split."""

    position: np.ndarray
    value: np.ndarray
    nan_left: np.ndarray
    members: dict[int, np.ndarray]


def tree_sums(
    context: Context,
    matrix: Matrix,
    trees: list[Tree],
    targets: int,
    *,
    rounding: Callable[[np.ndarray], np.ndarray] | None = None,
    dtype: np.dtype | type = np.float64,
) -> Tensor:
    """`[rows, targets]`: for each target the sum of its trees, in their order.

    Args:
        context: the step being compiled.
        matrix: the features the trees' `feature` numbers count. A feature that is split by `members` holds codes.
        trees: in the order in which the original adds them.
        targets: number of sums.
        rounding: what the original does to a feature's values before comparing (to float32, say); keeps order.
        dtype: what the original adds in: float64, or float32, which then is also what it compares in.
    """
    feature = np.concatenate([tree.feature for tree in trees]).astype(np.int64)
    # The node needs an input even when every tree is a lone leaf.
    used = sorted(set(feature.tolist())) or [0]
    splits = _Splits(
        np.zeros(len(feature), np.int64),
        np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        np.concatenate([tree.nan_left for tree in trees]).astype(bool),
        _all_members(trees),
    )
    rows = {number: np.flatnonzero(feature == number) for number in used}
    for number in used:
        if not matrix.features[number].nullable:
            splits.nan_left[rows[number]] = False
    if np.dtype(dtype) == np.dtype(np.float32):
        dense = context.reader.dense(matrix.select(used), np.float32)
        for number in used:
            _note_splits(context, matrix.features[number], splits, rows[number])
    else:
        dense = _moved(context, matrix, used, splits, rows, rounding)
    for number, position in zip(used, dense.positions, strict=True):
        splits.position[rows[number]] = position
    return _node(context, dense.tensor, trees, splits, targets)


def _all_members(trees: list[Tree]) -> dict[int, np.ndarray]:
    """The sets of all trees by the number of the split among all splits."""
    found, start = {}, 0
    for tree in trees:
        found.update({start + node: codes for node, codes in tree.members.items()})
        start += len(tree.feature)
    return found


def _moved(
    context: Context,
    matrix: Matrix,
    used: list[int],
    splits: _Splits,
    rows: dict[int, np.ndarray],
    rounding: Callable[[np.ndarray], np.ndarray] | None,
) -> Dense:
    """Moves splits to the raw columns where that can be; returns what the node reads instead of the features."""
    step = rounding or _as_double
    rounded: dict[int, Feature] = {} if rounding is None else _wide_integers(context, matrix, used)
    readable = [
        (rounded[number], False) if number in rounded else _readable(matrix.features[number]) for number in used
    ]
    dense = context.reader.dense(Matrix(tuple(entry for entry, _ in readable)), np.float64)
    for number, (_, moved) in zip(used, readable, strict=True):
        original = matrix.features[number]
        if number in rounded:
            _note_splits(context, original, splits, rows[number])
        if moved and original.origin is not None:
            _move_origin(context, splits, rows[number], original.origin, step)
        elif rounding is not None and not isinstance(original.source, Indicator):
            chosen = np.asarray([row for row in rows[number].tolist() if row not in splits.members], np.int64)
            splits.value[chosen] = largest_left(np.dtype(np.float64), step, splits.value[chosen])
    return dense


def _wide_integers(context: Context, matrix: Matrix, used: list[int]) -> dict[int, Feature]:
    """Features of 64-bit whole numbers as the float32 that the original makes of them.

    On their own scale no split would do: the node reads float64, which does not tell all of them apart.
    """
    wide = [number for number in used if matrix.features[number].dtype in _WIDE]
    if not wide:
        return {}
    dense = context.reader.dense(matrix.select(wide), np.float32)
    tensor = context.graph.cast(dense.tensor, np.float64)
    return {
        number: Feature(Cell(tensor, position), tensor.dtype, False)
        for number, position in zip(wide, dense.positions, strict=True)
    }


def _note_splits(context: Context, feature: Feature, splits: _Splits, rows: np.ndarray) -> None:
    """Asks for hard rows around splits that are compared in float32."""
    if feature.origin is not None and len(rows):
        whole = feature.origin.then(_as_single)
        values = largest_left(feature.origin.column.dtype, whole.forward, np.unique(splits.value[rows]))
        context.split(feature.origin.column.name, feature.origin.element, values)


def _as_single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _as_double(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _readable(feature: Feature) -> tuple[Feature, bool]:
    """The feature the node reads in place of this one, and whether its splits move to the raw column."""
    if isinstance(feature.source, Text):
        raise UnreadableError(f"text where numbers are needed (column `{feature.name}`)")
    if feature.origin is None:
        return feature, False
    column = feature.origin.column
    return Feature(Raw(column, feature.origin.element), column.dtype, feature.nullable), True


def _move_origin(
    context: Context, splits: _Splits, rows: np.ndarray, origin: Origin, step: Callable[..., np.ndarray]
) -> None:
    """Replaces thresholds by the largest raw values that go left, and answers for null once and for all."""
    whole = origin.then(step)
    thresholds, back = np.unique(splits.value[rows], return_inverse=True)
    left = largest_left(origin.column.dtype, whole.forward, thresholds)
    if not np.isnan(whole.null):
        splits.nan_left[rows] = whole.null <= splits.value[rows]
    context.split(origin.column.name, origin.element, left)
    splits.value[rows] = left[back].astype(np.float64)


def largest_left(dtype: np.dtype, forward: Callable[[np.ndarray], np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """For each threshold the largest raw value `x` of a type with `forward(x) <= threshold`.

    Bisects over the type's values in order. Where no value goes left, the result is one that lies below all values
    (minus infinity); it is float64 then, as for every type of at most 53 bits.
    """
    decode, count = _ordered(dtype)
    lo = np.full(len(thresholds), 0, dtype=np.uint64)
    hi = np.full(len(thresholds), count, dtype=np.uint64)
    with np.errstate(all="ignore"):
        reachable = forward(decode(lo)) <= thresholds
        while np.any(lo < hi):
            gap = hi - lo
            middle = lo + gap // 2 + gap % 2
            left = forward(decode(middle)) <= thresholds
            lo = np.where(left, middle, lo)
            hi = np.where(left, hi, middle - (lo < hi))
    result = decode(lo).astype(np.float64)
    return np.where(reachable, result, -np.inf)


def _ordered(dtype: np.dtype) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """How to count through a type's values in order: from a number (uint64, from 0) to the value, and the last."""
    if dtype.kind == "b":
        return (lambda number: number.astype(bool)), 1
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        shift = np.uint64(-int(info.min))
        return (lambda number: (number - shift).view(np.int64).astype(dtype)), int(info.max) - int(info.min)
    bits = np.dtype(f"uint{dtype.itemsize * 8}")
    top = np.uint64(np.asarray(np.inf, dtype).view(bits))
    sign = bits.type(1 << (dtype.itemsize * 8 - 1))

    def decode(number: np.ndarray) -> np.ndarray:
        negative = number < top
        magnitude = np.where(negative, top - number, number - top).astype(bits)
        return np.where(negative, magnitude | sign, magnitude).view(dtype)

    return decode, 2 * int(top)


def _node(context: Context, tensor: Tensor, trees: list[Tree], splits: _Splits, targets: int) -> Tensor:
    parts: dict[str, list[np.ndarray]] = {
        key: [] for key in ("true", "true_leaf", "false", "false_leaf", "position", "value", "nan")
    }
    roots, nodes, leaves, taken = [], 0, 0, 0
    members: dict[int, np.ndarray] = {}
    for tree in trees:
        roots.append(nodes)
        count = len(tree.feature)
        if count == 0:
            position, value, nan = np.zeros(1, np.int64), np.zeros(1), np.zeros(1, bool)
            left = right = np.asarray([-1])
        else:
            rows = slice(taken, taken + count)
            position, value, nan = splits.position[rows], splits.value[rows], splits.nan_left[rows]
            left, right = tree.left, tree.right
            members.update({nodes + node: codes for node, codes in tree.members.items()})
            taken += count
        for side, children in (("true", left), ("false", right)):
            leaf = children < 0
            parts[side].append(np.where(leaf, leaves - 1 - children, nodes + children))
            parts[f"{side}_leaf"].append(leaf.astype(np.int64))
        for key, array in (("position", position), ("value", value), ("nan", nan)):
            parts[key].append(array)
        nodes += len(position)
        leaves += len(tree.value)
    whole = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    attributes: dict[str, Any] = {
        "aggregate_function": 1,
        "post_transform": 0,
        "n_targets": targets,
        "tree_roots": roots,
        "nodes_featureids": whole["position"].tolist(),
        "nodes_modes": np.zeros(nodes, np.uint8),
        "nodes_splits": whole["value"].astype(tensor.dtype),
        "nodes_truenodeids": whole["true"].tolist(),
        "nodes_trueleafs": whole["true_leaf"].tolist(),
        "nodes_falsenodeids": whole["false"].tolist(),
        "nodes_falseleafs": whole["false_leaf"].tolist(),
        "leaf_targetids": np.concatenate([np.full(len(t.value), t.target) for t in trees]).tolist(),
        "leaf_weights": np.concatenate([t.value for t in trees]).astype(tensor.dtype),
    }
    if members:
        _add_members(attributes, members, tensor.dtype)
    if whole["nan"].any():
        attributes["nodes_missing_value_tracks_true"] = whole["nan"].astype(np.int64).tolist()
    return context.graph.node("TreeEnsemble", [tensor], tensor.dtype, targets, domain=ML, attributes=attributes)


def _add_members(attributes: dict[str, Any], members: dict[int, np.ndarray], dtype: np.dtype) -> None:
    """The sets in the order of their nodes, each ended by NaN; an empty one holds a code that nothing has."""
    values: list[float] = []
    for node in sorted(members):
        attributes["nodes_modes"][node] = _MEMBER
        attributes["nodes_splits"][node] = 0.0
        values += [*(members[node].tolist() or [_NO_CODE]), np.nan]
    attributes["membership_values"] = np.asarray(values, dtype)
