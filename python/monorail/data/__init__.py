"""Arrow in and out: what the user holds becomes a table, and a table becomes what the user holds."""

from .incoming import better_hint, is_arrow_column, is_record, read_stream, to_arrow
from .outgoing import from_arrow, to_numpy
from .types import arrow_type, conform

__all__ = [
    "arrow_type",
    "better_hint",
    "conform",
    "from_arrow",
    "is_arrow_column",
    "is_record",
    "read_stream",
    "to_arrow",
    "to_numpy",
]
