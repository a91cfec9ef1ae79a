"""Logistic regression, by L-BFGS over all rows."""

from __future__ import annotations

#: By qualified class name.
TRAINERS = {}
