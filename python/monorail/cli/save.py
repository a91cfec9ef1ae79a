"""``monorail save``. A pickle is opened only where the user trusts it, and in a process of its own (`pickled`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import InputError, InternalError, TrustError, error_from
from .options import json_option, registry_option
from .printer import Printer

_PICKLES = {".pkl", ".pickle", ".joblib"}


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
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--name", required=True, help="The model's name in the registry.")
@click.option("--example", required=True, help="Rows the model was fitted on: Parquet, Arrow, CSV or JSON lines.")
@click.option("--reference", help="More rows, for ranges, categories and quantiles. [default: the example]")
@click.option("--nullable", multiple=True, metavar="COLUMN", help="A column that may be null though no row is; again.")
@click.option("--output", "outputs", multiple=True, metavar="NAME", help="A further output, such as score; again.")
@click.option("--metric", "metrics", multiple=True, callback=_numbers, metavar="NAME=NUMBER", help="Noted; again.")
@click.option("--tag", "tags", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Noted; again.")
@click.option("--golden-rows", type=click.IntRange(0, 256), default=256, show_default=True, help="Rows kept; 0: none.")
@click.option("--unproven", is_flag=True, help="Store it although the proof fails.")
@click.option("--trust", is_flag=True, help="Open FILE although a pickle may run any code.")
@registry_option
@json_option
def command(file: str, trust: bool, as_json: bool, **options: Any) -> None:
    """Compile, prove and store the fitted model in FILE, a pickle or joblib file."""
    printer = Printer()
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file} does not exist", code="malformed_request", hint="name a file that does")
    if path.suffix.lower() not in _PICKLES:
        raise InputError(
            f"{file} is of a kind that is not read",
            code="malformed_request",
            hint=f"give {', '.join(sorted(_PICKLES))}, or call monorail.save(model, ...) in Python",
        )
    if not trust:
        raise TrustError(
            f"{file} is a pickle: opening it can run any code",
            code="untrusted",
            hint="add --trust if you know where it comes from, or call monorail.save(model, ...) in Python",
        )
    saved = _in_own_process({"file": file, **options}, printer)
    if as_json:
        printer.json(saved)
    else:
        printer.data(f"{saved['name']}@{saved['version']}")
        printer.say(f"{saved['proof']}\n{saved['path']}")


def _in_own_process(request: dict[str, Any], printer: Printer) -> dict[str, Any]:
    """Have the pickle opened and saved by a process that has nothing else to lose; its talk goes on to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "monorail.cli.pickled"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise InternalError(
            f"the process that opens the pickle ended with status {done.returncode} and no answer",
            code="internal",
            hint="see the lines above",
        ) from None
    if "error" in answer:
        raise error_from(**answer["error"])
    return answer["saved"]
