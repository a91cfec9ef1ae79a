"""``monorail prove``."""

from __future__ import annotations

import click

from ..errors import BundleError
from .options import json_option, registry_option
from .printer import Printer


@click.command("prove")
@click.argument("model")
@registry_option
@json_option
def command(model: str, registry: str | None, as_json: bool) -> None:
    """Score MODEL's golden rows again, on this machine, and compare with the original's answers."""
    from .. import load

    printer = Printer()
    loaded = load(model, registry=registry)
    report = loaded.check_golden()
    if as_json:
        printer.json(report)
    elif report["rows"]:
        printer.data(
            f"{loaded.version}: {report['rows']} golden rows, {report['label_mismatches']} label mismatches, "
            f"worst difference {report['worst_difference']:.2g}"
        )
    else:
        printer.data(f"{loaded.version}: no golden rows were kept")
    if not report["matched"]:
        raise BundleError(
            f"{loaded.version} does not give the answers it was saved with",
            code="golden_mismatch",
            hint="save it again on this machine, or use the ONNX Runtime version it was saved with",
        )
