"""Reads XGBoost's JSON format: float32 trees, their starting value, categories, and linear boosters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..trees import Tree

_SINGLE = np.dtype(np.float32)
_ON_CATEGORIES = 1
_TEXT_OFFSETS = "offsets"


@dataclass(frozen=True)
class BoosterJson:
    """What a booster's JSON says.

    Attributes:
        objective: the objective's name, as in `binary:logistic`.
        parameters: everything the JSON says of the objective.
        base: the starting value of each sum, before any margin is made of it.
        outputs: number of sums.
        features: number of features.
        trees: in order, targets assigned, each with its number in the JSON; values float32 in effect. Empty for a
            linear booster.
        dropped: the weight of each tree of the JSON, where trees were dropped while training.
        kinds: the type of each feature, "c" for codes of categories; empty if it was not told.
        categories: for each feature the values its codes stand for, empty for all others.
        weights: of a linear booster: `[features + 1, outputs]`, the last row the constant.
    """

    objective: str
    parameters: dict[str, Any]
    base: np.ndarray
    outputs: int
    features: int
    trees: list[tuple[Tree, int]]
    dropped: list[float] | None
    kinds: list[str]
    categories: dict[int, list[Any]]
    weights: np.ndarray | None


class MisreadCategoriesError(ValueError):
    """Categories that the original itself does not tell apart as they are."""


def read_booster(raw: bytes | bytearray, rounds: int | None = None) -> BoosterJson:
    """Parses `Booster.save_raw("json")`.

    Args:
        raw: the JSON.
        rounds: how many rounds of boosting count; all if absent.

    Raises:
        MisreadCategoriesError: it holds categories outside ASCII.
    """
    learner = json.loads(bytes(raw))["learner"]
    general, machine = learner["learner_model_param"], learner["gradient_booster"]
    outputs = max(int(general["num_class"]), int(general.get("num_target", "1")), 1)
    features = int(general["num_feature"])
    trees: list[tuple[Tree, int]] = []
    weights, dropped, categories = None, machine.get("weight_drop"), {}
    if machine["name"] == "gblinear":
        weights = np.asarray(machine["model"]["weights"], _SINGLE).reshape(features + 1, outputs)
    else:
        inner = machine["gbtree"]["model"] if "gbtree" in machine else machine["model"]
        trees = _trees(inner, rounds)
        categories = _categories(inner.get("cats", {}))
    base = np.asarray(json.loads(general["base_score"]), _SINGLE).ravel()
    return BoosterJson(
        learner["objective"]["name"],
        learner["objective"],
        np.broadcast_to(base, (outputs,)),
        outputs,
        features,
        trees,
        dropped,
        list(learner.get("feature_types", [])),
        categories,
        weights,
    )


def _trees(model: dict[str, Any], rounds: int | None) -> list[tuple[Tree, int]]:
    whole = model["trees"]
    if rounds is not None:
        whole = whole[: model["iteration_indptr"][min(rounds, len(model["iteration_indptr"]) - 1)]]
    return [
        (part, number) for number, tree in enumerate(whole) for part in _tree(tree, int(model["tree_info"][number]))
    ]


def _tree(tree: dict[str, Any], group: int) -> list[Tree]:
    """One tree, or one for each output where its leaves are vectors. Nodes that were cut off are not reached."""
    left, right = tree["left_children"], tree["right_children"]
    inner, leaves, waiting = [], [], [0]
    while waiting:
        node = waiting.pop()
        if left[node] == -1:
            leaves.append(node)
        else:
            inner.append(node)
            waiting += [right[node], left[node]]
    number = {node: place for place, node in enumerate(inner)} | {node: -1 - i for i, node in enumerate(leaves)}
    codes = _code_sets(tree)
    nan_left = np.asarray([bool(tree["default_left"][node]) for node in inner], bool)
    children = np.asarray([[number[left[node]], number[right[node]]] for node in inner], np.int64).reshape(-1, 2)
    members = {place: codes[node] for node, place in number.items() if node in codes}
    for place in members:
        # The codes listed go right here, and left in a membership test.
        children[place] = children[place][::-1]
        nan_left[place] = not nan_left[place]
    limits = np.asarray(tree["split_conditions"], _SINGLE)[inner]
    # Less than a float32 is less than or equal to the one below it.
    below = np.nextafter(limits, _SINGLE.type(-np.inf))
    feature = np.asarray(tree["split_indices"], np.int64)[inner]
    return [
        Tree(target, feature, below.astype(np.float64), nan_left, children[:, 0], children[:, 1], values, members)
        for target, values in _leaf_values(tree, leaves, group)
    ]


def _leaf_values(tree: dict[str, Any], leaves: list[int], group: int) -> list[tuple[int, np.ndarray]]:
    size = int(tree["tree_param"]["size_leaf_vector"])
    if size <= 1:
        values = np.asarray(tree["split_conditions"], _SINGLE)[leaves]
        return [(group, values.astype(np.float64))]
    table = np.asarray(tree["leaf_weights"], _SINGLE).reshape(-1, size)
    values = table[[tree["right_children"][leaf] for leaf in leaves]]
    return [(target, values[:, target].astype(np.float64)) for target in range(size)]


def _code_sets(tree: dict[str, Any]) -> dict[int, np.ndarray]:
    """For each node that splits on categories the codes it lists."""
    found = {}
    listed = np.asarray(tree["categories"], np.int64)
    for node, start, size in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        if tree["split_type"][node] == _ON_CATEGORIES:
            found[int(node)] = listed[start : start + size]
    return found


def _categories(stored: dict[str, Any]) -> dict[int, list[Any]]:
    """What the codes of each feature stand for; text is kept as one run of bytes with its bounds.

    Raises:
        MisreadCategoriesError: text outside ASCII, whose bounds XGBoost counts in letters and not in bytes.
    """
    found = {}
    for number, entry in enumerate(stored.get("enc", [])):
        values = entry.get("values", [])
        if _TEXT_OFFSETS in entry:
            bounds, run = entry[_TEXT_OFFSETS], bytes(value & 255 for value in values)
            if not run.isascii():
                raise MisreadCategoriesError(
                    "XGBoost misreads categories outside ASCII, so that its answers depend on the other rows; "
                    "rename them"
                )
            values = [run[start:end].decode("ascii") for start, end in pairwise(bounds)]
        if values:
            found[number] = values
    return found
