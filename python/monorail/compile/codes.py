"""Codes of categories: whole numbers from 0 as doubles, made from text, from numbers, or of numbers that are codes.

What is none of them is -1, and what is missing NaN where the original tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .columns import Cell, Feature, Raw, Text, UnreadableError
from .graph import ML, TEXT, Tensor
from .registry import Context

_DOUBLE = np.dtype(np.float64)
_INTEGER = np.dtype(np.int64)
NO_CODE = -1.0


def code_feature(tensor: Tensor, name: str, *, nullable: bool) -> Feature:
    """A feature that is a column of codes."""
    return Feature(Cell(tensor, 0), _DOUBLE, nullable, None, name)


def codes_of_values(
    context: Context,
    feature: Feature,
    categories: Sequence[Any],
    *,
    missing: float = NO_CODE,
    unknown: float = NO_CODE,
    strangers: bool = True,
) -> Feature:
    """The place of each value among the categories.

    Args:
        context: the step being compiled.
        feature: text or numbers.
        categories: what training saw, in the order of the codes, each once.
        missing: the code of null.
        unknown: the code of everything else.
        strangers: whether to ask for hard rows beside the categories: not where the original refuses what is none.

    Raises:
        UnreadableError: the categories are of another kind than the feature.
    """
    if feature.dtype == TEXT:
        codes = _of_text(context, feature, categories, missing, unknown)
    else:
        if strangers:
            note_values(context, feature, categories)
        codes = _of_numbers(context, feature, categories, missing, unknown)
    return code_feature(codes, feature.name, nullable=bool(np.isnan([missing, unknown]).any()))


def _of_text(context: Context, feature: Feature, categories: Sequence[Any], missing: float, unknown: float) -> Tensor:
    if not all(isinstance(category, str) for category in categories):
        raise UnreadableError(f"column `{feature.name}` is text, and its categories are not")
    source = feature.source
    if isinstance(source, Raw):
        source = context.reader.text(source.column)
    if not isinstance(source, Text):
        raise UnreadableError(f"column `{feature.name}` is not text")
    codes = look_up(context, source.tensor, list(categories), TEXT, unknown)
    # A null arrives as the empty string.
    if source.valid is None or (same(missing, unknown) and "" not in categories):
        return codes
    return context.graph.node("Where", [source.valid, codes, context.graph.constant([[missing]], _DOUBLE)], _DOUBLE, 1)


def _of_numbers(
    context: Context, feature: Feature, categories: Sequence[Any], missing: float, unknown: float
) -> Tensor:
    if any(isinstance(category, str) for category in categories):
        raise UnreadableError(f"column `{feature.name}` is numbers, and its categories are text")
    cell = context.reader.cell(feature)
    kind = _DOUBLE if cell.dtype.kind == "f" else _INTEGER
    codes = look_up(context, context.graph.cast(cell, kind), list(categories), kind, unknown)
    if kind == _INTEGER or same(missing, unknown):
        return codes
    null = context.graph.node("IsNaN", [cell], np.bool_, 1)
    return context.graph.node("Where", [null, context.graph.constant([[missing]], _DOUBLE), codes], _DOUBLE, 1)


def same(left: float, right: float) -> bool:
    """Whether two codes are one; NaN is itself."""
    return left == right or (left != left and right != right)


def look_up(
    context: Context,
    tensor: Tensor,
    keys: Sequence[Any],
    kind: np.dtype,
    unknown: float = NO_CODE,
    places: Sequence[float] | None = None,
) -> Tensor:
    """A `[rows, 1]` double: the place of each value among keys of one kind, `unknown` for all others.

    Where `places` are given, they are those of the keys instead of their numbers.
    """
    places = [float(place) for place in range(len(keys))] if places is None else places
    if kind == _INTEGER:
        kept = [(int(key), place) for key, place in zip(keys, places, strict=True) if float(key).is_integer()]
        keys, places = [key for key, _ in kept], [place for _, place in kept]
    if not keys:
        keys, places = ["" if kind == TEXT else 0], [unknown]
    attributes: dict[str, Any] = {
        "values_tensor": np.asarray(places, _DOUBLE),
        "default_tensor": np.asarray([unknown], _DOUBLE),
    }
    if kind == TEXT:
        attributes["keys_strings"] = keys
    else:
        attributes["keys_tensor"] = np.asarray(keys, kind)
    return context.graph.node("LabelEncoder", [tensor], _DOUBLE, 1, domain=ML, attributes=attributes)


def whole_codes(
    context: Context,
    feature: Feature,
    size: int,
    *,
    below_one: bool,
    missing: float = NO_CODE,
    single: bool = False,
) -> Feature:
    """Numbers that are codes, cut to whole ones.

    Args:
        context: the step being compiled.
        feature: numbers.
        size: codes from here on are none.
        below_one: whether numbers between -1 and 0 are cut to 0, too (else they are none).
        missing: the code of NaN.
        single: whether the original rounds them to float32 first.
    """
    graph = context.graph
    note_values(context, feature, np.unique(np.concatenate([np.arange(min(size, 4096) + 1), [size, -1]])))
    cell = context.reader.cell(feature)
    cell = graph.cast(graph.cast(cell, np.float32) if single else cell, _DOUBLE)
    zero, one = graph.constant([[0.0]]), graph.constant([[float(size)]])
    if below_one:
        above = graph.node("Greater", [cell, graph.constant([[-1.0]])], np.bool_, 1)
    else:
        above = graph.node("GreaterOrEqual", [cell, zero], np.bool_, 1)
    known = graph.node("And", [above, graph.node("Less", [cell, one], np.bool_, 1)], np.bool_, 1)
    inside = graph.node("Where", [known, cell, zero], _DOUBLE, 1)
    whole = graph.node("Floor", [graph.node("Max", [inside, zero], _DOUBLE, 1)], _DOUBLE, 1)
    codes = graph.node("Where", [known, whole, graph.constant([[NO_CODE]])], _DOUBLE, 1)
    if missing != NO_CODE and feature.nullable:
        null = graph.node("IsNaN", [cell], np.bool_, 1)
        codes = graph.node("Where", [null, graph.constant([[missing]]), codes], _DOUBLE, 1)
    return code_feature(codes, feature.name, nullable=bool(np.isnan(missing)) and feature.nullable)


def note_values(context: Context, feature: Feature, values: Sequence[Any] | np.ndarray) -> None:
    """Asks for hard rows on these values of a column and beside them."""
    origin = feature.origin
    if origin is None or origin.column.dtype.kind == "b" or not len(values):
        return
    known = np.asarray(values, np.float64)
    if origin.column.dtype.kind == "f":
        known = np.concatenate([known, np.nextafter(known, -np.inf)])
    context.split(origin.column.name, origin.element, known)
