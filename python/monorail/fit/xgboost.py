"""XGBoost on rows that need not fit in memory."""

from __future__ import annotations

#: By qualified class name.
TRAINERS = {}
