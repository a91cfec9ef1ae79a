"""``monorail export``."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option, registry_option
from .printer import Printer


@click.command("export")
@click.argument("model")
@click.option("--format", "form", type=click.Choice(["onnx"]), required=True, help="The form to write.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="The graph's file; its map lies beside it, with the ending .json. [default: NAME-VERSION.onnx]",
)
@registry_option
@json_option
def command(model: str, form: str, output: str | None, registry: str | None, as_json: bool) -> None:
    """Write MODEL's graph for other runtimes, with a map of its inputs and outputs.

    MODEL is name, name@version, name@alias, or the path of a bundle's folder. Any ONNX Runtime runs the graph, in any
    language. A model that needs a Python worker has none, and is refused.
    """
    from .. import Registry

    printer = Printer()
    version = Registry(registry).version(model)
    path = Path(output or f"{version.name}-{version.version}.{form}")
    graph, beside = version.export(path, format=form)
    if as_json:
        printer.json({"graph": str(graph), "map": str(beside)})
    else:
        printer.data(str(graph))
        printer.data(str(beside))
