"""The demo's summary for people."""

from __future__ import annotations

import io
from typing import Any

from .rail import CONNECTIONS, SECONDS


def summary(result: dict[str, Any]) -> str:
    """The demo's result as a table.

    Args:
        result: What ``monorail demo --json`` prints.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    proof, serving, scoring = result["proof"], result["serving"], result["scoring"]
    table = Table(title="The whole rail", title_justify="left", show_header=False, box=SIMPLE)
    table.add_row("flights", f"{result['rows']:,}")
    table.add_row("AUC on October to December", f"{result['auc']:.3f}")
    table.add_row("proof: rows compared", f"{proof['rows']:,} flights and {proof['hard_rows']:,} hard rows")
    table.add_row("proof: labels changed", f"{proof['label_mismatches']:,}")
    table.add_row("proof: worst difference", _difference(proof["worst_difference"]))
    table.add_row("server ready", f"{serving['ready_ms']:.0f} ms after `monorail serve`")
    table.add_row(
        f"load: {CONNECTIONS} connections, {SECONDS} s", f"{serving['requests_per_s']:,.0f} requests a second"
    )
    table.add_row("load: half of them within", _milliseconds(serving["p50_ms"]))
    table.add_row("load: 99 of 100 within", _milliseconds(serving["p99_ms"]))
    table.add_row("load: errors", f"{serving['errors']:,}")
    if serving["mean_batch_rows"] is not None:
        table.add_row("load: rows a batch, on average", f"{serving['mean_batch_rows']:.1f}")
    table.add_row("scoring with Model.predict", f"{scoring['rows_per_s']:,.0f} rows a second")
    text = io.StringIO()
    Console(file=text, width=90).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def _difference(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2g}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"
