"""What ``fit`` was asked to learn, looked at before the first pass: targets, weights, the last step's parameters."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from .faults import told_by
from .labels import plain_type, refused_target
from .training import Trainer


def check_columns(schema: pa.Schema, targets: Sequence[str], weight: str | None) -> None:
    """Refuse columns that are no targets, or no weights.

    Args:
        schema: Of the data.
        targets: Columns to be learnt.
        weight: Column of weights.

    Raises:
        InputError: ``duplicate_column`` or ``wrong_type``.
    """
    for place, name in enumerate(targets):
        if name in targets[:place] or name == weight:
            what = "the weight too" if name == weight else "named twice"
            raise InputError(
                f"the target `{name}` is {what}",
                code="duplicate_column",
                hint="name every column once",
                details=[{"code": "duplicate_column", "column": name}],
            )
        kind = plain_type(schema.field(name).type)
        if pa.types.is_nested(kind):
            raise _wrong(name, kind, f"the target `{name}` is {kind}", "name several targets as columns of their own")
        if len(targets) > 1 and not _is_number(kind):
            raise _wrong(
                name, kind, f"`{name}` is {kind}, and several targets are learnt as numbers", "learn each by itself"
            )
    if weight is not None and not _is_number(schema.field(weight).type):
        kind = schema.field(weight).type
        raise _wrong(weight, kind, f"the weight `{weight}` is {kind}", "weights are numbers")


def check_trainer(trainer: Trainer) -> None:
    """Refuse parameters of a final estimator, or a target that it cannot learn, as far as the first rows show it.

    Raises:
        FitError: ``cannot_fit``: its parameters are wrong.
        InputError: ``wrong_type``.
    """
    from sklearn.base import is_classifier, is_regressor

    step, inputs = trainer.estimator, trainer.inputs
    if hasattr(step, "_parameter_constraints"):
        with told_by(step, doing="cannot be fitted"):
            step._validate_params()
    classifies = is_classifier(step)
    if not classifies and not is_regressor(step):
        return
    reason = refused_target(inputs, classifies=classifies, several=True)
    first = inputs.target_sample
    if reason is None and classifies and isinstance(first, pa.Array) and first.type in (pa.float32(), pa.float64()):
        broken = pc.call_function("not_equal", [first, pc.call_function("floor", [first])])
        if pc.call_function("any", [broken]).as_py():
            reason = "the target holds fractions, and a classifier learns classes"
    if reason is not None:
        hint = "name another column with target=, or fit a regressor" if classifies else "a regressor learns numbers"
        raise InputError(
            f"`{type(step).__name__}` cannot learn: {reason}",
            code="wrong_type",
            hint="name its column with target=" if inputs.target_type is None else hint,
        )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _wrong(name: str, kind: pa.DataType, text: str, hint: str) -> InputError:
    return InputError(
        text, code="wrong_type", hint=hint, details=[{"code": "wrong_type", "column": name, "got": str(kind)}]
    )
