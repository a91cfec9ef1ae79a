"""Which null a model was fitted on: to scikit-learn None and NaN are two values, to a table they are one null.

The example says it where it holds one. Else the fitted steps do: an encoder that was fitted on None has None among its
categories, and an imputer names what it fills. Steps note what they know here while they are compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import CompileError

_WORDS = {"nan": "NaN", "none": "None"}


@dataclass
class NullNotes:
    """What fitted steps say of columns whose nulls reach them.

    Attributes:
        known: for each column, the kinds among the categories of each encoder it reaches.
        filled: for each column, the kinds that imputers fill, in the order of the steps. These only tell what was
            meant: an imputer lets the other kind pass.
    """

    known: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    filled: dict[str, list[str]] = field(default_factory=dict)

    def fitted(self, column: str, categories: Iterable[Any]) -> None:
        """Notes the nulls among an encoder's categories."""
        kinds = frozenset("none" if value is None else "nan" for value in categories if is_missing(value))
        if kinds:
            self.known.setdefault(column, []).append(kinds)

    def fills(self, column: str, kind: str) -> None:
        """Notes the null that an imputer or indicator looks for."""
        if kind in _WORDS:
            self.filled.setdefault(column, []).append(kind)

    def decide(self, shown: Mapping[str, str]) -> dict[str, str]:
        """The kind of every column that a step knows of.

        Args:
            shown: the kinds that the example shows.

        Raises:
            CompileError: `cannot_compile`: the example shows another null than the model was fitted on, or the model
                was fitted on both and the example shows none.
        """
        found = {}
        for column, groups in self.known.items():
            common = frozenset.intersection(*groups)
            kind = shown.get(column)
            if kind is not None and kind not in common:
                raise _another(column, kind)
            if kind is None and len(common) != 1:
                raise _both(column)
            found[column] = kind or next(iter(common))
        for column, kinds in self.filled.items():
            found.setdefault(column, shown.get(column, kinds[0]))
        return found


def _another(column: str, kind: str) -> CompileError:
    fitted = _WORDS["nan" if kind == "none" else "none"]
    return CompileError(
        f"column `{column}`: its nulls are {_WORDS[kind]} in the example, and the model was fitted on {fitted}, "
        "which it tells apart",
        code="cannot_compile",
        hint=f"pass an example whose nulls in `{column}` are {fitted}, as in the data the model was fitted on",
    )


def _both(column: str) -> CompileError:
    return CompileError(
        f"column `{column}`: the model was fitted on both None and NaN, which it tells apart; a table has one null",
        code="cannot_compile",
        hint=f"make the nulls of `{column}` one kind and fit again",
    )


def is_nan(value: Any) -> bool:
    """Whether it is a float that is not a number."""
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def is_missing(value: Any) -> bool:
    """Whether it is None or NaN."""
    return value is None or is_nan(value)
