"""Arrow in and out: what the user holds becomes a table, and a table becomes what the user holds."""

from .incoming import is_record, to_arrow
from .outgoing import from_arrow

__all__ = ["from_arrow", "is_record", "to_arrow"]
