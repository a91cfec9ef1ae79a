"""The proof: the engine that serves and the original's own methods, on the author's rows and on hard ones.

A row agrees where every label is the same and every number is within the tolerances; two NaN agree, and so do equal
infinities. Rows the original refuses are found by halving, left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa

from ..adapters import Adapter, Form
from ..errors import ProofError
from .hard_rows import HardRows

Engine = Callable[[pa.Table], Mapping[str, np.ndarray]]
"""Scores a table of the signature's types: one array an output, `[rows]` or `[rows, size]`."""
Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""

_KEPT = 32
_ROW_WISE_ROWS = 32
_DOUBLES_RTOL = 1e-6
"""The tolerance of models that compute in doubles; a larger one is of single precision."""
_MOST_HALVINGS = 4_096
"""Failed calls of the original in one proof; after them a refused group is left out whole instead of being halved."""


@dataclass(frozen=True)
class Original:
    """The fitted object behind its adapter, asked through the form it was fitted with."""

    model: Any
    adapter: Adapter
    form: Form
    outputs: tuple[str, ...]

    def answers(self, table: pa.Table) -> dict[str, np.ndarray]:
        """The original's answers for a table; raises whatever it raises."""
        return self.ask(self.form.frame(table))

    def ask(self, frame: Any) -> dict[str, np.ndarray]:
        """The original's answers for data already in its form."""
        return self.adapter.answers(self.model, frame, self.outputs)


@dataclass(frozen=True)
class ComparedRow:
    """One row with both answers.

    Attributes:
        source: "example" or the generator that made it.
        values: the row.
        expected: the original's answers by output.
        got: the engine's.
        difference: the largest absolute difference of a number; infinite where one side alone is not a number.
        label_changed: whether a label differs.
        ok: whether the row is within the tolerances.
    """

    source: str
    values: dict[str, Any]
    expected: dict[str, Any]
    got: dict[str, Any]
    difference: float
    label_changed: bool
    ok: bool


@dataclass
class Proof:
    """What was compared and how it went; `summary()` is the bundle's `proof`."""

    rtol: float
    atol: float
    rows: int = 0
    hard_rows: int = 0
    label_mismatches: int = 0
    failed_rows: int = 0
    worst_difference: float = 0.0
    refused_by_original: int = 0
    generators: dict[str, int] = field(default_factory=dict)
    row_wise: bool = True
    unproven: bool = False
    refusals: list[str] = field(default_factory=list)
    worst: list[ComparedRow] = field(default_factory=list)
    golden: pa.Table | None = None

    @property
    def passed(self) -> bool:
        """Whether every compared row agrees, and there was one."""
        compared = self.rows + self.hard_rows - self.refused_by_original
        return self.failed_rows == 0 and self.label_mismatches == 0 and compared > 0

    def add(self, other: Proof, where: str) -> None:
        """Takes in the proof of a part; all its rows count as hard ones.

        Args:
            other: of the part.
            where: which part it is, in a few words.
        """
        self.hard_rows += other.rows + other.hard_rows
        self.generators[where] = other.rows + other.hard_rows
        self.label_mismatches += other.label_mismatches
        self.failed_rows += other.failed_rows
        self.worst_difference = max(self.worst_difference, other.worst_difference)
        self.refused_by_original += other.refused_by_original
        self.worst = sorted(self.worst + other.worst, key=lambda row: row.ok)

    def summary(self) -> dict[str, Any]:
        """The fields of the bundle's `proof`."""
        names = ("rtol", "atol", "rows", "hard_rows", "label_mismatches", "worst_difference", "refused_by_original")
        worst = float(self.worst_difference) if np.isfinite(self.worst_difference) else float(np.finfo(float).max)
        fields = {name: getattr(self, name) for name in names} | {"worst_difference": worst}
        return {"passed": self.passed, "unproven": self.unproven, **fields, "generators": dict(self.generators)}

    def check(self) -> None:
        """Does nothing for a proof that passed.

        Raises:
            ProofError: `not_proven`, with the rows that show it.
        """
        if self.passed:
            return
        shown = [row for row in self.worst if not row.ok]
        details = _details(shown)
        if not shown:
            raise ProofError(
                "the original refused every row, so nothing was compared",
                code="not_proven",
                hint=f"it said: {self.refusals[0]}" if self.refusals else "pass an example with rows it accepts",
            )
        total = self.rows + self.hard_rows
        raise ProofError(
            f"what the engine answers differs from the original on {self.failed_rows} of {total} rows, "
            f"{self.label_mismatches} with another label; one of them: {_text(shown[0].values)}",
            code="not_proven",
            hint="an answer must depend on its row alone, not on chance or time; if this one does, report the model's "
            "steps as a fault; unproven=True saves it all the same, and the bundle says so",
            details=details,
        )

    def __str__(self) -> str:
        made = ", ".join(f"{name} {count:,}" for name, count in self.generators.items())
        lines = [
            ("proof", "passed" if self.passed else "FAILED"),
            ("example rows", f"{self.rows:,}"),
            ("hard rows", f"{self.hard_rows:,}" + (f" ({made})" if made else "")),
            ("refused by the original", f"{self.refused_by_original:,}"),
            ("labels changed", f"{self.label_mismatches:,}"),
            ("worst difference", f"{self.worst_difference:.3g} (allowed {self.atol:g} + {self.rtol:g} x value)"),
            ("rows stand alone", "yes" if self.row_wise else "no: batches are never shared"),
        ]
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


def prove(
    original: Original,
    engine: Engine,
    example: pa.Table,
    hard: HardRows | None = None,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    golden_rows: int = 256,
    row_wise: bool | None = None,
    chunk_rows: int = 16_384,
    progress: Progress | None = None,
) -> Proof:
    """Compares the original with the engine on every row.

    Args:
        original: the fitted object.
        engine: the compiled model as it will be served.
        example: the author's rows, of the signature's types.
        hard: generated rows.
        rtol: allowed difference relative to the original's answer, 0 or more.
        atol: allowed difference on top, 0 or more.
        golden_rows: how many rows to keep with the original's answers, 0 to 256.
        row_wise: whether rows stand alone, where that is known; otherwise the original is asked, row by row.
        chunk_rows: rows compared at a time.
        progress: told how far it is.

    Returns:
        The proof, passed or not; `check()` raises if it did not.
    """
    proof = Proof(rtol, atol, rows=len(example), hard_rows=len(hard.table) if hard else 0)
    proof.generators = dict(hard.counts) if hard else {}
    run = _Run(original, engine, proof, progress, proof.rows + proof.hard_rows, chunk_rows)
    run.compare(example, np.full(len(example), "example", dtype=object))
    if hard is not None:
        run.compare(hard.table, hard.generators)
    proof.worst = run.worst_rows()
    if row_wise is None:
        # Single precision has other last digits in a batch; what is proven in doubles is asked for nearly all of them.
        digits = (rtol, atol) if rtol > _DOUBLES_RTOL else (1e-7, 1e-9)
        row_wise = is_row_wise(original, _one_layout(example), rtol=digits[0], atol=digits[1])
    proof.row_wise = row_wise
    if golden_rows > 0:
        proof.golden = run.golden(min(golden_rows, 256))
    return proof


@dataclass
class _Chunk:
    table: pa.Table
    sources: np.ndarray
    expected: dict[str, np.ndarray]
    got: Mapping[str, np.ndarray]
    difference: np.ndarray
    excess: np.ndarray
    changed: np.ndarray


class _Run:
    """One pass of the proof: compares chunk by chunk and keeps a few rows of each."""

    def __init__(
        self, original: Original, engine: Engine, proof: Proof, progress: Progress | None, total: int, chunk: int
    ) -> None:
        self.original, self.engine, self.proof = original, engine, proof
        self.progress, self.total, self.chunk, self.done = progress, total, chunk, 0
        self.kept: list[_Chunk] = []
        self.halvings = 0

    def compare(self, table: pa.Table, sources: np.ndarray) -> None:
        """Compares every row of a table; `sources` says where each comes from."""
        table = _one_layout(table)
        for start in range(0, len(table), self.chunk):
            part, names = table.slice(start, self.chunk), sources[start : start + self.chunk]
            for rows, expected in self._accepted(part):
                accepted = part.take(pa.array(rows))
                self._judge(accepted, names[rows], expected)
            self.done += len(part)
            if self.progress is not None:
                self.progress(self.done, self.total)

    def _accepted(self, table: pa.Table) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Groups of rows the original takes, with its answers; those it refuses are counted."""
        found, waiting = [], [np.arange(len(table))]
        while waiting:
            rows = waiting.pop()
            # A chunk cut out of a bigger table must not be seen through its neighbours. A fault of ours in making the
            # frame is no refusal.
            frame = self.original.form.frame(table.take(pa.array(rows)))
            try:
                found.append((rows, self.original.ask(frame)))
            except (Exception, SystemExit) as error:
                self.halvings += 1
                if len(rows) == 1 or self.halvings > _MOST_HALVINGS:
                    self.proof.refused_by_original += len(rows)
                    text = f"{type(error).__name__}: {error}"
                    if len(self.proof.refusals) < 10 and text not in self.proof.refusals:
                        self.proof.refusals.append(text)
                else:
                    middle = len(rows) // 2
                    waiting += [rows[middle:], rows[:middle]]
        return found

    def _judge(self, table: pa.Table, sources: np.ndarray, expected: dict[str, np.ndarray]) -> None:
        got = self.engine(table)
        rows = len(table)
        difference, excess, changed = np.zeros(rows), np.full(rows, -np.inf), np.zeros(rows, bool)
        for name, wanted in expected.items():
            if _is_label(name, wanted, got[name]):
                changed |= _differ(wanted, got[name])
                continue
            apart, over = _apart(wanted, np.asarray(got[name]), self.proof.rtol, self.proof.atol)
            difference, excess = np.maximum(difference, apart), np.maximum(excess, over)
        self.proof.label_mismatches += int(changed.sum())
        self.proof.failed_rows += int((changed | (excess > 0)).sum())
        self.proof.worst_difference = max(self.proof.worst_difference, float(difference.max(initial=0.0)))
        whole = _Chunk(table, sources, expected, got, difference, excess, changed)
        self._keep(whole)

    def _keep(self, chunk: _Chunk) -> None:
        """Keeps the worst rows of a chunk, some of each generator, and a spread of the rest."""
        rank = np.lexsort((-chunk.difference, ~(chunk.excess > 0), ~chunk.changed))
        chosen = set(rank[:_KEPT].tolist())
        for name in set(chunk.sources.tolist()):
            rows = np.flatnonzero(chunk.sources == name)
            chosen.update(rows[np.linspace(0, len(rows) - 1, min(len(rows), 24)).astype(np.int64)].tolist())
        rows = np.asarray(sorted(chosen), np.int64)
        self.kept.append(
            _Chunk(
                chunk.table.take(pa.array(rows)),
                chunk.sources[rows],
                {name: values[rows] for name, values in chunk.expected.items()},
                {name: np.asarray(chunk.got[name])[rows] for name in chunk.expected},
                chunk.difference[rows],
                chunk.excess[rows],
                chunk.changed[rows],
            )
        )

    def _joined(self) -> _Chunk | None:
        if not self.kept:
            return None
        names = self.kept[0].expected
        return _Chunk(
            pa.concat_tables([chunk.table for chunk in self.kept]),
            np.concatenate([chunk.sources for chunk in self.kept]),
            {name: np.concatenate([chunk.expected[name] for chunk in self.kept]) for name in names},
            {name: np.concatenate([chunk.got[name] for chunk in self.kept]) for name in names},
            np.concatenate([chunk.difference for chunk in self.kept]),
            np.concatenate([chunk.excess for chunk in self.kept]),
            np.concatenate([chunk.changed for chunk in self.kept]),
        )

    def worst_rows(self) -> list[ComparedRow]:
        """The rows that differ most, changed labels first."""
        whole = self._joined()
        if whole is None:
            return []
        rank = np.lexsort((-whole.difference, ~(whole.excess > 0), ~whole.changed))[:_KEPT]
        return [
            ComparedRow(
                str(whole.sources[row]),
                whole.table.slice(row, 1).to_pylist()[0],
                {name: _python(values[row]) for name, values in whole.expected.items()},
                {name: _python(values[row]) for name, values in whole.got.items()},
                float(whole.difference[row]),
                bool(whole.changed[row]),
                not whole.changed[row] and not whole.excess[row] > 0,
            )
            for row in rank.tolist()
        ]

    def golden(self, count: int) -> pa.Table | None:
        """Rows to travel with the bundle: the worst that agree, then some of every source in turn."""
        whole = self._joined()
        if whole is None:
            return None
        rank = np.argsort(-whole.difference, kind="stable")
        agree = [row for row in rank.tolist() if not whole.changed[row] and not whole.excess[row] > 0]
        agree = agree or rank.tolist()
        taken = dict.fromkeys(agree[: max(count // 4, 1)])
        random = np.random.default_rng(0)
        groups = [
            [row for row in agree if whole.sources[row] == name] for name in dict.fromkeys(whole.sources.tolist())
        ]
        # One of every source in turn, so that a generator with few rows is still heard.
        turns = zip_longest(*(random.permutation(rows).tolist() for rows in groups if rows))
        for row in (row for turn in turns for row in turn if row is not None):
            if len(taken) == count:
                break
            taken[row] = None
        rows = sorted(taken)
        table = whole.table.take(pa.array(rows))
        answers = {name: values[rows] for name, values in whole.expected.items()}
        if not self.proof.row_wise:
            # These rows are scored as one batch, and its neighbours are what a row's answer depends on.
            answers = self.original.answers(table)
        expected = {name: _as(values, np.asarray(whole.got[name])) for name, values in answers.items()}
        return golden_table(table, expected)


def golden_table(rows: pa.Table, expected: Mapping[str, np.ndarray]) -> pa.Table:
    """The table of `golden.arrow`: `input/NAME` and `output/NAME`, the original's answers."""
    columns: dict[str, Any] = {}
    for name in rows.column_names:
        column = rows[name]
        columns[f"input/{name}"] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    for name, values in expected.items():
        array = np.ascontiguousarray(values)
        flat = _scalar_array(array.reshape(-1))
        columns[f"output/{name}"] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1]) if array.ndim == 2 else flat
    return pa.table(columns)


def _as(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    """The original's answers in the shape and type of the engine's, which are the signature's."""
    shaped = expected.reshape(len(expected), *got.shape[1:]) if expected.size == len(expected) else expected
    return shaped if got.dtype.kind in "OUS" or shaped.dtype.kind in "OUS" else shaped.astype(got.dtype)


def _scalar_array(values: np.ndarray) -> pa.Array:
    if values.dtype.kind in "OUS":
        return pa.array([value if isinstance(value, bool | np.bool_) else str(value) for value in values])
    if values.dtype.kind == "f":
        return pa.array(values if values.dtype == np.dtype(np.float32) else values.astype(np.float64))
    if values.dtype.kind == "b" or values.dtype == np.dtype(np.int32):
        return pa.array(values)
    return pa.array(values.astype(np.int64))


def is_row_wise(
    original: Original, example: pa.Table, rows: int = _ROW_WISE_ROWS, *, rtol: float = 1e-7, atol: float = 1e-9
) -> bool:
    """Whether the original answers a batch as it answers its rows one by one, within tolerances.

    Rows it refuses are left out. One that it takes in company and not alone depends on its company.
    """
    step = max(len(example) // rows, 1)
    sample = example.take(pa.array(np.arange(0, len(example), step)[:rows]))
    one_by_one = {row: _answered(original, sample.slice(row, 1)) for row in range(len(sample))}
    alone = {row: answer for row, answer in one_by_one.items() if answer is not None}
    whole = _answered(original, sample)
    if whole is not None and len(alone) < len(sample):
        return False
    if whole is None and alone:
        whole = _answered(original, sample.take(pa.array(list(alone))))
    if whole is None:
        return not alone
    for name, values in whole.items():
        single = np.concatenate([np.atleast_1d(answer[name]) for answer in alone.values()])
        if _is_label(name, values, single):
            if np.any(_differ(values, single)):
                return False
        elif np.any(_apart(values, single, rtol, atol)[1] > 0):
            return False
    return True


def _answered(original: Original, table: pa.Table) -> dict[str, np.ndarray] | None:
    """The original's answers; None for what it refuses."""
    try:
        return original.answers(table)
    except (Exception, SystemExit):
        return None


def _one_layout(table: pa.Table) -> pa.Table:
    """Text of every layout as plain strings and tensors as lists, so that tables from anywhere go together."""
    columns = []
    for column in table.columns:
        kind = column.type
        if isinstance(kind, pa.FixedShapeTensorType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], type=kind.storage_type)
        elif pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            column = column.cast(pa.string())
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def _python(value: Any) -> Any:
    """A numpy value or row as Python's own."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _is_label(name: str, expected: Any, got: Any) -> bool:
    """Whether an output is compared exactly: one of that name, and any that holds no floats."""
    kinds = np.asarray(expected).dtype.kind, np.asarray(got).dtype.kind
    return name == "label" or kinds[0] in "OUS" or "f" not in kinds


def _differ(expected: Any, got: Any) -> np.ndarray:
    """For each row whether any label differs; two NaN are the same."""
    wanted, found = (_labels(values).reshape(len(values), -1) for values in (expected, got))
    if wanted.shape != found.shape:
        return np.ones(len(wanted), bool)
    differ = wanted != found
    if wanted.dtype.kind == found.dtype.kind == "f":
        differ &= ~(np.isnan(wanted) & np.isnan(found))
    return np.any(differ, axis=1)


def _labels(values: Any) -> np.ndarray:
    """Labels in a form that compares by value whatever the types."""
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind in "OUS" else array


def _apart(expected: np.ndarray, got: np.ndarray, rtol: float, atol: float) -> tuple[np.ndarray, np.ndarray]:
    """For each row the largest difference, and the largest excess over what is allowed (above 0: too much)."""
    wanted = np.asarray(expected, np.float64).reshape(len(expected), -1)
    found = np.asarray(got, np.float64).reshape(len(got), -1)
    if wanted.shape != found.shape:
        return np.full(len(wanted), np.inf), np.full(len(wanted), np.inf)
    with np.errstate(all="ignore"):
        apart = np.abs(wanted - found)
        same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
        apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
        allowed = atol + rtol * np.where(np.isfinite(wanted), np.abs(wanted), 0.0)
        excess = apart - allowed
    return apart.max(axis=1, initial=0.0), excess.max(axis=1, initial=-np.inf)


def _details(rows: Sequence[ComparedRow]) -> list[dict[str, Any]]:
    """Up to ten different rows, each with its values and both answers."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        values, expected, got = _text(row.values), _text(row.expected), _text(row.got)
        detail = {"code": "not_proven", "path": row.source, "expected": expected, "got": f"{got} for {values}"}
        found.setdefault((values, expected, got), detail)
    return list(found.values())[:10]


def _text(values: Mapping[str, Any]) -> str:
    """Answers or a row as short text."""
    parts = [f"{name}={value!r}" for name, value in values.items()]
    text = ", ".join(parts[:12]) + (", …" if len(parts) > 12 else "")
    return text if len(text) <= 600 else text[:600] + "…"
