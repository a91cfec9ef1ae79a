"""Filling of missing values, numeric and text, and the columns that say what was missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Cell, Feature, Matrix, Origin, Raw, Text, UnreadableError
from ..graph import TEXT, Tensor
from ..nulls import is_nan
from ..registry import Context, converter

_BOOL = np.dtype(np.bool_)


def _missing_kind(model: Any, context: Context) -> str:
    """What the step takes for missing: "nan", "none", or "value"."""
    missing = model.missing_values
    if is_nan(missing):
        return "nan"
    if missing is None:
        return "none"
    if type(missing).__name__ == "NAType":
        return "nan"
    return "value"


@converter("sklearn.impute._base.SimpleImputer")
def simple_imputer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Each feature's missing values replaced by its statistic; features that were all missing are dropped."""
    statistics = np.asarray(model.statistics_)
    if model.keep_empty_features:
        kept = list(range(matrix.width))
    else:
        kept = [i for i, value in enumerate(statistics) if not is_nan(value)]
    fitted = np.dtype(model._fit_dtype)
    if fitted.kind == "O":
        matrix = _resolve_text(context, matrix)
        filled = tuple(_fill_object(context, model, matrix.features[i], statistics[i]) for i in kept)
        result = Matrix(filled, None if any(f.dtype == TEXT for f in filled) else matrix.dtype, matrix.sparse)
    else:
        result = _fill_numbers(context, model, matrix, kept, statistics[kept].astype(fitted))
    if model.add_indicator and len(model.indicator_.features_):
        flags = missing_flags(context, model.indicator_, matrix)
        wide = np.result_type(result.common(), _BOOL) if result.common() != TEXT else None
        return Matrix(result.features + flags, wide, result.sparse)
    return result


def _resolve_text(context: Context, matrix: Matrix) -> Matrix:
    """Reads the text columns that were not read yet."""
    return replace(matrix, features=tuple(read_text(context, feature) for feature in matrix.features))


def read_text(context: Context, feature: Feature) -> Feature:
    """A feature with its text read; others as they are."""
    if isinstance(feature.source, Raw) and feature.dtype == TEXT:
        return replace(feature, source=context.reader.text(feature.source.column))
    return feature


def _fill_object(context: Context, model: Any, feature: Feature, statistic: Any) -> Feature:
    """One feature of a table of objects: text, or numbers among text."""
    kind = _missing_kind(model, context)
    graph, source = context.graph, feature.source
    if not isinstance(source, Text):
        if kind != "nan" or not feature.nullable:
            return feature
        single = Matrix((feature,))
        return _fill_numbers(context, model, single, [0], np.asarray([statistic], np.float64)).features[0]
    if not isinstance(statistic, str):
        raise UnreadableError(f"text column `{feature.name}` is filled with {statistic!r}, which is not text")
    fill = graph.constant([[statistic]], TEXT)
    if kind == "value":
        same = graph.node("Equal", [source.tensor, graph.constant([[str(model.missing_values)]], TEXT)], _BOOL, 1)
        tensor = graph.node("Where", [same, fill, source.tensor], TEXT, 1)
        return replace(feature, source=replace(source, tensor=tensor))
    if source.valid is None:
        return feature
    context.reader.nulls.fills(source.column, kind)
    if source.null != kind:
        return feature
    tensor = graph.node("Where", [source.valid, source.tensor, fill], TEXT, 1)
    return replace(feature, source=replace(source, tensor=tensor, valid=None), nullable=False)


def _fill_numbers(context: Context, model: Any, matrix: Matrix, kept: list[int], statistics: np.ndarray) -> Matrix:
    kind = _missing_kind(model, context)
    dtype = matrix.floating() if model.strategy not in ("most_frequent", "constant") else matrix.common()
    if dtype == TEXT:
        raise UnreadableError("text where numbers are needed")
    if dtype.kind == "b":
        raise context.refuse(model, "bool columns alone are refused by SimpleImputer itself")
    matrix = matrix.select(kept)
    needed = kind == "value" or (kind == "nan" and any(feature.nullable for feature in matrix.features))
    if not needed or not matrix.features:
        features = tuple(replace(f, origin=_cast_origin(f.origin, dtype), dtype=dtype) for f in matrix.features)
        return Matrix(features, dtype, matrix.sparse)
    dense = context.reader.dense(matrix, dtype)
    fill = np.zeros(dense.tensor.width, dtype)
    fill[dense.positions] = statistics.astype(dtype)
    if kind == "nan":
        missing = context.graph.node("IsNaN", [dense.tensor], _BOOL, dense.tensor.width)
    else:
        value = context.graph.constant(np.asarray(model.missing_values).astype(dtype))
        missing = context.graph.node("Equal", [dense.tensor, value], _BOOL, dense.tensor.width)
    tensor = context.graph.node("Where", [missing, context.graph.constant(fill), dense.tensor], dtype, fill.size)
    features = []
    for feature, position, statistic in zip(matrix.features, dense.positions, statistics, strict=True):
        origin = None
        if kind == "nan" and feature.origin is not None:
            cast = _cast_origin(feature.origin, dtype)
            null = float(statistic) if cast is not None and np.isnan(cast.null) else (cast.null if cast else 0.0)
            origin = None if cast is None else Origin(cast.column, cast.element, cast.forward, null)
        still = feature.nullable and kind != "nan"
        features.append(replace(feature, source=Cell(tensor, position), dtype=dtype, nullable=still, origin=origin))
    return Matrix(tuple(features), dtype, matrix.sparse)


def _cast_origin(origin: Origin | None, dtype: np.dtype) -> Origin | None:
    if origin is None:
        return None
    return origin.then(lambda raw: raw.astype(dtype), origin.null)


def missing_flags(context: Context, model: Any, matrix: Matrix) -> tuple[Feature, ...]:
    """One bool feature for each column a MissingIndicator watches."""
    return tuple(_flag(context, model, matrix.features[int(i)]) for i in model.features_)


def _flag(context: Context, model: Any, feature: Feature) -> Feature:
    graph, kind = context.graph, _missing_kind(model, context)
    feature = read_text(context, feature)
    source = feature.source
    if isinstance(source, Text):
        if source.valid is not None:
            context.reader.nulls.fills(source.column, kind)
        tensor: Tensor
        if kind == "value":
            tensor = graph.node("Equal", [source.tensor, graph.constant([[str(model.missing_values)]], TEXT)], _BOOL, 1)
        elif source.valid is not None and source.null == kind:
            tensor = graph.node("Not", [source.valid], _BOOL, 1)
        else:
            tensor = graph.node("Equal", [source.tensor, source.tensor], _BOOL, 1)
            tensor = graph.node("Not", [tensor], _BOOL, 1)
        return Feature(Cell(tensor, 0), _BOOL, False)
    cell = context.reader.cell(feature)
    if kind == "value":
        tensor = graph.node(
            "Equal", [cell, graph.constant(np.asarray(model.missing_values).astype(cell.dtype))], _BOOL, 1
        )
    elif cell.dtype.kind == "f":
        tensor = graph.node("IsNaN", [cell], _BOOL, 1)
    else:
        zero = graph.cast(cell, np.float64)
        tensor = graph.node("IsNaN", [zero], _BOOL, 1)
    return Feature(Cell(tensor, 0), _BOOL, False)


@converter("sklearn.impute._base.MissingIndicator")
def missing_indicator(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """True where a value is missing, for the watched columns."""
    return Matrix(missing_flags(context, model, matrix), _BOOL, bool(model.sparse is True))
