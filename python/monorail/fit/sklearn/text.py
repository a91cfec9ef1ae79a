"""Count, TF-IDF and hashing vectorizers."""

from __future__ import annotations

#: By qualified class name.
LEARNERS = {}
