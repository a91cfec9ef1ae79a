"""Reads CatBoost's JSON export: float32 borders, float64 leaves, symmetric trees and others, one-hot categories."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..trees import Tree

_ONE_HOT, _NUMBER = "OneHotFeature", "FloatFeature"


class UnsupportedModelError(ValueError):
    """A model with features that are not compiled."""


@dataclass(frozen=True)
class CatBoostJson:
    """What the JSON export says.

    Attributes:
        trees: in order, one for each output. A tree's features count `features`; a category's is above 0.5 where the
            category is the one asked for.
        features: what trees read, in the order of their numbers: the position of a feature among all, and for a
            category its place among the values of its feature (None: a number).
        outputs: number of sums.
        scale: what the sums are multiplied by.
        bias: what is added then, for each output.
        values: for the position of each one-hot feature how many of its values splits ask for, and its number among
            the categorical features.
        loss: the loss's name.
    """

    trees: list[Tree]
    features: list[tuple[int, int | None]]
    outputs: int
    scale: float
    bias: np.ndarray
    values: dict[int, tuple[int, int]]
    loss: str


def read_model(model: Any) -> CatBoostJson:
    """Exports a model to JSON and parses that.

    Raises:
        UnsupportedModelError: statistics of categories, text or embeddings.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        whole = json.loads(path.read_bytes())
    info = whole["features_info"]
    for kind, words in (
        ("ctrs", "statistics of categories (raise one_hot_max_size to have one-hot ones)"),
        ("text_features", "text"),
        ("embedding_features", "embeddings"),
    ):
        if info.get(kind):
            raise UnsupportedModelError(f"it splits on {words}, which are not compiled")
    scale, bias = whole["scale_and_bias"]
    bias = np.atleast_1d(np.asarray(bias, np.float64))
    reader = _Reader(info, len(bias))
    for tree in whole.get("oblivious_trees", []):
        reader.symmetric(tree)
    for tree in whole.get("trees", []):
        reader.other(tree)
    parameters = whole["model_info"].get("params", {})
    parameters = json.loads(parameters) if isinstance(parameters, str) else parameters
    return CatBoostJson(
        reader.trees,
        list(reader.numbers),
        len(bias),
        float(scale),
        bias,
        reader.values,
        parameters.get("loss_function", {}).get("type", ""),
    )


class _Reader:
    """Collects trees, and numbers what they read as it meets it."""

    def __init__(self, info: dict[str, Any], outputs: int) -> None:
        self.outputs = outputs
        self.trees: list[Tree] = []
        self.numbers: dict[tuple[int, int | None], int] = {}
        self.values: dict[int, tuple[int, int]] = {}
        self._floats, self._hashes = {}, {}
        for entry in info.get("float_features", []):
            # Without a rule NaN is compared, which is false, so it is with the values up to the border.
            left = entry.get("nan_value_treatment", "AsIs") != "AsTrue"
            self._floats[entry["feature_index"]] = (entry["flat_feature_index"], left)
        for entry in info.get("categorical_features", []):
            place = {value: number for number, value in enumerate(entry.get("values", []))}
            self._hashes[entry["feature_index"]] = (entry["flat_feature_index"], place)
            if place:
                self.values[entry["flat_feature_index"]] = (len(place), entry["feature_index"])

    def _split(self, split: dict[str, Any]) -> tuple[int, float, bool]:
        """Number of the feature, border, and whether NaN is on the side of the values up to it."""
        if split["split_type"] == _NUMBER:
            position, nan_left = self._floats[split["float_feature_index"]]
            return self._number((position, None)), float(np.float32(split["border"])), nan_left
        if split["split_type"] != _ONE_HOT:
            raise UnsupportedModelError(f"a split of the kind {split['split_type']} is not compiled")
        position, place = self._hashes[split["cat_feature_index"]]
        return self._number((position, place[split["value"]])), 0.5, True

    def _number(self, feature: tuple[int, int | None]) -> int:
        return self.numbers.setdefault(feature, len(self.numbers))

    def symmetric(self, tree: dict[str, Any]) -> None:
        """A tree that asks the same on every node of a level; the first question is the lowest bit of the leaf."""
        splits = [self._split(split) for split in reversed(tree.get("splits") or [])]
        inner = (1 << len(splits)) - 1
        level = np.repeat(np.arange(len(splits)), 1 << np.arange(len(splits)))
        children = 1 + 2 * np.arange(inner)[:, None] + np.arange(2)
        children = np.where(children < inner, children, -1 - (children - inner))
        asked = [splits[number] for number in level.tolist()]
        self._add(asked, children, np.asarray(tree["leaf_values"], np.float64).reshape(inner + 1, -1))

    def other(self, tree: dict[str, Any]) -> None:
        """A tree whose every node asks for itself."""
        asked: list[tuple[int, float, bool]] = []
        children: list[list[int]] = []
        leaves: list[np.ndarray] = []
        waiting: list[tuple[dict[str, Any], int, int]] = [(tree, -1, 0)]
        while waiting:
            node, parent, side = waiting.pop()
            if "split" in node:
                place = len(asked)
                asked.append(self._split(node["split"]))
                children.append([0, 0])
                waiting += [(node["right"], place, 1), (node["left"], place, 0)]
            else:
                place = -1 - len(leaves)
                leaves.append(np.atleast_1d(np.asarray(node["value"], np.float64)))
            if parent >= 0:
                children[parent][side] = place
        self._add(asked, np.asarray(children, np.int64).reshape(-1, 2), np.stack(leaves))

    def _add(self, asked: list[tuple[int, float, bool]], children: np.ndarray, leaves: np.ndarray) -> None:
        feature = np.asarray([number for number, _, _ in asked], np.int64)
        border = np.asarray([value for _, value, _ in asked], np.float64)
        nan_left = np.asarray([left for _, _, left in asked], bool)
        for target in range(self.outputs):
            values = leaves[:, target]
            self.trees.append(Tree(target, feature, border, nan_left, children[:, 0], children[:, 1], values))
