"""Columns of the data that pass through beside the predictions: the same rule in files, streams and Spark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import InputError

#: Names of columns that a hint shows.
SHOWN = 20


def check_kept(kept: Sequence[str], names: Sequence[str]) -> None:
    """Refuse columns to be passed through that are not in the data.

    Args:
        kept: Their names.
        names: Of the data's columns.

    Raises:
        InputError: ``missing_column``.
    """
    absent = [name for name in kept if name not in names]
    if absent:
        raise InputError(
            f"column {absent[0]!r} is to be passed through, and is not in the data",
            code="missing_column",
            hint=f"the data has {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}",
            details=[{"code": "missing_column", "column": name} for name in absent],
        )


def check_added(kept: Sequence[str], outputs: Iterable[str]) -> None:
    """Refuse columns to be passed through that have the name of a prediction.

    Args:
        kept: Their names.
        outputs: Names of the model's outputs.

    Raises:
        InputError: ``duplicate_column``.
    """
    added = set(outputs)
    both = [name for name in kept if name in added]
    if both:
        raise InputError(
            f"column {both[0]!r} is passed through, and is also the name of a prediction",
            code="duplicate_column",
            hint="rename it in the data, or do not pass it through: name the other columns with columns=",
            details=[{"code": "duplicate_column", "column": name} for name in both],
        )


def check_once(wanted: Iterable[str], names: Sequence[str]) -> None:
    """Refuse columns to be read that are in the data more than once.

    Args:
        wanted: Their names.
        names: Of the data's columns.

    Raises:
        InputError: ``duplicate_column``.
    """
    for name in wanted:
        if list(names).count(name) > 1:
            raise InputError(
                f"column {name!r} is in the data twice",
                code="duplicate_column",
                hint="rename or drop one",
                details=[{"code": "duplicate_column", "column": name}],
            )
