"""PCA and truncated SVD, from moments."""

from __future__ import annotations

#: By qualified class name.
LEARNERS = {}
