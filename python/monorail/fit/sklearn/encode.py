"""One-hot and ordinal encoders."""

from __future__ import annotations

#: By qualified class name.
LEARNERS = {}
