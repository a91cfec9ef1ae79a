"""``monorail demo``: the whole rail on real data, from fitting to scoring, with the public API alone."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from ..options import json_option, registry_option
from ..printer import Printer

__all__ = ["chosen_registry", "command"]


@click.command("demo")
@registry_option
@json_option
def command(registry: str | None, as_json: bool) -> None:
    """Show the whole rail on real data: fit, prove, serve, load, score.

    336,776 flights and their weather; will the flight arrive more than 15 minutes late? Takes about a minute.
    The model goes to a temporary registry, which is removed at the end, unless --registry names one that stays.
    """
    from .flights import require_extra
    from .rail import run
    from .report import summary

    printer = Printer()
    require_extra()
    with chosen_registry(registry) as (scratch, chosen):
        printer.say(
            f"registry: {chosen}" + ("" if registry else " (temporary, removed at the end; --registry keeps it)")
        )
        result = run(printer, scratch, chosen, tell=printer.say if as_json else printer.data)
        if as_json:
            printer.json(result)
        else:
            printer.data(summary(result))
            if registry:
                printer.say(f"serve it again: monorail serve flights --registry {chosen}")


@contextlib.contextmanager
def chosen_registry(registry: str | None) -> Iterator[tuple[Path, Path]]:
    """A folder for the demo's own files, removed afterwards, and the registry: the user's, or one in that folder."""
    with tempfile.TemporaryDirectory(prefix="monorail-demo-") as name:
        scratch = Path(name)
        yield scratch, (Path(registry).expanduser().resolve() if registry else scratch / "registry")
