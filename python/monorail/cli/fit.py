"""``monorail fit``. The file that builds the pipeline is the user's own program, and is run as one."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..errors import InputError, MonorailError
from .options import filter_option, json_option, read_filters, registry_option
from .printer import Printer


def _sample_rows(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Any:
    """``NUMBER`` or ``STEP=NUMBER`` options as ``sample_rows=`` takes them."""
    found: dict[str, int] = {}
    for value in values:
        step, equals, number = value.rpartition("=")
        try:
            rows = int(number.replace("_", ""))
        except ValueError:
            rows = 0
        if rows < 1 or bool(equals) != bool(step) or (not step and len(values) > 1):
            raise click.BadParameter(f"{value!r} is neither one NUMBER nor STEP=NUMBER", param=parameter)
        if not step:
            return rows
        found[step] = rows
    return found or None


@click.command("fit")
@click.argument("pipeline", metavar="FILE.py:NAME")
@click.argument("data", nargs=-1, required=True)
@click.option("--target", multiple=True, metavar="COLUMN", help="What is to be learnt; again for several.")
@click.option("--save", "name", metavar="NAME", help="Compile, prove and store the fitted model under this name.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write the fitted model to this .joblib file.")
@click.option("--on", default="local", show_default=True, help="local, ray, or a cluster's address, ray://HOST:PORT.")
@click.option("--workers", type=click.IntRange(min=1), help="How many work at once. [default: one a core]")
@click.option("--sample-weight", metavar="COLUMN", help="Weights of the rows, for the final estimator.")
@click.option(
    "--sample-rows",
    multiple=True,
    callback=_sample_rows,
    metavar="[STEP=]NUMBER",
    help="Fit steps that cannot be fitted in passes on so many rows: all of them, or one by its path; again.",
)
@click.option("--exact-quantiles", is_flag=True, help="Take one pass more for quantiles that are exact.")
@filter_option
@click.option("--quiet", is_flag=True, help="No progress.")
@registry_option
@json_option
def command(
    pipeline: str,
    data: tuple[str, ...],
    target: tuple[str, ...],
    name: str | None,
    out: str | None,
    filters: tuple[str, ...],
    quiet: bool,
    registry: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit the scikit-learn estimator NAME of FILE.py on DATA of any size.

    NAME is a pipeline, estimator or search, or a function that makes one. DATA is files, globs or URLs of Parquet, CSV
    or Arrow. The file is run, as python runs it.
    """
    from .. import Registry, fit, save
    from ..fit.storing import check_path, write_model

    printer = Printer(quiet=quiet)
    if name is None and out is None:
        raise click.UsageError("say where the model goes: --save NAME, --out FILE, or both")
    # What would be refused after the work is refused before it.
    if out is not None:
        check_path(out)
    if name is not None:
        Registry(registry).check(name)
    wanted: Any = (target[0] if len(target) == 1 else list(target)) if target else None
    # What the file and the steps print (LightGBM does) is talk: stdout is for the answer.
    with contextlib.redirect_stdout(sys.stderr):
        estimator = _built(pipeline, printer)
        model = fit(estimator, list(data), target=wanted, filters=read_filters(filters), quiet=quiet, **options)
    report: Any = getattr(model, "fit_report_", None)
    printer.say(str(report))
    answer: dict[str, Any] = {}
    if report is not None:
        answer = {"rows": report.rows, "passes": report.passes, "seconds": report.seconds}
        answer["steps"] = [dataclasses.asdict(step) for step in report.steps]
    if out is not None:
        write_model(model, out)
        answer["out"] = out
    if name is not None:
        version = save(model, name, registry=registry, quiet=quiet)
        answer |= {"name": version.name, "version": version.version, "path": str(version.path)}
    if as_json:
        printer.json(answer)
    else:
        printer.data(f"{answer['name']}@{answer['version']}" if name is not None else str(out))


def _built(pipeline: str, printer: Printer) -> Any:
    """What ``FILE.py:NAME`` names.

    Raises:
        InputError: ``malformed_request``: there is no such file, or no such name in it, or what it runs raises.
    """
    file, _, name = pipeline.rpartition(":")
    if not file or not name.isidentifier():
        raise InputError(
            f"{pipeline!r} is not FILE.py:NAME", code="malformed_request", hint="as in pipeline.py:build_pipeline"
        )
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file} does not exist", code="malformed_request", hint="name a Python file that does")
    # As `python FILE` does: what lies beside the file can be imported by it.
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python file", code="malformed_request", hint="name a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    with _told_by(file, spec.origin, printer):
        spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise InputError(f"{file} has no {name}", code="malformed_request", hint="name a pipeline of it, or a function")
    found = getattr(module, name)
    if not callable(found) or hasattr(found, "get_params"):
        return found
    with _told_by(file, spec.origin, printer):
        return found()


@contextlib.contextmanager
def _told_by(file: str, path: str | None, printer: Printer) -> Iterator[None]:
    """Have what the user's program raises be the program's, shown from its own lines on.

    Raises:
        InputError: ``malformed_request``.
    """
    try:
        yield
    except MonorailError:
        raise
    except (Exception, SystemExit) as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename != path:
            frame = frame.tb_next
        shown = traceback.format_exception(type(error), error, frame)
        printer.say("".join(shown).rstrip())
        line = "" if frame is None else f", line {frame.tb_lineno}"
        said = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{file}{line}: {type(error).__name__}{f': {said}' if said else ''}",
            code="malformed_request",
            hint=f"mend the program; `python {file}` runs it alone, and NAME is called without arguments",
        ) from error
