"""``monorail bench``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .options import json_option, registry_option
from .printer import Printer

if TYPE_CHECKING:
    import pyarrow as pa

#: Different request bodies that are made at most.
MAX_BODIES = 4_096


@click.command("bench")
@click.argument("url")
@click.argument("model")
@click.option("--connections", type=click.IntRange(1, 10_000), default=64, show_default=True, help="At once.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=5.0, show_default=True, help="How long.")
@click.option("--rows", type=click.IntRange(1, 100_000), default=1, show_default=True, help="Rows of one request.")
@click.option("--data", help="File of rows to send. [default: the model's golden rows in the registry]")
@registry_option
@json_option
def command(
    url: str,
    model: str,
    connections: int,
    seconds: float,
    rows: int,
    data: str | None,
    registry: str | None,
    as_json: bool,
) -> None:
    """Load the server at URL with predictions of MODEL and show throughput and percentiles."""
    from .. import _core
    from ..data.files import read_table

    printer = Printer()
    if data is not None:
        table = read_table(data)
    else:
        table = _golden_rows(url, model, registry)
    bodies = json_bodies(table, rows)
    printer.say(f"{connections} connections for {seconds:g} s, {rows} rows a request, {len(bodies)} different bodies")
    report: dict[str, Any] = json.loads(_core.bench(url.rstrip("/"), model, bodies, connections, seconds))
    if as_json:
        printer.json(report)
        return
    printer.table(("measure", "value"), [(name, _shown(value)) for name, value in report.items()])


def _golden_rows(url: str, model: str, registry: str | None) -> pa.Table:
    """The golden rows of the version that the server answers with, from the registry here."""
    from .. import Client, Registry

    with Client(url) as client:
        served = client.model(model)
    return Registry(registry).version(f"{served['name']}@{served['version']}").golden_inputs()


def json_bodies(table: pa.Table, rows: int) -> list[bytes]:
    """Request bodies of ``rows`` records each, no two from the same rows while there are enough.

    Args:
        table: The records.
        rows: Records of one body; the table is gone through again where it is too short. One makes a bare record.
    """
    from ..client.encoding import plain

    # Not by what to_pylist gives: of a table without columns it gives rows without end.
    if not len(table):
        raise click.UsageError("there are no rows to send: name a file with --data")
    records = [plain(row) for row in table.slice(0, MAX_BODIES * rows).to_pylist()]
    if rows == 1:
        return [json.dumps(record, ensure_ascii=False).encode() for record in records]
    wanted = max(1, len(records) // rows)
    return [
        json.dumps(
            {"rows": [records[(start * rows + i) % len(records)] for i in range(rows)]}, ensure_ascii=False
        ).encode()
        for start in range(wanted)
    ]


def _shown(value: Any) -> str:
    """A number for people."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count:,}" for name, count in value.items()) or "-"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
