"""Everything that has ``partial_fit``."""

from __future__ import annotations

#: By qualified class name.
TRAINERS = {}
