"""How a model will run: as a graph, in a worker, or cut in two; and what the bundle then holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..adapters import Adapter, Description, Form
from ..adapters.python import answer_table, declared, outputs_of, start
from ..compile import Compiled, compile_model
from ..compile.cut import cut_model
from ..compile.hard_rows import HardRows, make_hard_rows
from ..errors import BundleError, CompileError, InputError, MonorailError, ProofError
from ..signature import Column
from .pickling import distributions_of, pickle_model

#: What `mr.save(engine=...)` may be; None lets the model decide.
ENGINES = ("native", "worker")


@dataclass(frozen=True)
class Request:
    """A model and everything known about it before it is decided how it runs.

    Attributes:
        model: The fitted object, or a class.
        adapter: Whose it is.
        description: What the adapter says of it.
        form: How it takes data.
        inputs: The signature's inputs as bundle.json has them.
        rows: The example, of the signature's types.
        outputs: Names of further outputs.
        engine: What the user wants.
        files: A folder or file that a class loads.
        scratch: An empty folder that is there until the model is saved.
    """

    model: Any
    adapter: Adapter
    description: Description
    form: Form
    inputs: list[dict[str, Any]]
    rows: pa.Table
    outputs: Sequence[str] | None = None
    engine: str | None = None
    files: Path | None = None
    scratch: Path | None = None


@dataclass(frozen=True)
class InWorker:
    """The part of a model that stays Python's.

    Attributes:
        program: ``worker.json``.
        model: The object to store.
        reason: Why it is no graph, one line.
        idempotent: Whether a batch may run again.
        gives: Columns it hands to a graph; None where it gives the outputs.
        steps: Names of its steps.
        needs: Distributions it needs beside those that its pickle names.
        files: A folder or file that goes with it.
    """

    program: dict[str, Any]
    model: Any
    reason: str
    idempotent: bool
    gives: list[Column] | None = None
    steps: list[str] = field(default_factory=list)
    needs: tuple[str, ...] = ()
    files: Path | None = None


@dataclass(frozen=True)
class Behind:
    """The graph of a model that was cut, to be proven by itself, too: its thresholds lie on columns of its own.

    Attributes:
        model: What it was compiled from.
        columns: Its inputs, as bundle.json has columns.
        rows: What the steps before it give for the example.
        form: How the model takes them.
    """

    model: Any
    columns: list[dict[str, Any]]
    rows: pa.Table
    form: Form

    def hard_rows(self, compiled: Compiled) -> HardRows:
        """Generated rows of these columns."""
        return make_hard_rows(self.columns, self.rows, compiled.splits, far=not compiled.smooth)


@dataclass(frozen=True)
class Plan:
    """How a model will run.

    Attributes:
        engine: ``native``, ``worker`` or ``mixed``.
        outputs: The signature's outputs as bundle.json has them.
        form: How the original is asked.
        original: What is asked for the proof: the model, or an instance of the class.
        compiled: The graph, if there is one.
        worker: The part that stays Python's, if there is one.
        native_steps: Names of the steps in the graph, where the model was cut.
        row_wise: What a class says of itself.
        behind: The graph, where the model was cut and it can be asked alone.
    """

    engine: str
    outputs: list[dict[str, Any]]
    form: Form
    original: Any
    compiled: Compiled | None = None
    worker: InWorker | None = None
    native_steps: list[str] = field(default_factory=list)
    row_wise: bool | None = None
    behind: Behind | None = None

    @property
    def notes(self) -> list[str]:
        """Sentences for the person who saves the model, beginning with what runs it and why."""
        if self.worker is None:
            text = "engine native: the whole model is a graph, and needs no Python to run"
        elif self.compiled is None:
            text = f"engine worker: it runs in Python processes, because {self.worker.reason}"
        else:
            text = (
                f"engine mixed: {', '.join(self.worker.steps)} in Python processes, {', '.join(self.native_steps)} in "
                f"the graph, because {self.worker.reason}"
            )
        return [text, *(self.compiled.notes if self.compiled is not None else ())]

    def hard_rows(self, request: Request) -> HardRows:
        """Generated rows for the proof."""
        # Of a model that was cut, they are on columns that no caller has.
        splits = self.compiled.splits if self.compiled is not None and self.worker is None else ()
        far = self.compiled is None or not self.compiled.smooth
        return make_hard_rows(request.inputs, request.rows, splits, far=far)


def plan(request: Request) -> Plan:
    """Decide how a model runs.

    Raises:
        CompileError: it does not compile and only a graph is wanted, or it cannot answer for the example at all.
    """
    if request.engine not in (None, *ENGINES):
        raise InputError(
            f"engine is {request.engine!r}", code="wrong_type", hint="'native', 'worker', or None to let it be found"
        )
    if request.description.kind == "class":
        own = request.adapter.folder(request.model)
        return _of_class(request if own is None else replace(request, files=own))
    if request.files is not None:
        raise InputError(
            "files= is for a Python class, which loads them", code="wrong_type", hint="leave it out for a fitted model"
        )
    if request.engine == "worker":
        return _whole(request, "engine='worker' was asked for", None)
    try:
        return _native(request)
    except CompileError as refusal:
        if request.engine == "native" or not _is_of_steps(refusal):
            raise
        reason = _reason(refusal)
        hard = make_hard_rows(request.inputs, request.rows)
        cut = cut_model(request.model, request.rows, hard.table, request.form, outputs=request.outputs)
        if cut is None:
            return _whole(request, reason, refusal)
    program = _program("prefix", request) | {"columns": [column["name"] for column in cut.columns]}
    gives = [Column.from_json(column) for column in cut.columns]
    worker = InWorker(program, cut.prefix, reason, True, gives, cut.worker, _needs(request))
    behind = None if cut.form is None else Behind(cut.suffix, cut.columns, cut.rows, cut.form)
    return Plan(
        "mixed", cut.compiled.outputs, request.form, request.model, cut.compiled, worker, cut.native, behind=behind
    )


def instead(request: Request, refusal: ProofError | BundleError) -> Plan:
    """Python processes for a model whose graph was not proven, or is none that a bundle may hold.

    Raises:
        ProofError, BundleError: the refusal, where it cannot be stored for them either.
    """
    try:
        pickle_model(request.model)
    except MonorailError:
        raise refusal from None
    reason = refusal.message
    if isinstance(refusal, ProofError):
        reason = reason.partition(",")[0].replace("what the engine answers", "its graph")
    return _whole(request, reason, None)


def _native(request: Request) -> Plan:
    compiled = compile_model(request.model, request.inputs, outputs=request.outputs, null_text=request.form.null_text)
    made = {output["name"] for output in compiled.outputs}
    for name in request.description.outputs:
        if name not in made:
            raise CompileError(
                f"cannot compile `model`: its {name} has no compiled form",
                code="cannot_compile",
                hint="engine='worker' answers with it",
                details=[{"code": "cannot_compile", "path": "model", "expected": name}],
            )
    form = request.form.with_nulls(compiled.null_text)
    return Plan("native", compiled.outputs, form, request.model, compiled)


def _is_of_steps(refusal: CompileError) -> bool:
    """Whether steps have no graph; else the arguments are wrong, and no engine would help."""
    return refusal.code == "cannot_compile" and any(detail.get("path") for detail in refusal.details)


def _reason(refusal: CompileError) -> str:
    """Why there is no graph, as one line with short names."""
    text = " ".join(refusal.message.removeprefix("cannot compile ").split())
    text = re.sub(r"`model\.([^`]+)` \(", r"`\1` (", text)
    return re.sub(r"\((?:\w+\.)+(\w+)\):", r"(\1):", text)[:500]


def _whole(request: Request, reason: str, refusal: CompileError | None) -> Plan:
    """A fitted model that runs in a worker as it is."""
    names = list(request.description.outputs)
    for name in request.outputs or ():
        if request.description.offers and name not in request.description.offers:
            offers = ", ".join(sorted(request.description.offers))
            raise CompileError(f"the model has no output `{name}`", code="cannot_compile", hint=f"it offers {offers}")
        names += [name] if name not in names else []
    try:
        answers = request.adapter.answers(request.model, request.form.frame(request.rows), names)
    except Exception as error:
        raise refusal or _cannot_answer(request, error) from error
    # A network tells its outputs only by answering.
    names = names or list(answers)
    outputs = outputs_of(answer_table(answers, names))
    for output in outputs:
        if "size" in output:
            output["names"] = request.adapter.names(request.model, output["name"], output["size"])
    program = _program("estimator", request) | {"outputs": names}
    # What the object reads from its own folder travels with it; else somebody could change it later.
    own = request.adapter.folder(request.model)
    program |= {} if own is None else {"folder": "files"}
    worker = InWorker(program, request.model, reason, True, None, ["model"], _needs(request), own)
    return Plan("worker", outputs, request.form, request.model, None, worker)


def _of_class(request: Request) -> Plan:
    """A Python class, or an instance of one."""
    kind = request.model if isinstance(request.model, type) else type(request.model)
    if request.engine == "native":
        raise CompileError(
            f"{kind.__qualname__} is a Python class, which has no graph",
            code="cannot_compile",
            hint="leave engine= out: it runs in Python processes",
        )
    try:
        instance = start(request.model, _folder_of(request))
        answer = instance.predict(request.form.frame(request.rows))
    except (Exception, SystemExit) as error:  # code that ends its process must not end the author's
        raise _cannot_answer(request, error) from error
    table = answer_table(answer)
    if len(table) != len(request.rows):
        raise CompileError(
            f"{kind.__qualname__}.predict gave {len(table)} rows for {len(request.rows)}",
            code="cannot_compile",
            hint="answer with a row for every row",
        )
    outputs = outputs_of(_chosen(table, request.outputs))
    program = _program("class", request)
    program |= {"import": None, "folder": None if request.files is None else "files"}
    program |= {"takes": "pandas" if request.form.kind == "pandas" else "arrow"}
    program |= {"outputs": [output["name"] for output in outputs]}
    worker = InWorker(
        program,
        request.model,
        "it is a Python class",
        bool(declared(kind, "idempotent")),
        None,
        [kind.__qualname__],
        _needs(request),
        request.files,
    )
    return Plan("worker", outputs, request.form, instance, None, worker, row_wise=declared(kind, "row_wise"))


def _folder_of(request: Request) -> Path:
    """The folder a class loads from: the one given, or one that holds the file given, or an empty one."""
    folder, files = request.scratch or Path(), request.files
    if files is None:
        return folder
    if files.is_dir():
        return files
    (folder / files.name).symlink_to(files.resolve())
    return folder


def _chosen(table: pa.Table, outputs: Sequence[str] | None) -> pa.Table:
    """The outputs wanted of those a class gives; all, where none is named."""
    missing = [name for name in outputs or () if name not in table.column_names]
    if missing:
        raise CompileError(
            f"the model has no output `{missing[0]}`",
            code="cannot_compile",
            hint=f"it offers {', '.join(table.column_names)}",
        )
    return table.select(list(outputs)) if outputs else table


def _program(kind: str, request: Request) -> dict[str, Any]:
    """``worker.json``, but for what its kind adds."""
    adapter = request.adapter.framework
    return {"kind": kind, "adapter": adapter, "file": "model.pkl", "form": request.form.to_json()}


def _needs(request: Request) -> tuple[str, ...]:
    """The distributions whose frames the form makes, and that bring the adapter."""
    frames = {request.form.kind} & {"pandas", "polars"}
    return tuple(sorted(frames | distributions_of([type(request.adapter).__module__])))


def _cannot_answer(request: Request, error: BaseException) -> CompileError:
    hint = "pass an example in the form it was fitted on"
    if request.description.kind == "class":
        hint = "predict gets a pyarrow.RecordBatch; annotate its argument with pandas.DataFrame to get a frame"
    return CompileError(
        f"the model does not answer for the example: {type(error).__name__}: {error}", code="cannot_compile", hint=hint
    )


def files_of(path: Path | None) -> Mapping[str, Path]:
    """The files of a folder, or the one file, by path in the worker's folder.

    Raises:
        InputError: there is no such folder or file.
    """
    if path is None:
        return {}
    if path.is_file():
        return {f"files/{path.name}": path}
    if not path.is_dir():
        raise InputError(f"files is {str(path)!r}, which does not exist", code="wrong_type", hint="name what does")
    found = sorted(file for file in path.rglob("*") if file.is_file())
    return {f"files/{file.relative_to(path).as_posix()}": file for file in found}
