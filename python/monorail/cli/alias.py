"""``monorail alias``."""

from __future__ import annotations

import click

from .options import registry_option
from .printer import Printer


@click.command("alias")
@click.argument("model")
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Remove ALIAS of MODEL instead.")
@registry_option
def command(model: str, alias: str, remove: bool, registry: str | None) -> None:
    """Point ALIAS at a version of MODEL: monorail alias flights@3 champion.

    A running server goes on with what it has loaded.
    """
    from .. import Registry

    printer = Printer()
    folder = Registry(registry)
    if remove:
        name = model.partition("@")[0]
        folder.remove_alias(name, alias)
        printer.say(f"removed {name}@{alias}")
        return
    name, version, _ = folder.resolve(model)
    folder.set_alias(name, alias, version)
    printer.say(f"{name}@{alias} is now version {version}")
