"""``monorail show``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import json_option, registry_option
from .printer import Printer

if TYPE_CHECKING:
    from .. import Version

#: Packages of a lock that are named; the rest are counted.
SHOWN_PACKAGES = 8
#: Columns between the parts of a model that are named.
SHOWN_COLUMNS = 5


@click.command("show")
@click.argument("model")
@registry_option
@json_option
def command(model: str, registry: str | None, as_json: bool) -> None:
    """Show MODEL: what runs it and why, its signature, proof, environment, metrics and tags.

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
        f"path         {version.path}",
        *([f"frameworks   {frameworks}"] if frameworks else []),
        *(f"{word.ljust(11)}  {text}" for word, text in engine_lines(version)),
        f"proof        {version.proof}",
        f"environment  {environment_line(version)}",
        *(f"metric       {name} = {value}" for name, value in version.metrics.items()),
        *(f"tag          {name} = {value}" for name, value in version.tags.items()),
        "",
        str(version.signature),
    ]
    return "\n".join(lines)


def engine_lines(version: Version) -> list[tuple[str, str]]:
    """What runs which steps, where the model was cut, and why."""
    native, worker = version.coverage["native"], version.coverage["worker"]
    if version.engine == "native":
        return [("engine", "native: the whole model is a graph")]
    if version.engine == "worker":
        return [("engine", "worker: the whole model runs in Python processes"), ("because", version.reason)]
    steps = len(native) + len(worker)
    columns = [column["name"] for column in version.manifest["stages"][0].get("columns", ())]
    return [
        ("engine", f"mixed: {len(native)} of {steps} steps in the graph, {len(worker)} in Python processes"),
        ("in Python", ", ".join(worker)),
        ("in graph", ", ".join(native)),
        ("cut after", f"{worker[-1] if worker else 'the first steps'}, which gives {_few(columns)}"),
        ("because", version.reason),
    ]


def _few(names: list[str]) -> str:
    """Names, shortened to the first few."""
    more = len(names) - SHOWN_COLUMNS
    return ", ".join(names[:SHOWN_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def environment_line(version: Version) -> str:
    """What must be installed where it runs."""
    if version.engine == "native":
        return "needs no Python packages"
    environment = version.manifest.get("environment", {})
    packages = environment.get("packages", {})
    # What the model comes from first, then the rest.
    first = [name for name in version.manifest["frameworks"] if name in packages]
    names = [*first, *(name for name in packages if name not in first)]
    shown = ", ".join(f"{name} {packages[name]}" for name in names[:SHOWN_PACKAGES])
    more = f" and {len(names) - SHOWN_PACKAGES} more" if len(names) > SHOWN_PACKAGES else ""
    return f"Python {environment.get('python', 'of an unknown version')} with {shown}{more}"
