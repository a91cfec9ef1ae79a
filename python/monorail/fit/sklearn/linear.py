"""Linear and ridge regression, from moments."""

from __future__ import annotations

#: By qualified class name.
TRAINERS = {}
