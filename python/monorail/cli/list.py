"""``monorail list``."""

from __future__ import annotations

import dataclasses

import click

from .options import json_option, registry_option
from .printer import Printer


@click.command("list")
@registry_option
@json_option
def command(registry: str | None, as_json: bool) -> None:
    """List the models of the registry."""
    from .. import Registry

    printer = Printer()
    folder = Registry(registry)
    entries = folder.list()
    if as_json:
        printer.json([dataclasses.asdict(entry) for entry in entries])
        return
    if not entries:
        printer.say(f"no models in {folder.path}")
        return
    rows = [
        (
            entry.name,
            max(entry.versions, default=""),
            len(entry.versions),
            entry.versions[max(entry.versions)] if entry.versions else "",
            ", ".join(f"{alias}={version}" for alias, version in sorted(entry.aliases.items())),
        )
        for entry in entries
    ]
    printer.table(("name", "newest", "versions", "saved", "aliases"), rows)
