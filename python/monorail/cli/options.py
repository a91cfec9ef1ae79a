"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

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
