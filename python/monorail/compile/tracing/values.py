"""The array that a traced function is given: it has columns and a type, no rows, and writes nodes into the graph.

It answers only where the answer cannot depend on rows, and in numpy's types and shapes; anything else ends the trace.
Slices look into the array they were taken from, as in numpy, so writing into either is seen in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ..columns import Origin
from ..graph import Tensor
from ..registry import Context

_BOOL = np.dtype(np.bool_)


class TraceError(BaseException):
    """The function does something that cannot be read. No `except Exception` of the function's own may swallow it."""


class Rows:
    """The number of rows, which nobody knows yet."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def _unknown(self, *_: object) -> NoReturn:
        self._recorder.fail("computes with the number of rows")

    __index__ = __int__ = __float__ = __bool__ = __eq__ = __hash__ = __lt__ = __gt__ = _unknown  # type: ignore[assignment]
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _unknown


@dataclass
class Recorder:
    """One trace: where nodes go, and the first thing that could not be read."""

    context: Context
    reason: str = ""

    def fail(self, reason: str) -> NoReturn:
        """Ends the trace; `reason` continues "its function ..."."""
        self.reason = self.reason or reason
        raise TraceError(self.reason)


@dataclass
class Store:
    """What an array and all its views share.

    Attributes:
        tensor: `[rows, width]`, of the numpy type.
        exact: whether the numbers are the original's to the last bit; only then may steps at a value follow.
        origins: for columns that are still the input's own, where they come from.
    """

    tensor: Tensor
    exact: bool = True
    origins: Sequence[Origin | None] = ()


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """A symbolic ndarray of one or two dimensions."""

    # A mixin of numpy's takes part in its operators; the class keeps the slots for itself.
    def __init__(
        self, recorder: Recorder, store: Store, columns: tuple[int, ...], ndim: int, mask: Tensor | None = None
    ) -> None:
        self._recorder, self._store, self._columns, self._ndim, self._mask = recorder, store, columns, ndim, mask

    # What the tracer needs.

    @property
    def traced_tensor(self) -> Tensor:
        """The columns as they are now, `[rows, width]`."""
        return self._recorder.context.graph.gather(self._store.tensor, self._columns)

    @property
    def traced_exact(self) -> bool:
        """Whether the numbers are the original's to the last bit."""
        return self._store.exact

    @property
    def traced_origins(self) -> list[Origin | None]:
        """Where each column comes from, if it is still the input's own."""
        known = self._store.origins
        return [known[column] if column < len(known) else None for column in self._columns]

    @property
    def traced_mask(self) -> Tensor | None:
        """The rows or cells that were chosen from it, if any."""
        return self._mask

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._columns)

    @property
    def recorder(self) -> Recorder:
        """The trace it belongs to."""
        return self._recorder

    def new(self, tensor: Tensor, *, ndim: int | None = None, exact: bool = True, mask: Tensor | None = None) -> Array:
        """A fresh array of its own."""
        return fresh_array(self._recorder, tensor, self._ndim if ndim is None else ndim, exact=exact, mask=mask)

    def view(self, columns: Sequence[int], ndim: int) -> Array:
        """Some of the columns, looking into this array."""
        chosen = tuple(self._columns[column] for column in columns)
        return Array(self._recorder, self._store, chosen, ndim, self._mask)

    def write(self, columns: Sequence[int], value: Tensor, exact: bool) -> None:
        """Replaces columns of this array, and so of what it looks into."""
        store, graph = self._store, self._recorder.context.graph
        places = [self._columns[column] for column in columns]
        joined = graph.concat([store.tensor, value])
        order = list(range(store.tensor.width))
        for number, place in enumerate(places):
            order[place] = store.tensor.width + number
        store.tensor = graph.gather(joined, order)
        store.exact = store.exact and exact
        origins = list(store.origins) or [None] * store.tensor.width
        store.origins = [None if place in places else origin for place, origin in enumerate(origins)]

    # What functions ask of an array.

    @property
    def shape(self) -> tuple[Any, ...]:
        """The number of rows, unknown, and of columns."""
        return (Rows(self._recorder), self.width)[: self._ndim]

    @property
    def ndim(self) -> int:
        """1 or 2."""
        return self._ndim

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self._store.tensor.dtype

    @property
    def T(self) -> Any:  # noqa: N802
        """The columns as rows, to loop over or to turn back."""
        return self if self._ndim == 1 else Turned(self)

    def transpose(self) -> Any:
        """The same."""
        return self.T

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        from .ufuncs import call_ufunc

        return call_ufunc(self._recorder, ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .functions import call_function

        return call_function(self._recorder, function, args, kwargs)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._recorder.fail("makes a plain array of its input where that cannot be followed")

    def __bool__(self) -> NoReturn:
        self._recorder.fail("decides by the values of its input what to do (`if`, `while`, `and`, `or`)")

    def __len__(self) -> NoReturn:
        self._recorder.fail("asks for the number of rows")

    def __iter__(self) -> NoReturn:
        self._recorder.fail("loops over rows")

    def __float__(self) -> NoReturn:
        self._recorder.fail("takes single values out of its input")

    __int__ = __index__ = __complex__ = __float__

    def __getattr__(self, name: str) -> Any:
        from .functions import METHODS

        if name in METHODS:
            return lambda *args, **kwargs: METHODS[name](self, *args, **kwargs)
        if hasattr(np.ndarray, name) and not name.startswith("__"):
            self._recorder.fail(f"uses `ndarray.{name}`")
        raise AttributeError(f"'numpy.ndarray' object has no attribute '{name}'")

    def __getitem__(self, key: Any) -> Any:
        from .indexing import get_item

        return get_item(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        from .indexing import set_item

        set_item(self, key, value)

    def __matmul__(self, other: Any) -> Any:
        return np.matmul(self, other)

    def _in_place(self, ufunc: np.ufunc, other: Any) -> Array:
        result = ufunc(self, other)
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            self._recorder.fail("puts numbers into an array that cannot hold their kind")
        self[...] = result
        return self

    def __iadd__(self, other: Any) -> Array:
        return self._in_place(np.add, other)

    def __isub__(self, other: Any) -> Array:
        return self._in_place(np.subtract, other)

    def __imul__(self, other: Any) -> Array:
        return self._in_place(np.multiply, other)

    def __itruediv__(self, other: Any) -> Array:
        return self._in_place(np.true_divide, other)

    def __ipow__(self, other: Any) -> Array:
        return self._in_place(np.power, other)

    def __ifloordiv__(self, other: Any) -> Array:
        return self._in_place(np.floor_divide, other)

    def __imod__(self, other: Any) -> Array:
        return self._in_place(np.remainder, other)

    def __iand__(self, other: Any) -> Array:
        return self._in_place(np.bitwise_and, other)

    def __ior__(self, other: Any) -> Array:
        return self._in_place(np.bitwise_or, other)


class Turned:
    """A two-dimensional array seen by columns: its transpose."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.T = array

    def transpose(self) -> Array:
        """The array itself."""
        return self.array

    @property
    def shape(self) -> tuple[Any, ...]:
        """The number of columns, then of rows."""
        return self.array.shape[::-1]

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def __len__(self) -> int:
        return self.array.width

    def __iter__(self) -> Any:
        return iter([self.array.view([column], 1) for column in range(self.array.width)])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            return self.array.view([range(self.array.width)[key]], 1)
        if isinstance(key, slice):
            return Turned(self.array.view(range(self.array.width)[key], 2))
        return self.array.recorder.fail("picks values out of a transposed array")

    def __getattr__(self, name: str) -> Any:
        return self.array.recorder.fail(f"computes with a transposed array (`{name}`)")

    def _unread(self, *_: Any, **__: Any) -> NoReturn:
        self.array.recorder.fail("computes with a transposed array")

    __array_ufunc__ = __array_function__ = __array__ = _unread
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __matmul__ = _unread


def fresh_array(
    recorder: Recorder, tensor: Tensor, ndim: int, *, exact: bool = True, mask: Tensor | None = None
) -> Array:
    """An array of its own around a tensor."""
    return Array(recorder, Store(tensor, exact), tuple(range(tensor.width)), ndim, mask)
