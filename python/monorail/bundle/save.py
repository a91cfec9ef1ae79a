"""``mr.save``: infer the signature, compile, prove with the serving engine, write, publish."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .. import _core
from ..adapters import Description, Form, find_adapter
from ..compile import Compiled, compile_model
from ..compile.hard_rows import make_hard_rows
from ..compile.proof import Original, Proof, prove
from ..data import conform, read_stream, to_arrow, to_numpy
from ..engine import runtime_library
from ..errors import InputError, SignatureError
from ..progress import progress
from ..signature import Output, Signature, infer
from . import writer
from .environment import environment
from .registry import Registry, check_name
from .version import Version

#: Most golden rows a bundle keeps.
MAX_GOLDEN_ROWS = 256
#: Rows below which a proof takes no second.
_ROWS_WORTH_A_BAR = 50_000


def save(
    model: Any,
    name: str,
    *,
    example: Any,
    reference: Any = None,
    nullable: bool | Iterable[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    golden_rows: int = MAX_GOLDEN_ROWS,
    unproven: bool = False,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    registry: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Version:
    """Compile a fitted model, prove that its compiled form answers the same, and store it as the next version.

    Args:
        model: Fitted: a scikit-learn estimator or pipeline, a LightGBM model.
        name: In the registry: letters, digits, ``.``, ``_``, ``-``, at most 128 of them.
        example: Rows of the data the model was fitted on, in the form it was fitted on: a pandas or Polars frame, an
            Arrow table, a NumPy matrix. Types, order and nullability of the columns are taken from it, and every row is
            compared.
        reference: More rows, from which ranges, categories, null shares and quantiles are kept; default: the example.
            A column that holds a null in it is nullable too.
        nullable: Columns that may be null although no row is; True for all.
        outputs: Output or outputs the model offers beside its own, such as ``score``.
        metrics: Numbers to note, by name.
        tags: Words to note, by name.
        golden_rows: Rows kept in the bundle with the original's answers, 0 to 256. Keep none where data is private.
        unproven: Store the model although the proof fails; the bundle keeps that.
        rtol: Relative tolerance of the proof.
        atol: Absolute tolerance of the proof.
        registry: The registry's folder; default: ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards, made in
            the working folder where there is none.
        quiet: Say nothing on stderr.

    Returns:
        The version stored, with its ``signature`` and ``proof``.

    Raises:
        SignatureError: a column is of a type that no signature holds.
        CompileError: the model is not known, or a step of it has no compiled form.
        ProofError: graph and original do not agree; ``details`` has the row that shows it.
        RegistryError: the name is not allowed or taken, or the folder cannot be used.
    """
    check_name(name)
    notes = _notes(metrics, tags)
    _check_golden_rows(golden_rows)
    # One name is a sequence of letters, too.
    outputs = [outputs] if isinstance(outputs, str) else outputs
    table = to_arrow(example)
    adapter = find_adapter(model)
    description = adapter.describe(model)
    form = Form.of(example, description.feature_names)
    if not len(table):
        raise SignatureError("the example has no rows", code="signature_invalid", hint="pass rows of the training data")
    signature = infer(table, None if reference is None else to_arrow(reference), nullable)
    compiled = compile_model(model, signature.to_json()["inputs"], outputs=outputs, null_text=form.null_text)
    form = form.with_nulls(compiled.null_text)
    signature = signature.with_outputs(Output.from_json(output) for output in compiled.outputs)
    if not quiet:
        _say(signature, compiled.notes, golden_rows)
    rows = conform(table, signature)
    draft = Registry(registry).draft(name)
    try:
        folder = draft.path
        writer.write_graph(folder, compiled.to_bytes())
        described = _described(signature, compiled, description, table, notes)
        hard = make_hard_rows(signature.to_json()["inputs"], rows, compiled.splits)
        with _proving(len(rows) + len(hard.table), quiet) as advance:
            proof = prove(
                Original(model, adapter, form, tuple(output.name for output in signature.outputs)),
                _scorer(folder, described),
                rows,
                hard,
                rtol=rtol,
                atol=atol,
                golden_rows=golden_rows,
                progress=advance,
            )
        _publish(draft, described, proof, unproven)
    except BaseException:
        draft.discard()
        raise
    return Version.from_manifest((folder / "bundle.json").read_text(encoding="utf-8"), folder)


def _check_golden_rows(number: object) -> None:
    """Refuse a number of golden rows that is none."""
    if not isinstance(number, int | np.integer) or isinstance(number, bool):
        raise InputError(
            f"golden_rows is {number!r}", code="wrong_type", hint=f"a whole number from 0 to {MAX_GOLDEN_ROWS}"
        )
    if not 0 <= number <= MAX_GOLDEN_ROWS:
        raise InputError(f"golden_rows is {number}", code="out_of_range", hint=f"0 to {MAX_GOLDEN_ROWS}")


@contextlib.contextmanager
def _proving(total: int, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar for the proof, unless it is over before anybody looks."""
    if quiet or total < _ROWS_WORTH_A_BAR:
        yield None
        return
    with progress(f"proving the graph on {total:,} rows", total) as advance:
        shown = 0

        def show(done: int, _: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        yield show


def _described(
    signature: Signature, compiled: Compiled, description: Description, table: pa.Table, notes: dict[str, Any]
) -> dict[str, Any]:
    """The manifest before the proof."""
    return writer.manifest(
        signature,
        [writer.graph_stage(compiled.stage)],
        frameworks=description.frameworks,
        environment=environment(description.frameworks),
        data=writer.describe_data(table),
        **notes,
    )


def _scorer(folder: Path, described: Mapping[str, Any]) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    """The serving engine over the draft, as the function that the proof judges."""
    engine = _core.Engine(folder, runtime=runtime_library(), manifest=json.dumps(described))

    def score(rows: pa.Table) -> dict[str, np.ndarray]:
        answers = read_stream(engine.predict(rows))
        return {name: to_numpy(answers.column(name)) for name in answers.column_names}

    return score


def _publish(draft: _core.Draft, described: dict[str, Any], proof: Proof, unproven: bool) -> None:
    """Write what the proof gave and publish; refuse a model that failed unless the user wants it."""
    if not unproven:
        proof.check()
    described |= {
        "row_wise": proof.row_wise,
        "proof": {**proof.summary(), "unproven": not proof.passed},
        "golden": writer.write_golden(draft.path, proof.golden),
    }
    draft.publish(json.dumps(described, allow_nan=False))


def _notes(metrics: Mapping[str, float] | None, tags: Mapping[str, str] | None) -> dict[str, Any]:
    """Metrics as numbers and tags as words, checked before any work is done."""
    try:
        numbers = {str(name): float(value) for name, value in (metrics or {}).items()}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a metric is not a number: {error}", code="wrong_type", hint="put words into tags="
        ) from error
    odd = [name for name, value in numbers.items() if value - value != 0]
    if odd:
        raise InputError(f"metric {odd[0]!r} is not finite", code="not_finite", hint="leave it out")
    return {"metrics": numbers, "tags": {str(name): str(value) for name, value in (tags or {}).items()}}


def _say(signature: Signature, notes: Sequence[str], golden_rows: int) -> None:
    """What the user should know before the model is used, on stderr."""
    strict = [column.name for column in signature.inputs if not column.nullable]
    lines = list(notes)
    if strict:
        lines.append(f"not nullable (a null is refused; nullable=[...] allows it): {', '.join(strict)}")
    if golden_rows:
        lines.append(f"up to {golden_rows} rows of the example travel in the bundle; golden_rows=0 keeps none")
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


__all__ = ["MAX_GOLDEN_ROWS", "save"]
