"""Imputers and missing indicators."""

from __future__ import annotations

#: By qualified class name.
LEARNERS = {}
