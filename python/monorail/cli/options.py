"""Options that several commands share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..errors import InputError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

registry_option: Decorator = click.option(
    "--registry",
    type=click.Path(file_okay=False),
    help="The registry's folder. [default: $MONORAIL_REGISTRY, else the nearest .monorail upwards]",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
trust_option: Decorator = click.option(
    "--trust",
    is_flag=True,
    help="Run the Python code that is part of the model. Not needed where the registry's folder is yours, mode 0700.",
)
filter_option: Decorator = click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="'COLUMN OP VALUE'",
    help="Only these rows, such as 'month > 3' or 'carrier in UA,DL'; given more than once, all must hold.",
)

_FILTER = re.compile(r"\s*(?P<column>.+?)\s*(?P<op>==|!=|<=|>=|=|<|>|\s(?:not\s+)?in\s)\s*(?P<value>.+?)\s*")


def read_filters(given: Sequence[str]) -> list[tuple[str, str, Any]] | None:
    """What ``--filter`` says, as ``filters=`` takes it; None where it says nothing.

    A value is a number, ``true``, ``false`` or text, which may stand in double quotes; those of ``in`` have commas
    between.

    Raises:
        InputError: ``malformed_request``: it is not ``COLUMN OP VALUE``.
    """
    found = []
    for text in given:
        match = _FILTER.fullmatch(text)
        if match is None:
            raise InputError(
                f"--filter {text!r} is not COLUMN OP VALUE",
                code="malformed_request",
                hint="OP is ==, !=, <, <=, >, >=, in or not in, as in 'month > 3'",
            )
        op, value = " ".join(match["op"].split()), match["value"]
        values = [_value(part) for part in value.split(",")] if op.endswith("in") else _value(value)
        found.append((match["column"], op, values))
    return found or None


def _value(text: str) -> Any:
    """A number, a truth or a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip()
    return value if isinstance(value, bool | int | float | str) else text.strip()
