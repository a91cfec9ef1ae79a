"""``monorail prove``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from ..errors import BundleError
from .options import json_option, registry_option, trust_option
from .printer import Printer

#: Letters of one cell of the table.
WIDTH = 48


@click.command("prove")
@click.argument("model")
@click.option("--rows", type=click.IntRange(0, 256), default=5, show_default=True, help="Worst rows to show.")
@trust_option
@registry_option
@json_option
def command(model: str, rows: int, trust: bool, registry: str | None, as_json: bool) -> None:
    """Score MODEL's golden rows again, on this machine, and compare with the original's answers.

    Shows the rows that differ most: their values, the original's answer, the answer here, and the difference.
    """
    from .. import load

    printer = Printer()
    loaded = load(model, registry=registry, trust=trust)
    report = loaded.check_golden()
    worst = loaded.worst_golden(rows)
    if as_json:
        printer.json(report | {"engine": loaded.engine, "worst": [dataclasses.asdict(row) for row in worst]})
    elif report["rows"]:
        printer.data(
            f"{loaded.version}: {report['rows']} golden rows, {report['label_mismatches']} label mismatches, "
            f"worst difference {report['worst_difference']:.2g}"
        )
        if worst:
            printer.table(("row", "values", "original", "here", "difference"), [_line(row) for row in worst])
    else:
        printer.data(f"{loaded.version}: no golden rows were kept")
    if not report["matched"]:
        raise BundleError(
            f"{loaded.version} does not give the answers it was saved with",
            code="golden_mismatch",
            hint="save it again on this machine, or use the versions it was saved with",
        )


def _line(row: Any) -> tuple[int, str, str, str, str]:
    """A `GoldenRow` as cells."""
    difference = "label" if row.label_changed else f"{row.difference:.2g}"
    return row.row, _text(row.values), _text(row.expected), _text(row.got), difference


def _text(values: Mapping[str, Any]) -> str:
    """Values in few letters."""
    text = " ".join(f"{name}={_short(value)}" for name, value in values.items())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    return f"[{' '.join(map(_short, value))}]" if isinstance(value, list) else str(value)
