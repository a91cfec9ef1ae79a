"""What a server's `/metrics` has counted of its models' batches."""

from __future__ import annotations

import urllib.request
from typing import NamedTuple


class Counts(NamedTuple):
    """What was counted so far."""

    batches: float
    rows: float
    engine_s: float


def counted_by(url: str) -> Counts:
    """What the server at this address counts now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()

    def total(name: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    return Counts(
        total("monorail_batch_rows_count"), total("monorail_batch_rows_sum"), total("monorail_engine_seconds_sum")
    )
