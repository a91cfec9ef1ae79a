"""numpy's universal functions as nodes, computed in the types that numpy computes them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Tensor
from ..trees import largest_left
from .operands import BOOL, WHOLE, cast_tensor, constant_row, numpy_type, spread, working_type
from .values import Array, Recorder, fresh_array

_LN2, _LN10 = float(np.log(2.0)), float(np.log(10.0))
_COMPARISONS = {
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "equal": "Equal",
    "not_equal": "Equal",
}
_SAME = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "maximum": "Max",
    "minimum": "Min",
    "negative": "Neg",
    "absolute": "Abs",
}
_ROUNDING = {"floor": "Floor", "ceil": "Ceil", "rint": "Round"}
_INEXACT = {"exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos", "tanh": "Tanh"}
_LOGIC = {
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
    "bitwise_and": "And",
    "bitwise_or": "Or",
    "bitwise_xor": "Xor",
}
_CURVES = {*_INEXACT, "exp2", "expm1", "log1p", "log2", "log10", "tan", "sinh", "cosh", "cbrt", "power", "float_power"}
_FINITE = ("isnan", "isinf", "isfinite")
_NEEDS_EXACT = {*_COMPARISONS, *_ROUNDING, "trunc", "floor_divide", "remainder", "fmod", "sign", "heaviside"}


class Work:
    """One call: its operands in the type it is computed in, and how to add nodes of the result's width."""

    def __init__(self, recorder: Recorder, name: str, dtype: np.dtype, width: int, values: Sequence[Any]) -> None:
        self.recorder, self.graph, self.name = recorder, recorder.context.graph, name
        self.dtype, self.width, self.values = dtype, width, values
        self.operands: list[Any] = []

    def node(self, operator: str, *inputs: Any, dtype: np.dtype | None = None, **attributes: Any) -> Tensor:
        """A node over tensors and plain numbers."""
        names = [
            value if isinstance(value, Tensor | str) else self.graph.constant(value, self.dtype) for value in inputs
        ]
        return self.graph.node(operator, names, dtype or self.dtype, self.width, attributes=attributes)

    def test(self, operator: str, *inputs: Any) -> Tensor:
        """A node that answers yes or no."""
        return self.node(operator, *inputs, dtype=BOOL)

    def opposite(self, test: Tensor) -> Tensor:
        """The other answer."""
        return self.test("Not", test)


def call_ufunc(recorder: Recorder, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """What `__array_ufunc__` answers."""
    out = options.pop("out", None)
    if method == "reduce":
        from .reductions import reduce_ufunc

        return reduce_ufunc(recorder, ufunc, inputs, options)
    if method != "__call__":
        recorder.fail(f"calls `{ufunc.__name__}.{method}`")
    if {name for name, value in options.items() if value is not None and name != "casting"} - {"subok"}:
        recorder.fail(f"calls `{ufunc.__name__}` with {', '.join(options)}")
    if ufunc.__name__ == "matmul":
        from .functions import matmul

        return matmul(recorder, *inputs)
    result = _elementwise(recorder, ufunc, inputs)
    if not out:
        return result
    if not isinstance(out[0], Array) or out[0].dtype != result.dtype:
        recorder.fail("writes its result into an array of another type")
    out[0][...] = result
    return out[0]


def _elementwise(recorder: Recorder, ufunc: np.ufunc, inputs: Sequence[Any]) -> Array:
    name = ufunc.__name__
    if any(type(value).__name__ == "Turned" for value in inputs):
        recorder.fail("computes with a transposed array")
    arrays = [value for value in inputs if isinstance(value, Array)]
    loops = _loops(recorder, ufunc, inputs)
    width, ndim = _shape(recorder, inputs, arrays)
    mask = _mask(recorder, arrays)
    exact = all(array.traced_exact for array in arrays)
    if name in _NEEDS_EXACT and not exact:
        recorder.fail(f"takes `{name}` of a number that is not exact to the last bit")
    if name in ("sin", "cos", "tan") and not exact:
        recorder.context.only_near("takes angles of sums: far outside its data (1e15, say) they are rounding alone")
    dtype = working_type(recorder, loops[0])
    if name in _FINITE or (dtype == np.dtype(np.float32) and name in _CURVES):
        # Whole numbers and truth values are always finite; the runtime is asked as for other numbers. What numpy
        # computes in single precision is nearest to the exact value, rounded.
        dtype = np.dtype(np.float64)
    work = Work(recorder, name, dtype, width, inputs)
    work.operands = [_operand(recorder, value, loop, dtype) for value, loop in zip(inputs, loops[:-1], strict=True)]
    tensor, kept = _made(work)
    if name in _COMPARISONS:
        _note(recorder, inputs, loops[0])
    return fresh_array(recorder, cast_tensor(recorder, tensor, loops[-1]), ndim, exact=exact and kept, mask=mask)


def _loops(recorder: Recorder, ufunc: np.ufunc, inputs: Sequence[Any]) -> tuple[np.dtype, ...]:
    if ufunc.nout != 1:
        recorder.fail(f"uses `{ufunc.__name__}`")
    given = [numpy_type(recorder, value) for value in inputs]
    return ufunc.resolve_dtypes((*given, None))


def _shape(recorder: Recorder, inputs: Sequence[Any], arrays: list[Array]) -> tuple[int, int]:
    dimensions = {array.ndim for array in arrays}
    if len(dimensions) > 1:
        recorder.fail(
            "puts a one-dimensional and a two-dimensional array together, which numpy does row against column"
        )
    ndim, width = dimensions.pop(), 1
    for value in inputs:
        own = value.width if isinstance(value, Array) else constant_row(recorder, value).shape[1]
        if own == 1:
            continue
        if ndim == 1 or (width != 1 and own != width):
            recorder.fail("puts arrays of different shapes together")
        width = own
    return width, ndim


def _mask(recorder: Recorder, arrays: list[Array]) -> Tensor | None:
    masks = {array.traced_mask.name if array.traced_mask else "" for array in arrays}
    if len(masks) > 1:
        recorder.fail("computes with picked cells and others together")
    return arrays[0].traced_mask


def _operand(recorder: Recorder, value: Any, loop: np.dtype, dtype: np.dtype) -> Any:
    if isinstance(value, Array):
        narrowed = cast_tensor(recorder, value.traced_tensor, loop)
        return recorder.context.graph.cast(narrowed, dtype)
    return recorder.context.graph.constant(constant_row(recorder, value).astype(loop).astype(dtype))


def _note(recorder: Recorder, inputs: Sequence[Any], loop: np.dtype) -> None:
    """Asks for hard rows on both sides of a constant that a column is compared with."""
    array = next(value for value in inputs if isinstance(value, Array))
    others = [value for value in inputs if not isinstance(value, Array)]
    if not others or loop.kind == "b":
        return
    limits = np.broadcast_to(constant_row(recorder, others[0]).astype(np.float64), (1, array.width))[0]
    for origin, limit in zip(array.traced_origins, limits, strict=True):
        if origin is not None and np.isfinite(limit) and origin.column.dtype.kind != "b":
            limit_below = np.asarray([limit, np.nextafter(limit, -np.inf)])
            left = largest_left(origin.column.dtype, origin.forward, limit_below)
            recorder.context.split(origin.column.name, origin.element, left)


def _made(work: Work) -> tuple[Tensor, bool]:
    """The result's tensor and whether it is exact to the last bit."""
    name, operands = work.name, work.operands
    if name in _COMPARISONS:
        return _compared(work), True
    if name in _LOGIC and work.dtype == BOOL:
        return work.test(_LOGIC[name], *operands), True
    if name in ("logical_not", "invert") and work.dtype == BOOL:
        return work.opposite(operands[0]), True
    if name in _LOGIC or name in ("logical_not", "invert", "left_shift", "right_shift"):
        work.recorder.fail(f"uses `{name}` on numbers")
    if work.dtype == BOOL:
        if name in ("add", "maximum"):
            return work.test("Or", *operands), True
        if name in ("multiply", "minimum"):
            return work.test("And", *operands), True
        work.recorder.fail(f"uses `{name}` on truth values")
    if name in _SAME:
        return work.node(_SAME[name], *operands), True
    table = _WHOLE_MADE if work.dtype == WHOLE else _FLOAT_MADE
    if name in ("power", "float_power"):
        return _power(work, work.values[1])
    if name in _INEXACT and work.dtype != WHOLE:
        return work.node(_INEXACT[name], *operands), False
    if name in _ROUNDING and work.dtype != WHOLE:
        return work.node(_ROUNDING[name], *operands), True
    if name not in table:
        work.recorder.fail(f"uses `{name}`, which has no operator of this precision in the runtime")
    function, exact = table[name]
    return function(work), exact


def _compared(work: Work) -> Tensor:
    if work.dtype == BOOL and work.name not in ("equal", "not_equal"):
        work.recorder.fail("asks which of two truth values is larger")
    found = work.test(_COMPARISONS[work.name], *work.operands)
    return work.opposite(found) if work.name == "not_equal" else found


def _power(work: Work, exponent: Any) -> tuple[Tensor, bool]:
    plain = np.asarray(exponent).item() if not isinstance(exponent, Array) and np.size(exponent) == 1 else None
    base = work.operands[0]
    if plain == 2:
        return work.node("Mul", base, base), True
    if work.dtype != WHOLE:
        if plain == 1:
            return work.node("Mul", base, 1.0), True
        return work.node("Pow", base, work.operands[1]), False
    if not isinstance(plain, int) or not 0 <= plain <= 16:
        work.recorder.fail("raises whole numbers to a power that is not a small constant")
    total = work.node("Add", work.node("Mul", base, 0), 1)
    for _ in range(plain):
        total = work.node("Mul", total, base)
    return total, True


def _where(work: Work, test: Tensor, yes: Any, no: Any) -> Tensor:
    return work.node("Where", test, yes, no)


def _log1p(work: Work) -> Tensor:
    x = work.operands[0]
    whole = work.node("Add", x, 1.0)
    kept = work.node("Sub", whole, 1.0)
    logarithm = work.node("Log", whole)
    corrected = work.node("Mul", logarithm, work.node("Div", x, kept))
    tiny, plain = work.test("Equal", kept, 0.0), work.test("Equal", kept, x)
    return _where(work, tiny, x, _where(work, plain, logarithm, corrected))


def _expm1(work: Work, x: Any = None) -> Tensor:
    x = work.operands[0] if x is None else x
    power = work.node("Exp", x)
    less = work.node("Sub", power, 1.0)
    corrected = work.node("Mul", less, work.node("Div", x, work.node("Log", power)))
    tiny = work.test("Equal", power, 1.0)
    small = work.test("Less", work.node("Abs", x), 1.0)
    return _where(work, tiny, x, _where(work, small, corrected, less))


def _sinh(work: Work) -> Tensor:
    x = work.operands[0]
    size = work.node("Abs", x)
    # Half of the power first: the whole one overflows where the result does not.
    half = work.node("Exp", work.node("Mul", size, 0.5))
    large = work.node("Mul", work.node("Mul", half, 0.5), half)
    gain = _expm1(work, size)
    small = work.node("Mul", work.node("Add", gain, work.node("Div", gain, work.node("Add", gain, 1.0))), 0.5)
    risen = _where(work, work.test("Less", size, 20.0), small, large)
    return work.node("Mul", risen, work.node("Sign", x))


def _cosh(work: Work) -> Tensor:
    half = work.node("Exp", work.node("Mul", work.node("Abs", work.operands[0]), 0.5))
    grown = work.node("Mul", work.node("Mul", half, 0.5), half)
    shrunk = work.node("Div", 0.5, work.node("Mul", half, half))
    return work.node("Add", grown, shrunk)


def _cbrt(work: Work) -> Tensor:
    x = work.operands[0]
    return work.node("Mul", work.node("Pow", work.node("Abs", x), 1.0 / 3.0), work.node("Sign", x))


def _sign(work: Work) -> Tensor:
    x = work.operands[0]
    return work.node("Sign", x)


def _trunc(work: Work) -> Tensor:
    x = work.operands[0]
    return _where(work, work.test("Less", x, 0.0), work.node("Ceil", x), work.node("Floor", x))


def _without_nan(operator: str) -> Callable[[Work], Tensor]:
    def made(work: Work) -> Tensor:
        left, right = work.operands
        both = work.node(operator, left, right)
        both = _where(work, work.test("IsNaN", right), left, both)
        return _where(work, work.test("IsNaN", left), right, both)

    return made


def _finite(work: Work) -> Tensor:
    x = work.operands[0]
    return work.opposite(work.test("Or", work.test("IsNaN", x), work.test("IsInf", x)))


def _remainder(work: Work) -> Tensor:
    """Python's remainder: the sign of the divisor."""
    left, right = work.operands
    rest = work.node("Mod", left, right, fmod=1)
    other = work.test("Xor", work.test("Less", rest, 0.0), work.test("Less", right, 0.0))
    moved = work.test("And", other, work.opposite(work.test("Equal", rest, 0.0)))
    return _where(work, moved, work.node("Add", rest, right), rest)


def _floor_divide(work: Work) -> Tensor:
    left, right = work.operands
    quotient = work.node("Div", work.node("Sub", left, _remainder(work)), right)
    floor = work.node("Floor", quotient)
    up = work.test("Greater", work.node("Sub", quotient, floor), 0.5)
    floor = _where(work, up, work.node("Add", floor, 1.0), floor)
    return _where(work, work.test("Equal", right, 0.0), work.node("Div", left, right), floor)


def _heaviside(work: Work) -> Tensor:
    x, middle = work.operands
    step = _where(work, work.test("Less", x, 0.0), 0.0, _where(work, work.test("Equal", x, 0.0), middle, 1.0))
    return _where(work, work.test("IsNaN", x), x, step)


def _scaled(factor: float) -> Callable[[Work], Tensor]:
    return lambda work: work.node("Mul", work.operands[0], factor)


def _no_whole_zero(work: Work) -> Tensor:
    """Whole-number remainder and division; a divisor of zero would stop the engine."""
    divisor = work.operands[1]
    if isinstance(work.values[1], Array):
        work.recorder.fail("divides whole numbers by a column")
    if np.any(np.asarray(work.values[1]) == 0):
        work.recorder.fail("divides whole numbers by zero")
    rest = work.node("Mod", work.operands[0], divisor)
    if work.name == "remainder":
        return rest
    return work.node("Div", work.node("Sub", work.operands[0], rest), divisor)


_FLOAT_MADE: dict[str, tuple[Callable[[Work], Tensor], bool]] = {
    "divide": (lambda work: work.node("Div", *work.operands), True),
    "positive": (lambda work: work.node("Mul", work.operands[0], 1.0), True),
    "fabs": (lambda work: work.node("Abs", *work.operands), True),
    "square": (lambda work: work.node("Mul", work.operands[0], work.operands[0]), True),
    "sqrt": (lambda work: work.node("Sqrt", *work.operands), True),
    "reciprocal": (lambda work: work.node("Div", 1.0, work.operands[0]), True),
    "isnan": (lambda work: work.test("IsNaN", *work.operands), True),
    "isinf": (lambda work: work.test("IsInf", *work.operands), True),
    "isfinite": (_finite, True),
    "fmax": (_without_nan("Max"), True),
    "fmin": (_without_nan("Min"), True),
    "fmod": (lambda work: work.node("Mod", *work.operands, fmod=1), True),
    "remainder": (_remainder, True),
    "floor_divide": (_floor_divide, True),
    "trunc": (_trunc, True),
    "sign": (_sign, True),
    "heaviside": (_heaviside, True),
    "exp2": (lambda work: work.node("Pow", 2.0, work.operands[0]), False),
    "expm1": (_expm1, False),
    "log1p": (_log1p, False),
    "log2": (lambda work: work.node("Div", work.node("Log", *work.operands), _LN2), False),
    "log10": (lambda work: work.node("Div", work.node("Log", *work.operands), _LN10), False),
    "tan": (lambda work: work.node("Div", work.node("Sin", *work.operands), work.node("Cos", *work.operands)), False),
    "sinh": (_sinh, False),
    "cosh": (_cosh, False),
    "cbrt": (_cbrt, False),
    "degrees": (_scaled(180.0 / np.pi), False),
    "rad2deg": (_scaled(180.0 / np.pi), False),
    "radians": (_scaled(np.pi / 180.0), False),
    "deg2rad": (_scaled(np.pi / 180.0), False),
}
_WHOLE_MADE: dict[str, tuple[Callable[[Work], Tensor], bool]] = {
    "positive": (lambda work: work.node("Mul", work.operands[0], 1), True),
    "square": (lambda work: work.node("Mul", work.operands[0], work.operands[0]), True),
    "sign": (_sign, True),
    "remainder": (_no_whole_zero, True),
    "floor_divide": (_no_whole_zero, True),
}


def where(recorder: Recorder, condition: Array, yes: Any, no: Any) -> Array:
    """`numpy.where` with three arguments."""
    from .operands import choose

    sides = [value for value in (yes, no) if isinstance(value, Array)]
    dtype = _common(recorder, [yes, no])
    width, ndim = _shape(recorder, [condition, yes, no], [condition, *sides])
    mask = _mask(recorder, [condition, *sides])
    test = cast_tensor(recorder, condition.traced_tensor, BOOL)
    like = condition.traced_tensor
    tensors = []
    for value in (yes, no):
        if isinstance(value, Array):
            tensors.append(cast_tensor(recorder, value.traced_tensor, dtype))
        else:
            tensors.append(spread(recorder, constant_row(recorder, value).astype(dtype), like))
    exact = condition.traced_exact and all(side.traced_exact for side in sides)
    if not condition.traced_exact:
        recorder.fail("decides by a number that is not exact to the last bit")
    chosen = choose(recorder, test, tensors[0], tensors[1], width)
    return fresh_array(recorder, chosen, ndim, exact=exact, mask=mask)


def _common(recorder: Recorder, values: Sequence[Any]) -> np.dtype:
    """The type numpy gives values together; plain Python numbers are weak."""
    kinds = [numpy_type(recorder, value) for value in values]
    return np.result_type(*(kind(0) if isinstance(kind, type) else kind for kind in kinds))
