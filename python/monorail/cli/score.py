"""``monorail score``."""

from __future__ import annotations

import dataclasses

import click

from .options import filter_option, json_option, read_filters, registry_option, trust_option
from .printer import Printer


@click.command("score")
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option("--out", required=True, help="The folder to write Parquet files to, or its URL (s3://bucket/folder).")
@click.option("--columns", default="", help="Columns to pass through, with commas between; * is all.")
@click.option("--on", default="local", show_default=True, help="local, ray, or a cluster's address, ray://HOST:PORT.")
@click.option("--workers", type=click.IntRange(min=1), help="How many work at once. [default: one a core]")
@click.option(
    "--invalid",
    type=click.Choice(["refuse", "quarantine"]),
    default="refuse",
    show_default=True,
    help="What becomes of rows that break the signature; quarantine writes them to _monorail/invalid in the folder.",
)
@filter_option
@click.option("--overwrite", is_flag=True, help="Replace what another run has written to the folder.")
@click.option("--quiet", is_flag=True, help="No progress.")
@trust_option
@registry_option
@json_option
def command(
    model: str,
    data: tuple[str, ...],
    out: str,
    columns: str,
    on: str,
    workers: int | None,
    invalid: str,
    filters: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
    trust: bool,
    registry: str | None,
    as_json: bool,
) -> None:
    """Score DATA with MODEL into a folder of Parquet files.

    DATA is files, globs or URLs of Parquet, CSV or Arrow. Each file of the folder is there whole or not at all: a run
    that was killed goes on where it stopped when the same command is given again.
    """
    from .. import score

    report = score(
        model,
        list(data),
        out=out,
        columns=[name.strip() for name in columns.split(",") if name.strip()],
        on=on,
        workers=workers,
        invalid=invalid,
        filters=read_filters(filters),
        overwrite=overwrite,
        registry=registry,
        trust=trust,
        quiet=quiet,
    )
    printer = Printer(quiet=quiet)
    if as_json:
        printer.json(dataclasses.asdict(report))
    else:
        printer.data(report.out)
        printer.say(str(report))
