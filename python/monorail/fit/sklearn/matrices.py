"""What a final estimator of scikit-learn gets of a block: a finite matrix, targets as numbers, weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import FitError, InputError
from ..labels import numbers
from ..learning import Block, Inputs


def prepare(estimator: Any, inputs: Inputs) -> Any:
    """Set ``n_features_in_`` and ``feature_names_in_`` as ``fit`` would.

    Args:
        estimator: A scikit-learn estimator, not fitted; it is changed.
        inputs: What it is fitted on.

    Returns:
        The NumPy type that the matrix has in ``fit``: float32 where all features are, else float64.
    """
    from sklearn.utils.validation import validate_data

    matrix: Any = validate_data(
        estimator, inputs.sample, accept_sparse=True, dtype=None, ensure_all_finite=False, ensure_min_samples=0
    )
    return np.dtype(np.float32 if matrix.dtype == np.float32 else np.float64)


def not_numbers(inputs: Inputs) -> str | None:
    """Why these columns are no matrix of numbers: the first that is not one; None where all are."""
    for place, kind in enumerate(inputs.types):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            name = inputs.names[place] if inputs.names else place
            return f"column {name!r} is {kind}, and it learns from numbers alone; encode it in a step before"
    return None


def finite(block: Block, inputs: Inputs) -> Any:
    """The features as float64: ``[rows, features]``, or the sparse rows they come as.

    Raises:
        InputError: ``null_not_allowed`` or ``not_finite``: an estimator without missing values is given one.
    """
    sparse = hasattr(block.matrix, "toarray")
    matrix: Any = block.matrix.astype(np.float64, copy=False) if sparse else block.dense
    values: np.ndarray = matrix.data if sparse else matrix
    # One sum tells in nearly all cases; it can overflow where no value is infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(values.sum())
    if suspect and not np.isfinite(values).all():
        raise _not_finite(block, inputs, matrix.tocoo() if sparse else None)
    return matrix


def targets(block: Block) -> np.ndarray:
    """The target as float64: ``[rows]``, or ``[rows, targets]`` where each row has several (a struct or a list).

    Raises:
        FitError: there is none, or lists of it are not of one length.
        InputError: a row has no target, or one that is not a finite number.
    """
    target = block.target
    if target is None or not pa.types.is_nested(target.type):
        return numbers(block)
    return np.column_stack([numbers(dataclasses.replace(block, target=one)) for one in _each(target)])


def tabled(block: Block) -> np.ndarray:
    """The target as float64 ``[rows, targets]``, of one target, too."""
    found = targets(block)
    return found.reshape(len(found), -1)


def _each(target: Any) -> list[Any]:
    """The targets of a struct or of lists, one after the other."""
    if pa.types.is_struct(target.type):
        return target.flatten()
    values = target.flatten()
    if not len(target) or len(values) % len(target):
        raise FitError("the target's lists are not of one length", code="cannot_fit")
    several = len(values) // len(target)
    return [values.take(pa.array(np.arange(place, len(values), several))) for place in range(several)]


def _not_finite(block: Block, inputs: Inputs, sparse: Any) -> InputError:
    """The error for the first value that is not finite."""
    if sparse is not None:
        place = int(np.argmax(~np.isfinite(sparse.data)))
        row, column, value = int(sparse.row[place]), int(sparse.col[place]), float(sparse.data[place])
    else:
        row, column = (int(found) for found in np.argwhere(~np.isfinite(block.dense))[0])
        value = float(block.dense[row, column])
    name = inputs.names[column] if column < len(inputs.names) else f"feature {column}"
    missing = value != value
    return InputError(
        "a value is missing, and the last step takes none that are" if missing else "a value is infinite",
        code="null_not_allowed" if missing else "not_finite",
        details=[{**({"row": block.start + row} if block.start >= 0 else {}), "column": name}],
        hint="impute it in a step before (SimpleImputer)" if missing else "leave such rows out with filters=",
    )
