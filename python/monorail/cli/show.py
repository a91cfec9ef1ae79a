"""``monorail show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import json_option, registry_option
from .printer import Printer

if TYPE_CHECKING:
    from .. import Version


@click.command("show")
@click.argument("model")
@registry_option
@json_option
def command(model: str, registry: str | None, as_json: bool) -> None:
    """Show MODEL: its signature, proof, metrics and tags.

    MODEL is name, name@version, name@alias, or the path of a bundle's folder.
    """
    from .. import Registry

    printer = Printer()
    version = Registry(registry).version(model)
    if as_json:
        printer.json(dict(version.manifest))
    else:
        printer.data(describe(version))


def describe(version: Version) -> str:
    """A bundle in words."""
    frameworks = ", ".join(f"{name} {number}" for name, number in version.manifest["frameworks"].items())
    lines = [
        f"{version}  ({version.engine}, saved {version.created})",
        f"path        {version.path}",
        f"frameworks  {frameworks}",
        f"proof       {version.proof}",
        *(f"metric      {name} = {value}" for name, value in version.metrics.items()),
        *(f"tag         {name} = {value}" for name, value in version.tags.items()),
        "",
        str(version.signature),
    ]
    return "\n".join(lines)
