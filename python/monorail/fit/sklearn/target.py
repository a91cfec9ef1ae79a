"""Target encoders."""

from __future__ import annotations

#: By qualified class name.
LEARNERS = {}
