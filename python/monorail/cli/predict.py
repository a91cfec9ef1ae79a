"""``monorail predict``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from .options import registry_option, trust_option
from .printer import Printer

if TYPE_CHECKING:
    import pyarrow as pa


@click.command("predict")
@click.argument("model")
@click.argument("file", type=click.Path())
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write here, by extension, instead of stdout.")
@click.option("--ignore-unknown-columns", is_flag=True, help="Ignore columns the signature does not have.")
@trust_option
@registry_option
def command(
    model: str, file: str, output: str | None, ignore_unknown_columns: bool, trust: bool, registry: str | None
) -> None:
    """Score the rows of FILE with MODEL, in this process; predictions are lines of JSON on stdout.

    FILE is Parquet, Arrow, CSV, JSON or lines of JSON, by its extension; - is lines of JSON on stdin. JSON is judged as
    a request to a server is.
    """
    from .. import load
    from ..data.files import check_written, read_rows

    printer = Printer()
    if output is not None:
        check_written(output)
    unknown = "ignore" if ignore_unknown_columns else "refuse"
    loaded = load(model, registry=registry, unknown_columns=unknown, trust=trust)
    answers: pa.Table = loaded._score(read_rows(file, loaded.signature))
    give_answers(printer, answers, output)


def give_answers(printer: Printer, answers: pa.Table, output: str | None) -> None:
    """Predictions into a file, by its extension, or as lines of JSON on stdout."""
    from ..data.files import write_table

    if output is not None:
        write_table(answers, output)
        printer.say(f"{len(answers):,} predictions in {output}")
        return
    for batch in answers.to_batches(max_chunksize=10_000):
        printer.data("\n".join(json.dumps(finite(row), ensure_ascii=False) for row in batch.to_pylist()))


def finite(value: object) -> object:
    """A value as JSON answers have it: NaN and infinity are null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list) else value
