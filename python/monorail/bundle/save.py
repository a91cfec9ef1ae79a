"""``mr.save``: infer the signature, find how it runs, prove it with the serving engine, write, publish."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .. import _core
from ..adapters import Form, find_adapter
from ..compile.hard_rows import HardRows
from ..compile.proof import Original, Proof, prove
from ..data import conform, read_stream, to_arrow, to_numpy
from ..engine import runtime_library
from ..errors import BundleError, InputError, ProofError, SignatureError
from ..progress import progress
from ..serve.environments import command_of
from ..signature import Output, Signature, infer
from . import writer
from .environment import Lock, environment, lock
from .pickling import pickle_model
from .planning import InWorker, Plan, Request, files_of, instead, plan
from .registry import Registry, check_name
from .source import as_frame, opened, with_categories, with_seen
from .version import Version

#: Most golden rows a bundle keeps.
MAX_GOLDEN_ROWS = 256
#: Rows below which a proof takes no second.
_ROWS_WORTH_A_BAR = 50_000


def save(
    model: Any,
    name: str,
    *,
    example: Any = None,
    reference: Any = None,
    nullable: bool | Iterable[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    files: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    golden_rows: int = MAX_GOLDEN_ROWS,
    unproven: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    trust: bool = False,
    registry: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Version:
    """Prove that a fitted model answers the same in the serving engine, and store it as the next version.

    What compiles becomes a graph. A pipeline that does not compile whole is cut: its first steps run in Python
    processes, the rest is a graph. Anything else runs in Python processes, and so does a model whose graph turns out to
    answer differently. Which and why is said on stderr, and in ``engine`` and ``reason`` of the version.

    Args:
        model: Fitted: an estimator or pipeline of scikit-learn, a model of another framework, the path of a model file,
            or a Python class (or an instance) with ``predict``.
        name: In the registry: letters, digits, ``.``, ``_``, ``-``, at most 128 of them.
        example: Rows of the data the model was fitted on, in the form it was fitted on: a pandas or Polars frame, an
            Arrow table, a NumPy matrix, a list of texts or of dicts. Types, order and nullability of the columns are
            taken from it, and every row is compared. A model that :func:`monorail.fit` fitted brings its own, and
            so may a model file.
        reference: More rows, from which ranges, categories, null shares and quantiles are kept; default: what
            :func:`monorail.fit` saw of all its rows, else the example.
            A column that holds a null in it is nullable too.
        nullable: Columns that may be null although no row is; True for all.
        outputs: Output or outputs the model offers beside its own, such as ``score``; of a Python class, those wanted.
        files: A folder or file that goes with a Python class, for its ``load(self, path)``.
        engine: ``native`` refuses what is not a graph as a whole, ``worker`` runs all of it in Python processes;
            default: as much of it a graph as can be.
        metrics: Numbers to note, by name.
        tags: Words to note, by name.
        golden_rows: Rows kept in the bundle with the original's answers, 0 to 256. Keep none where data is private.
        unproven: Store the model although the proof fails; the bundle keeps that.
        rtol: Relative tolerance of the proof; default: 1e-6, 1e-5 for a model that computes in float32.
        atol: Absolute tolerance of the proof; default: 1e-9, 1e-5 for a model that computes in float32.
        trust: Open a model file although that may run any code in it, here in this process; ``monorail save --trust``
            opens it in one of its own.
        registry: The registry's folder; default: ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards, made in
            the working folder where there is none.
        quiet: Say nothing on stderr.

    Returns:
        The version stored, with its ``signature``, ``proof``, ``engine`` and ``reason``.

    Raises:
        SignatureError: a column is of a type that no signature holds.
        CompileError: the model is not known, does not answer for the example, or has no graph where one is asked for.
        ProofError: engine and original do not agree; ``details`` has the row that shows it.
        MissingExtraError: a framework, or what stores Python objects, is not installed.
        TrustError: the model is a file that may run code.
        RegistryError: the name is not allowed or taken, or the folder cannot be used.
    """
    check_name(name)
    notes = _notes(metrics, tags)
    _check_golden_rows(golden_rows)
    # One name is a sequence of letters, too.
    outputs = [outputs] if isinstance(outputs, str) else outputs
    given = opened(model, example, trust=trust, quiet=quiet)
    model = given.model
    adapter = find_adapter(model)
    description = adapter.describe(model)
    example = as_frame(given.example, description.takes)
    table = to_arrow(example)
    form = with_categories(Form.of(example, description.feature_names, description.takes), given.remembered)
    if not len(table):
        raise SignatureError("the example has no rows", code="signature_invalid", hint="pass rows of the training data")
    reference = None if reference is None else to_arrow(as_frame(reference, description.takes))
    signature = infer(table, reference, nullable)
    if given.remembered is not None and reference is None:
        signature = with_seen(signature, given.remembered)
    rows = conform(table, signature)
    with tempfile.TemporaryDirectory(prefix="monorail-save-") as scratch:
        request = Request(
            model=model,
            adapter=adapter,
            description=description,
            form=form,
            inputs=signature.to_json()["inputs"],
            rows=rows,
            outputs=outputs,
            engine=engine,
            files=None if files is None else Path(files),
            scratch=Path(scratch),
        )
        keep = _Keeping(registry, name, signature, table, notes, rtol, atol, golden_rows, unproven, quiet)
        return _stored(keep, request)


def _stored(keep: _Keeping, request: Request) -> Version:
    """The model as a graph where that is proven, else in Python processes."""
    # Claimed before the original is asked: a folder that cannot be used is found out at once.
    draft = keep.claim()
    try:
        made = plan(request)
    except BaseException:
        draft.discard()
        raise
    try:
        return keep.store(draft, request, made)
    except (ProofError, BundleError) as refusal:
        # A graph that a framework wrote may be more than the audit of graphs allows.
        no_graph = refusal.code == "graph_refused" or (refusal.code == "not_proven" and refusal.details)
        if request.engine is not None or made.engine == "worker" or not no_graph:
            raise
        if not keep.quiet:
            sys.stderr.write(f"{refusal.message}\n")
        other = instead(request, refusal)
        return keep.store(keep.claim(), request, other)


@dataclasses.dataclass(frozen=True)
class _Keeping:
    """What is the same however a model runs: where it is stored, and what it is compared with."""

    registry: str | os.PathLike[str] | None
    name: str
    signature: Signature
    table: pa.Table
    notes: Mapping[str, Any]
    rtol: float | None
    atol: float | None
    golden_rows: int
    unproven: bool
    quiet: bool

    def claim(self) -> _core.Draft:
        """The next version, to be written."""
        return Registry(self.registry).draft(self.name)

    def store(self, draft: _core.Draft, request: Request, made: Plan) -> Version:
        """Write a draft, prove it and publish it.

        Raises:
            ProofError: ``not_proven``; nothing is left then.
        """
        try:
            signature = self.signature.with_outputs(Output.from_json(output) for output in made.outputs)
            described, unhashed = _written(draft.path, request, made, signature, self.table)
            described |= self.notes
            if not self.quiet:
                _say(signature, made.notes, unhashed, self.golden_rows)
            proof = self._proven(draft.path, described, request, made)
            _publish(draft, described, proof, made, self.unproven)
        except BaseException:
            draft.discard()
            raise
        return Version.from_manifest((draft.path / "bundle.json").read_text(encoding="utf-8"), draft.path)

    def _proven(self, folder: Path, described: Mapping[str, Any], request: Request, made: Plan) -> Proof:
        """Compare the original with the serving engine over the draft."""
        outputs = tuple(output["name"] for output in made.outputs)
        original = Original(made.original, request.adapter, made.form, outputs)
        with _scorer(folder, described) as engine:
            proof = self._compared(original, engine, request.rows, made.hard_rows(request), made)
        behind, compiled = made.behind, made.compiled
        if behind is not None and compiled is not None:
            # The graph by itself, where its own thresholds lie.
            rest = Original(behind.model, find_adapter(behind.model), behind.form, outputs)
            hard = behind.hard_rows(compiled)
            with _graph_alone(folder, described, behind.columns) as alone:
                proof.add(
                    self._compared(rest, alone, behind.rows, hard, made, golden_rows=0, row_wise=True), "in the graph"
                )
        return proof

    def _compared(
        self,
        original: Original,
        engine: Callable[[pa.Table], dict[str, np.ndarray]],
        rows: pa.Table,
        hard: HardRows,
        made: Plan,
        golden_rows: int | None = None,
        row_wise: bool | None = None,
    ) -> Proof:
        """One original beside one engine; a part is not asked whether rows stand alone, which the whole was."""
        # What a framework computes in float32 differs in more digits between two ways of computing it.
        usual = made.compiled.tolerance if made.compiled is not None else None
        with _proving(len(rows) + len(hard.table), self.quiet) as advance:
            return prove(
                original,
                engine,
                rows,
                hard,
                rtol=(usual or 1e-6) if self.rtol is None else self.rtol,
                atol=(usual or 1e-9) if self.atol is None else self.atol,
                golden_rows=self.golden_rows if golden_rows is None else golden_rows,
                row_wise=row_wise,
                progress=advance,
            )


def _written(
    folder: Path, request: Request, made: Plan, signature: Signature, table: pa.Table
) -> tuple[dict[str, Any], str]:
    """Write what the stages need; the manifest before the proof, and why the lock has no hashes, if it has none."""
    stages: list[dict[str, Any]] = []
    locked: Lock | None = None
    coverage: dict[str, Any] = {}
    if made.worker is not None:
        stage, locked = _write_worker(folder, request, made.worker, signature)
        stages.append(stage)
        # Informs only; a graph alone is one step and says nothing of it.
        coverage = {"coverage": {"worker": made.worker.steps, "native": made.native_steps}}
    if made.compiled is not None:
        writer.write_graph(folder, made.compiled.to_bytes())
        stages.append(writer.graph_stage(made.compiled.stage))
    described = writer.manifest(
        signature,
        stages,
        frameworks=request.description.frameworks,
        environment=environment(locked.versions if locked is not None else ()),
        metrics={},
        tags={},
        data=writer.describe_data(table),
    )
    return described | coverage, locked.note if locked is not None else ""


def _write_worker(
    folder: Path, request: Request, worker: InWorker, signature: Signature
) -> tuple[dict[str, Any], Lock]:
    """Write what a worker needs; its stage, and the packages it needs."""
    pickled = pickle_model(worker.model)
    locked = lock({*pickled.distributions, *request.description.frameworks, *worker.needs})
    files = writer.write_files(folder, {"model.pkl": pickled.data, **files_of(worker.files)})
    (folder / writer.PROGRAM).write_text(json.dumps(worker.program), encoding="utf-8")
    (folder / writer.LOCK).write_text(locked.text, encoding="utf-8")
    stage = writer.worker_stage(
        signature.inputs, files, gives=worker.gives, idempotent=worker.idempotent, reason=worker.reason
    )
    return stage, locked


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


@contextlib.contextmanager
def _scorer(folder: Path, described: Mapping[str, Any]) -> Iterator[Callable[[pa.Table], dict[str, np.ndarray]]]:
    """The serving engine over the draft, as the function that the proof judges; its processes end with the block."""
    has_worker = any(stage["engine"] == "worker" for stage in described["stages"])
    held = [
        _core.Engine(
            folder,
            runtime=runtime_library(),
            manifest=json.dumps(described),
            # What it runs is the object that the user has just handed over, in the environment it is in.
            trusted=True,
            worker=command_of(sys.executable) if has_worker else None,
        )
    ]

    def score(rows: pa.Table) -> dict[str, np.ndarray]:
        answers = read_stream(held[0].predict(rows))
        return {name: to_numpy(answers.column(name)) for name in answers.column_names}

    try:
        yield score
    finally:
        # An error that somebody keeps holds the function, too.
        held.clear()


def _graph_alone(
    folder: Path, described: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]
) -> contextlib.AbstractContextManager[Callable[[pa.Table], dict[str, np.ndarray]]]:
    """The graph of a model that was cut, as a model whose inputs are the columns between the parts."""
    outputs = described["signature"]["outputs"]
    alone = {
        **described,
        "format": writer.FORMAT_GRAPH,
        "signature": {"inputs": [dict(column) for column in columns], "outputs": outputs},
        "stages": [stage for stage in described["stages"] if stage["engine"] == "native"],
    }
    return _scorer(folder, alone)


def _publish(draft: _core.Draft, described: dict[str, Any], proof: Proof, made: Plan, unproven: bool) -> None:
    """Write what the proof gave and publish; refuse a model that failed unless the user wants it."""
    if not unproven:
        proof.check()
    described |= {
        "row_wise": proof.row_wise if made.row_wise is None else made.row_wise,
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


def _say(signature: Signature, notes: Sequence[str], unhashed: str, golden_rows: int) -> None:
    """What the user should know before the model is used, on stderr."""
    strict = [column.name for column in signature.inputs if not column.nullable]
    lines = list(notes)
    if unhashed:
        lines.append(f"the lock has no hashes ({unhashed}): it runs only where exactly these versions are installed")
    if strict:
        lines.append(f"not nullable (a null is refused; nullable=[...] allows it): {', '.join(strict)}")
    if golden_rows:
        lines.append(f"up to {golden_rows} rows of the example travel in the bundle; golden_rows=0 keeps none")
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


__all__ = ["MAX_GOLDEN_ROWS", "save"]
