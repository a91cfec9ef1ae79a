"""A Daft frame: computed by its own streaming engine, one record batch after the other, never collected."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .sources.base import Fragments, check_filter
from .sources.spooling import spooled


def daft_source(frame: Any, kept: pc.Expression | None = None) -> Fragments:
    """A Daft frame as a source. It is computed once, into a temporary Arrow file.

    Args:
        frame: A ``daft.DataFrame``.
        kept: Which rows are wanted.
    """
    schema: pa.Schema = frame.schema().to_pyarrow_schema()
    check_filter(kept, schema)
    return spooled(frame.to_arrow_iter(), schema, kept, name="Daft frame")
