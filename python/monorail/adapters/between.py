"""What the steps of a pipeline that run in a worker give to the graph after them: an Arrow column each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..data import to_arrow
from ..errors import EngineError, MonorailError

#: Name of the one column that a matrix of numbers becomes.
MATRIX = "features"
#: Widest sparse matrix that is made dense to be handed over.
MAX_DENSE_WIDTH = 4_096


def columns_between(answer: Any, names: list[str] | None = None) -> dict[str, pa.Array | pa.ChunkedArray]:
    """The columns of a transformer's answer.

    Args:
        answer: a pandas or Polars frame (a column each), a matrix of numbers (one tensor column), a matrix of Python
            objects (columns `x0`, `x1`, ...), or a sparse matrix.
        names: the columns that are needed; default: every column that is of one Arrow type.

    Raises:
        MonorailError: an answer that is none of these, or a needed column is missing or of no single type.
    """
    parts = _parts(answer)
    if names is not None:
        missing = [name for name in names if name not in parts]
        if missing:
            raise EngineError(
                f"the steps before the graph gave no column {missing[0]!r}",
                code="engine_failed",
                hint="they must give the same columns for every batch",
            )
        return {name: _arrow(name, parts[name]) for name in names}
    found = {}
    for name, values in parts.items():
        try:
            found[name] = _arrow(name, values)
        except MonorailError:
            # Of no use to a graph; a step that needs it says so when it is compiled.
            continue
    return found


def _parts(answer: Any) -> dict[str, Any]:
    module, kind = type(answer).__module__.partition(".")[0], type(answer).__name__
    if kind == "DataFrame" and module in ("pandas", "polars"):
        return {str(name): answer[name] for name in answer.columns}
    if hasattr(answer, "toarray"):
        if answer.shape[1] > MAX_DENSE_WIDTH:
            raise EngineError(
                f"a sparse matrix {answer.shape[1]} wide is not handed over", code="engine_failed", hint="reduce it"
            )
        answer = answer.toarray()
    if not isinstance(answer, np.ndarray):
        raise EngineError(
            f"the steps before the graph gave a {module}.{kind}", code="engine_failed", hint="give a frame or a matrix"
        )
    matrix = answer.reshape(-1, 1) if answer.ndim == 1 else answer
    if matrix.dtype.kind in "biuf":
        return {MATRIX: matrix.astype(np.float32) if matrix.dtype == np.float16 else matrix}
    return {f"x{number}": matrix[:, number] for number in range(matrix.shape[1])}


def _arrow(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, np.ndarray):
        return to_arrow({name: values.astype(object) if values.dtype.kind == "U" else values}).column(0)
    if type(values).__module__.partition(".")[0] == "polars":
        values = values.to_arrow()
    return to_arrow({name: values}).column(0)
