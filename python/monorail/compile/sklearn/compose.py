"""Pipelines, column transformers and unions: they only route features, so they cost no node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import TEXT
from ..registry import (
    Context,
    RefusalError,
    Refused,
    convert,
    converter,
    find_converter,
    not_in_example,
    qualified_name,
    transform,
    why_not,
)
from .scale import elementwise


def _skipped(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


@converter("sklearn.pipeline.Pipeline")
def pipeline(context: Context, model: Any, matrix: Matrix) -> Any:
    """Each step on the features of the one before."""
    steps = [(name, step) for name, step in model.steps if not _skipped(step)]
    for number, (name, step) in enumerate(steps):
        try:
            if number == len(steps) - 1:
                return convert(context.at(name), step, matrix)
            matrix = transform(context.at(name), step, matrix)
        except RefusalError as refusal:
            later = [
                Refused(f"{context.path}.{other}", qualified_name(rest), why_not(rest))
                for other, rest in steps[number + 1 :]
                if find_converter(rest) is None
            ]
            raise RefusalError(refusal.refused + later) from refusal
    return matrix


@converter("sklearn.compose._column_transformer.ColumnTransformer")
def column_transformer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Each transformer on its columns, results side by side."""
    positions = _fitted_positions(context, model, matrix)
    parts: list[Matrix] = []
    refused: list[Refused] = []
    weights = model.transformer_weights or {}
    for name, step, columns in model.transformers_:
        indices = _indices(model, name, columns)
        if (isinstance(step, str) and step == "drop") or not indices:
            continue
        chosen = [position for position in (positions[index] for index in indices) if position is not None]
        if len(chosen) < len(indices):
            absent = [str(model.feature_names_in_[index]) for index in indices if positions[index] is None]
            refused += not_in_example(context, model, absent).refused
            continue
        inner = context.at(name)
        try:
            part = matrix.select(chosen)
            if not _skipped(step):
                if np.isscalar(columns):
                    raise inner.refuse(step, "it is given a column as a one-dimensional array; list the column instead")
                part = transform(inner, step, part)
            if weights.get(name) is not None:
                part = elementwise(inner, part, [("Mul", np.full(part.width, float(weights[name])))])
            parts.append(part)
        except RefusalError as refusal:
            refused += refusal.refused
    if refused:
        raise RefusalError(refused)
    return stack(parts, bool(model.sparse_output_))


def _indices(model: Any, name: str, columns: Any) -> list[int]:
    known = model._transformer_to_input_indices
    return [int(index) for index in known[name]] if name in known else []


def _fitted_positions(context: Context, model: Any, matrix: Matrix) -> list[int | None]:
    """Position in the matrix of each feature the transformer was fitted on; None for one that is not there."""
    names = [feature.name for feature in matrix.features]
    fitted = getattr(model, "feature_names_in_", None)
    if fitted is not None and all(names) and set(names) & set(fitted):
        place = {name: position for position, name in enumerate(names)}
        return [place.get(str(name)) for name in fitted]
    if matrix.width != model.n_features_in_:
        raise context.refuse(model, f"it was fitted on {model.n_features_in_} features and is given {matrix.width}")
    return list(range(matrix.width))


def stack(parts: list[Matrix], sparse: bool) -> Matrix:
    """Matrices side by side, with the element type numpy gives them together."""
    features = tuple(replace(feature, name="") for part in parts for feature in part.features)
    kinds = [part.common() for part in parts if part.width]
    if not kinds or TEXT in kinds:
        return Matrix(features, None, sparse)
    return Matrix(features, np.result_type(*kinds), sparse)


@converter("sklearn.pipeline.FeatureUnion")
def feature_union(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Every transformer on all features, results side by side."""
    parts: list[Matrix] = []
    refused: list[Refused] = []
    weights = model.transformer_weights or {}
    for name, step in model.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        try:
            part = matrix if _skipped(step) else transform(context.at(name), step, matrix)
            if weights.get(name) is not None:
                part = elementwise(context.at(name), part, [("Mul", np.full(part.width, float(weights[name])))])
            parts.append(part)
        except RefusalError as refusal:
            refused += refusal.refused
    if refused:
        raise RefusalError(refused)
    return stack(parts, any(part.sparse for part in parts))
