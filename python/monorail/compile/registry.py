"""Which converter compiles which class: a table keyed by qualified class name, filled when a family is first needed.

Converters read attributes of the fitted object and import no framework, so a table of names is all they need. A
subclass of a known class is not known: it may override anything.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .columns import Matrix, Reader, UnreadableError
from .graph import Graph, Tensor
from .reasons import REASONS

_FAMILIES = {
    "sklearn": (
        "adaboost",
        "bagging",
        "bayes",
        "boosting",
        "calibrate",
        "cluster",
        "compose",
        "delegate",
        "discretize",
        "discriminant",
        "dummy",
        "encode",
        "ensemble_meta",
        "function",
        "gaussian_process",
        "impute",
        "invert",
        "isolation",
        "isotonic",
        "kernel_maps",
        "kernels",
        "latent",
        "linear",
        "manifold",
        "mixture",
        "multi",
        "neighbors",
        "neural",
        "outliers",
        "power",
        "project",
        "records",
        "scale",
        "select",
        "shape",
        "spline",
        "svm",
        "target",
        "threshold",
        "topics",
        "tree",
    ),
    "catboost": ("booster",),
    "lightgbm": ("booster",),
    "xgboost": ("booster",),
}
_TABLE: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class Refused:
    """One step that does not compile.

    Attributes:
        path: the way to it through the model, as in `pipeline.prepare.encoder`.
        kind: its qualified class name.
        reason: why, lower-case, without a period.
    """

    path: str
    kind: str
    reason: str


class RefusalError(Exception):
    """Raised by converters; collected and turned into `cannot_compile` for the user."""

    def __init__(self, refused: list[Refused]) -> None:
        super().__init__("; ".join(f"{entry.path}: {entry.reason}" for entry in refused))
        self.refused = refused


@dataclass(frozen=True)
class Output:
    """One output of a model: its tensor, the signature's type, and class or feature names for a list."""

    tensor: Tensor
    type: str
    names: list[str] | None = None


@dataclass
class Context:
    """What a converter works with: the graph, the reader of columns, where in the model it is, and what it notes."""

    graph: Graph
    reader: Reader
    path: str
    wanted: tuple[str, ...] = ()
    splits: dict[tuple[str, int], list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    near: list[str] = field(default_factory=list)

    def at(self, name: str) -> Context:
        """The same context one step deeper."""
        return replace(self, path=f"{self.path}.{name}")

    def refuse(self, model: object, reason: str) -> RefusalError:
        """The exception to raise when this step cannot be compiled."""
        return RefusalError([Refused(self.path, qualified_name(model), reason)])

    def only_near(self, reason: str) -> None:
        """Notes that far outside the data a step's answers are rounding alone, so that hard rows do not go there."""
        self.near.append(self.path)
        self.notes.append(f"`{self.path}` {reason}")

    def split(self, column: str, element: int, values: Any) -> None:
        """Notes raw values of a column that hard rows must hit, on one side and the other of a decision."""
        self.splits.setdefault((column, element), []).append(values)


def qualified_name(model: object) -> str:
    """`module.Class` of an object, or of a class."""
    kind = model if isinstance(model, type) else type(model)
    return f"{kind.__module__}.{kind.__qualname__}"


def converter(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function `(context, model, matrix)` for these qualified class names.

    A transformer's converter returns a `Matrix`, a predictor's a dict of `Output` by name; what a predictor also
    transforms to is a `Matrix` under `features` there.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _TABLE[name] = function
        return function

    return register


def find_converter(model: object) -> Callable[..., Any] | None:
    """The converter for a fitted object's own class, or None."""
    name = qualified_name(model)
    framework = name.partition(".")[0]
    for family in _FAMILIES.get(framework, ()):
        importlib.import_module(f"{__package__}.{framework}.{family}")
    return _TABLE.get(name)


def why_not(model: object) -> str:
    """The reason for which a class without a converter has none."""
    return REASONS.get(qualified_name(model), "no converter is known for this class")


def convert(context: Context, model: Any, matrix: Matrix) -> Any:
    """Compiles one step with its converter.

    Raises:
        RefusalError: no converter is registered for its class, or the converter refuses it.
    """
    function = find_converter(model)
    if function is None:
        raise context.refuse(model, why_not(model))
    try:
        return function(context, model, matrix)
    except UnreadableError as error:
        raise context.refuse(model, str(error)) from error


def not_in_example(context: Context, model: Any, absent: list[str]) -> RefusalError:
    """The exception for columns that a step was fitted on and the example lacks."""
    names = ", ".join(f"`{name}`" for name in absent)
    if len(absent) == 1:
        return context.refuse(model, f"column {names}, which it was fitted on, is not in the example")
    return context.refuse(model, f"columns {names}, which it was fitted on, are not in the example")


def transform(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Compiles a step that must be a transformer; of a predictor that also transforms, its `features`."""
    result = convert(context, model, matrix)
    if isinstance(result, dict):
        result = result.get("features")
    if not isinstance(result, Matrix):
        raise context.refuse(model, "a predictor in the place of a transformer")
    return result
