"""``monorail save``. A file is opened in a process of its own (`pickled`); code in it runs only with ``--trust``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import InputError, InternalError, error_from
from .options import json_option, registry_option
from .printer import Printer


def _pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` options as a dict."""
    pairs = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=parameter)
        pairs[name] = rest
    return pairs


def _numbers(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """``NAME=NUMBER`` options as a dict."""
    try:
        return {name: float(value) for name, value in _pairs(context, parameter, values).items()}
    except ValueError as error:
        raise click.BadParameter(f"{error}; give NAME=NUMBER", param=parameter) from None


@click.command("save")
@click.argument("file", type=click.Path())
@click.option("--name", required=True, help="The model's name in the registry.")
@click.option(
    "--example",
    help="Rows the model was fitted on: Parquet, Arrow, CSV, JSON, .npy or .npz. [default: those the file brings]",
)
@click.option("--reference", help="More rows, for ranges and categories. [default: what the fit saw, or the example]")
@click.option("--nullable", multiple=True, metavar="COLUMN", help="A column that may be null though no row is; again.")
@click.option("--output", "outputs", multiple=True, metavar="NAME", help="A further output, such as score; again.")
@click.option("--metric", "metrics", multiple=True, callback=_numbers, metavar="NAME=NUMBER", help="Noted; again.")
@click.option("--tag", "tags", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Noted; again.")
@click.option("--golden-rows", type=click.IntRange(0, 256), default=256, show_default=True, help="Rows kept; 0: none.")
@click.option("--engine", type=click.Choice(["native", "worker"]), help="How it must run. [default: as it can]")
@click.option("--unproven", is_flag=True, help="Store it although the proof fails.")
@click.option("--trust", is_flag=True, help="Open FILE although it may run any code.")
@registry_option
@json_option
def command(file: str, as_json: bool, **options: Any) -> None:
    """Compile, prove and store the fitted model in FILE.

    FILE is an ONNX, skops, pickle or joblib file, a native model of LightGBM (.txt), XGBoost (.json, .ubj), CatBoost
    (.cbm), Keras (.keras) or PyTorch (.pt, .pt2), or the folder of an MLflow model or a SavedModel.
    """
    printer = Printer()
    if not Path(file).exists():
        raise InputError(f"{file} does not exist", code="malformed_request", hint="name a file that does")
    saved = _in_own_process({"file": file, **options}, printer)
    if as_json:
        printer.json(saved)
    else:
        printer.data(f"{saved['name']}@{saved['version']}")
        printer.say(f"{saved['proof']}\n{saved['path']}")


def _in_own_process(request: dict[str, Any], printer: Printer) -> dict[str, Any]:
    """Have the file opened and saved by a process that has nothing else to lose; its talk goes on to stderr."""
    done = subprocess.run(
        # -P: what lies in the working folder, perhaps beside a stranger's model, is not imported for being called json.
        [sys.executable, "-P", "-m", "monorail.cli.pickled"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise InternalError(
            f"the process that opens the file ended with status {done.returncode} and no answer",
            code="internal",
            hint="see the lines above",
        ) from None
    if "error" in answer:
        raise error_from(**answer["error"])
    return answer["saved"]
