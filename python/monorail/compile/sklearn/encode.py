"""Encoders of categories: one lookup a column, one-hot columns made only where something needs them as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..codes import look_up, same
from ..columns import Cell, Column, Feature, Indicator, Matrix, Raw, Text, UnreadableError
from ..graph import TEXT, Tensor
from ..nulls import is_missing, is_nan
from ..registry import Context, converter
from .impute import read_text

_DOUBLE = np.dtype(np.float64)


def _mapping(model: Any, number: int) -> np.ndarray | None:
    """Where each category goes after rare ones are grouped, or None."""
    if not getattr(model, "_infrequent_enabled", False):
        return None
    return model._default_to_infrequent_mappings[number]


@converter("sklearn.preprocessing._encoders.OneHotEncoder")
def one_hot_encoder(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """One feature a kept category; rare ones grouped, one dropped, unknown ones as the encoder was told."""
    dtype = np.dtype(model.dtype)
    features: list[Feature] = []
    for number, feature in enumerate(matrix.features):
        categories = list(model.categories_[number])
        mapping = _mapping(model, number)
        grouped = list(range(len(categories))) if mapping is None else [int(code) for code in mapping]
        count = max(grouped, default=-1) + 1
        rare_exists = mapping is not None
        adapts = model.handle_unknown in ("infrequent_if_exist", "warn")
        # Grouping puts the rare categories last.
        unknown = count - 1 if rare_exists and adapts else -1
        dropped = None if model._drop_idx_after_grouping is None else model._drop_idx_after_grouping[number]
        shift = _after_drop(None if dropped is None else int(dropped))
        codes = category_codes(context, feature, categories, [shift(code) for code in grouped], shift(unknown))
        width = count if dropped is None else count - 1
        features += [Feature(Indicator(codes, code), dtype, False) for code in range(width)]
    _note_unknown(context, model)
    return Matrix(tuple(features), dtype, bool(model.sparse_output))


def _note_unknown(context: Context, model: Any) -> None:
    if model.handle_unknown == "error":
        context.notes.append(
            f"`{context.path}` refuses categories it has not seen; the compiled model treats them as none of the known"
        )


def _after_drop(dropped: int | None) -> Any:
    if dropped is None:
        return lambda code: code
    return lambda code: -1 if code == dropped else code - 1 if code > dropped else code


@converter("sklearn.preprocessing._encoders.OrdinalEncoder")
def ordinal_encoder(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """One number a category, with numbers of their own for missing and unknown."""
    dtype = np.dtype(model.dtype)
    features: list[Feature] = []
    for number, feature in enumerate(matrix.features):
        categories = list(model.categories_[number])
        mapping = _mapping(model, number)
        values: list[float] = []
        for index, category in enumerate(categories):
            if is_nan(category):
                values.append(float(model.encoded_missing_value))
            else:
                values.append(float(index if mapping is None else mapping[index]))
        unknown = float(model.unknown_value) if model.handle_unknown == "use_encoded_value" else -1.0
        codes = category_codes(context, feature, categories, values, unknown)
        holds_nan = bool(np.isnan([*values, unknown]).any())
        features.append(Feature(Cell(codes, 0), dtype, holds_nan))
    _note_unknown(context, model)
    return Matrix(tuple(features), dtype)


def category_codes(
    context: Context, feature: Feature, categories: list[Any], values: list[float], unknown: float
) -> Tensor:
    """A `[rows, 1]` double: the value of each category, `unknown` for all others."""
    feature = read_text(context, feature)
    if isinstance(feature.source, Text):
        return _text_codes(context, feature.source, categories, values, unknown)
    if feature.dtype == TEXT:
        raise UnreadableError(f"column `{feature.name}` mixes text and numbers")
    return _number_codes(context, feature, categories, values, unknown)


def _text_codes(context: Context, source: Text, categories: list[Any], values: list[float], unknown: float) -> Tensor:
    table = {str(c): v for c, v in zip(categories, values, strict=True) if isinstance(c, str)}
    if len(table) < sum(not is_missing(c) for c in categories):
        raise UnreadableError("categories that are not text, on a column of text")
    codes = look_up(context, source.tensor, list(table), TEXT, unknown, list(table.values()))
    if source.valid is None:
        return codes
    context.reader.nulls.fitted(source.column, categories)
    null = unknown
    for category, value in zip(categories, values, strict=True):
        if (category is None and source.null == "none") or (is_nan(category) and source.null == "nan"):
            null = value
    if same(table.get("", unknown), null):
        # A null arrives as the empty string, whose code is already the right one.
        return codes
    return context.graph.node("Where", [source.valid, codes, context.graph.constant([[null]], _DOUBLE)], _DOUBLE, 1)


def _number_codes(
    context: Context, feature: Feature, categories: list[Any], values: list[float], unknown: float
) -> Tensor:
    cell = context.reader.cell(feature)
    floating = cell.dtype.kind == "f"
    cell = context.graph.cast(cell, np.float64 if floating else np.int64)
    keys, kept = [], []
    column = feature.source.column if isinstance(feature.source, Raw) else None
    if column is not None and feature.nullable:
        context.reader.nulls.fitted(column.name, categories)
    skipped = _other_null(column, categories)
    for category, value in zip(categories, values, strict=True):
        if isinstance(category, str) or (is_missing(category) and (category is None) == skipped):
            continue
        number = np.nan if category is None else float(category)
        if not floating:
            if not number.is_integer():
                continue
            keys.append(int(category))  # type: ignore[arg-type]
        else:
            keys.append(number)
        kept.append(value)
    _note_values(context, feature, keys)
    return look_up(context, cell, keys, np.dtype(np.float64 if floating else np.int64), unknown, kept)


def _other_null(column: Column | None, categories: list[Any]) -> bool:
    """Whether it is None (else NaN) that a null of this column is not, where an encoder was fitted on both."""
    if column is not None and column.null == "none":
        return not any(category is None for category in categories)
    return any(is_nan(category) for category in categories)


def _note_values(context: Context, feature: Feature, keys: list[Any]) -> None:
    """Asks for hard rows on the numeric categories, where the original gets the column as it is."""
    origin = feature.origin
    if origin is None or origin.column.dtype.kind == "b":
        return
    known = np.asarray([key for key in keys if not is_nan(key)], dtype=np.float64)
    if origin.forward(np.zeros(1, origin.column.dtype)).dtype == origin.column.dtype and len(known):
        context.split(origin.column.name, origin.element, known)
