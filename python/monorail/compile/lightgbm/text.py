"""Reads LightGBM's own text format, which has every number in full (its JSON dump rounds some of them)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
        trees: in order, targets assigned; on categories, `members` are the codes that go left.
        zero_missing: features on which some split takes zeros for missing.
        categories: features that some split takes for codes of categories, with the largest code any split names.
        listed: features that training took for categories, whether or not a split reads them.
        linear: the leaves of each tree that are linear functions, empty where the booster has none.
        pandas: the categories of each column of pandas' category type, in the order of those columns.
    """

    objective: list[str]
    outputs: int
    features: int
    average: bool
    trees: list[Tree]
    zero_missing: frozenset[int]
    categories: dict[int, int]
    listed: frozenset[int]
    linear: list[LinearLeaves]
    pandas: list[list[Any]]


@dataclass(frozen=True)
class LinearLeaves:
    """What the leaves of one tree of a booster trained with `linear_tree=True` add.

    Attributes:
        constant: one entry a leaf.
        features: for each leaf the features it weighs.
        weights: for each leaf their weights.
    """

    constant: np.ndarray
    features: list[list[int]]
    weights: list[list[float]]


def read_booster(text: str) -> BoosterText:
    """Parses `Booster.model_to_string()`."""
    head, *rest = text.split("\nTree=")
    header = _pairs(head)
    outputs = int(header["num_tree_per_iteration"])
    trees, zero, categories, linear = [], set(), {}, []
    for number, block in enumerate(rest):
        pairs = _pairs(block.partition("\nend of trees")[0])
        trees.append(_tree(pairs, number % outputs, zero, categories))
        linear.append(_linear(pairs, len(trees[-1].value)))
    return BoosterText(
        header.get("objective", "").split(),
        outputs,
        int(header["max_feature_idx"]) + 1,
        "average_output" in head.splitlines(),
        trees,
        frozenset(zero),
        categories,
        _listed(header),
        [leaves for leaves in linear if leaves is not None],
        _pandas(text),
    )


def _listed(header: dict[str, str]) -> frozenset[int]:
    """Features whose infos are a list of codes, not a range."""
    infos = header.get("feature_infos", "").split()
    return frozenset(number for number, info in enumerate(infos) if info != "none" and not info.startswith("["))


def _pandas(text: str) -> list[list[Any]]:
    _, mark, rest = text.rpartition("\npandas_categorical:")
    return (json.loads(rest.splitlines()[0]) or []) if mark else []


def _pairs(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, mark, value in pairs if mark}


def _tree(pairs: dict[str, str], target: int, zero: set[int], categories: dict[int, int]) -> Tree:
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
    members = _members(pairs, threshold, np.flatnonzero(decision & 1))
    for node, codes in members.items():
        number = int(feature[node])
        categories[number] = max(categories.get(number, 0), int(codes.max(initial=0)))
    zero.update(feature[(missing == MISSING_ZERO) & (decision & 1 == 0)].tolist())
    # Without a way for missing values, NaN is compared as zero. Among categories it is none of them.
    nan_left = np.where(missing == MISSING_NONE, threshold >= 0, default_left) & (decision & 1 == 0)
    left = np.array(pairs["left_child"].split(), dtype=np.int64)
    right = np.array(pairs["right_child"].split(), dtype=np.int64)
    return Tree(target, feature, _beside_zero(threshold), nan_left, left, right, value, members)


def _members(pairs: dict[str, str], threshold: np.ndarray, nodes: np.ndarray) -> dict[int, np.ndarray]:
    """For each split on categories the codes in its set of bits; its threshold is the number of the set."""
    if not len(nodes):
        return {}
    bounds = [int(word) for word in pairs["cat_boundaries"].split()]
    words = np.array(pairs["cat_threshold"].split(), dtype=np.uint32)
    found = {}
    for node in nodes.tolist():
        place = int(threshold[node])
        bits = np.unpackbits(words[bounds[place] : bounds[place + 1]].astype("<u4").view(np.uint8), bitorder="little")
        found[node] = np.flatnonzero(bits)
    return found


def _linear(pairs: dict[str, str], leaves: int) -> LinearLeaves | None:
    if not int(pairs.get("is_linear", "0")):
        return None
    counts = [int(word) for word in pairs["num_features"].split()]
    features = [int(word) for word in pairs.get("leaf_features", "").split()]
    weights = [float(word) for word in pairs.get("leaf_coeff", "").split()]
    ends = np.cumsum([0, *counts]).tolist()
    return LinearLeaves(
        np.array(pairs["leaf_const"].split(), dtype=np.float64)[:leaves],
        [features[start:end] for start, end in pairwise(ends)],
        [weights[start:end] for start, end in pairwise(ends)],
    )


def _beside_zero(threshold: np.ndarray) -> np.ndarray:
    """Thresholds for the values as they are, where LightGBM compares values with the smallest ones made zero.

    A threshold from 0 up to the limit lets all of them pass, one just below 0 none of them.
    """
    below = np.nextafter(-ZERO, -np.inf)
    inside = (threshold >= 0) & (threshold < ZERO)
    under = (threshold >= -ZERO) & (threshold < 0)
    return np.where(inside, ZERO, np.where(under, below, threshold))
