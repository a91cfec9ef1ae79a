"""Targets as estimators want them: classes in scikit-learn's order, codes of them, and plain numbers."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..adapters.frames import Form
from ..errors import FitError, InputError
from .learning import Block, Inputs, Target


class Labels:
    """The classes of a target, and the code of each row's.

    Args:
        target: What the passes found of the target.

    Attributes:
        encoder: A ``sklearn.preprocessing.LabelEncoder``, fitted.
        classes: The classes in order, in the type that ``fit`` on a pandas frame would leave in ``classes_``.
        counts: How many rows each class has.

    Raises:
        FitError: ``cannot_fit``: there is no target, it has more values than are counted, or it is not of classes.
    """

    def __init__(self, target: Target | None) -> None:
        from sklearn.preprocessing import LabelEncoder
        from sklearn.utils.multiclass import check_classification_targets

        if target is None or target.counts is None:
            raise FitError(
                "the target is not of classes: it has more than 10,000 different values"
                if target
                else "a classifier needs a target",
                code="cannot_fit",
                hint="name the column of the classes with target=, or fit a regressor",
            )
        kind = plain_type(target.type)
        values = pa.array([value for value in target.counts if value is not None and value == value], kind)
        series = Form("pandas").frame(pa.table({"target": values}))["target"]
        try:
            check_classification_targets(series)
            self.encoder: Any = LabelEncoder().fit(series)
        except ValueError as error:
            raise FitError(f"the target is not of classes: {error}", code="cannot_fit") from error
        places = np.argsort(self.encoder.transform(series), kind="stable")
        self.classes: np.ndarray = self.encoder.classes_
        self._values = values.take(pa.array(places))
        self.counts = np.array([target.counts[value.as_py()] for value in self._values], np.int64)
        self._kind = kind

    def codes(self, block: Block) -> np.ndarray:
        """The place of each row's class, int32.

        Raises:
            InputError: a row has no target, or one that the passes did not find.
        """
        target = _target(block)
        if target.type != self._kind:
            target = target.cast(self._kind)
        codes = pc.call_function("index_in", [target], pc.SetLookupOptions(self._values, skip_nulls=True))
        if codes.null_count:
            raise _refused(block, int(np.argmax(~codes.is_valid().to_numpy(zero_copy_only=False))))
        return codes.to_numpy()


def refused_target(inputs: Inputs, *, classifies: bool, several: bool = False) -> str | None:
    """Why an estimator cannot learn a target of this type; None where its type does not say so.

    Args:
        inputs: What it is fitted on.
        classifies: Whether it learns classes.
        several: Whether it learns several targets at once.
    """
    kind = inputs.target_type
    if kind is None:
        return "there is no target: name its column with target="
    if pa.types.is_nested(kind):
        return None if several and not classifies else "it learns one target, not several"
    kind = plain_type(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return None if classifies or number else f"the target is {kind}, and a regressor learns numbers"


def numbers(block: Block) -> np.ndarray:
    """Each row's target as float64; of several targets, a row of them.

    Raises:
        InputError: a row has no target, or one that is not a finite number.
    """
    target = _target(block)
    if pa.types.is_nested(target.type):
        return target.flatten().to_numpy(zero_copy_only=False).reshape(len(target), -1)
    try:
        values = target.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"the target is not of numbers: {error}", code="wrong_type", hint="a regressor learns numbers"
        ) from error
    values = pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        raise _refused(block, int(np.argmax(~np.isfinite(values))))
    return values


@contextlib.contextmanager
def unravelled() -> Iterator[None]:
    """Have scikit-learn take a frame of one column for a target without advice: whoever named a list meant one."""
    from sklearn.exceptions import DataConversionWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)
        yield


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values; any other type as it is."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is of strings, whatever their layout; dictionaries of strings are, too."""
    kind = plain_type(kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _target(block: Block) -> pa.Array:
    if block.target is None:
        raise FitError("there is no target", code="cannot_fit", hint="name its column with target=")
    kind = block.target.type
    return block.target.cast(plain_type(kind)) if pa.types.is_dictionary(kind) else block.target


def _refused(block: Block, place: int) -> InputError:
    got = None if block.target is None else block.target[place].as_py()
    known = got is not None and got == got
    where = {"row": block.start + place} if block.start >= 0 else {}
    return InputError(
        f"the target of a row is {got!r}" if known else "the target of a row is null",
        code="wrong_type" if known else "null_not_allowed",
        details=[{**where, "column": "target", "got": repr(got)}],
        hint="leave such rows out with filters=",
    )
