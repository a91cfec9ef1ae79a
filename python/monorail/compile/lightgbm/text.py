"""Reads LightGBM's own text format, which has every number in full (its JSON dump rounds some of them)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..trees import Tree

ZERO = float(np.float32(1e-35))
"""Values no farther from zero than this are zero to LightGBM."""
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


@dataclass(frozen=True)
class BoosterText:
    """What a booster's text says.

    Attributes:
        objective: the objective's words, as in `["binary", "sigmoid:1"]`; empty for none.
        outputs: trees an iteration, which is the number of raw scores.
        features: number of features.
        average: whether the sum is divided by the number of iterations.
        trees: in order, targets assigned.
        zero_missing: features on which some split takes zeros for missing.
    """

    objective: list[str]
    outputs: int
    features: int
    average: bool
    trees: list[Tree]
    zero_missing: frozenset[int]


class UnsupportedTreeError(ValueError):
    """A tree of a kind that is not compiled."""


def read_booster(text: str) -> BoosterText:
    """Parses `Booster.model_to_string()`.

    Raises:
        UnsupportedTreeError: a categorical split or a linear leaf.
    """
    head, *rest = text.split("\nTree=")
    header = _pairs(head)
    outputs = int(header["num_tree_per_iteration"])
    trees, zero = [], set()
    for number, block in enumerate(rest):
        block = block.partition("\nend of trees")[0]
        trees.append(_tree(_pairs(block), number % outputs, zero))
    return BoosterText(
        header.get("objective", "").split(),
        outputs,
        int(header["max_feature_idx"]) + 1,
        "average_output" in head.splitlines(),
        trees,
        frozenset(zero),
    )


def _pairs(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, mark, value in pairs if mark}


def _tree(pairs: dict[str, str], target: int, zero: set[int]) -> Tree:
    if int(pairs.get("num_cat", "0")):
        raise UnsupportedTreeError("splits on categories are not compiled yet; encode them as numbers before")
    if int(pairs.get("is_linear", "0")):
        raise UnsupportedTreeError("linear trees are not compiled yet; train with linear_tree=False")
    count = int(pairs["num_leaves"]) - 1
    value = np.array(pairs["leaf_value"].split(), dtype=np.float64)
    if count == 0:
        none = np.zeros(0, np.int64)
        return Tree(target, none, np.zeros(0), np.zeros(0, bool), none, none, value[:1])
    feature = np.array(pairs["split_feature"].split(), dtype=np.int64)
    threshold = np.array(pairs["threshold"].split(), dtype=np.float64)
    decision = np.array(pairs["decision_type"].split(), dtype=np.int64)
    missing = (decision >> 2) & 3
    default_left = (decision & 2) > 0
    zero.update(feature[missing == MISSING_ZERO].tolist())
    # Without a way for missing values, NaN is compared as zero.
    nan_left = np.where(missing == MISSING_NONE, threshold >= 0, default_left)
    left = np.array(pairs["left_child"].split(), dtype=np.int64)
    right = np.array(pairs["right_child"].split(), dtype=np.int64)
    return Tree(target, feature, _beside_zero(threshold), nan_left, left, right, value)


def _beside_zero(threshold: np.ndarray) -> np.ndarray:
    """Thresholds for the values as they are, where LightGBM compares values with the smallest ones made zero.

    A threshold from 0 up to the limit lets all of them pass, one just below 0 none of them.
    """
    below = np.nextafter(-ZERO, -np.inf)
    inside = (threshold >= 0) & (threshold < ZERO)
    under = (threshold >= -ZERO) & (threshold < 0)
    return np.where(inside, ZERO, np.where(under, below, threshold))
