"""Compiles a fitted model, proves it with the reference engine, and says how far the answers were apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from reference_engine import ReferenceEngine

from monorail import _core
from monorail.adapters import Form, find_adapter
from monorail.bundle import writer
from monorail.compile import Compiled, compile_model
from monorail.compile.hard_rows import HardRows, make_hard_rows
from monorail.compile.proof import Engine, Original, Proof, prove
from monorail.data import to_arrow, to_numpy
from monorail.engine import runtime_library
from monorail.signature import Signature, infer

CLOSE = 1e-9


class Case:
    """A fitted model with an example, compiled."""

    def __init__(
        self,
        model: Any,
        example: Any,
        *,
        outputs: Sequence[str] | None = None,
        nullable: bool | Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.table: pa.Table = to_arrow(example)
        self.inputs = [column.to_json() for column in infer(self.table, nullable=nullable).inputs]
        self.adapter = find_adapter(model)
        description = self.adapter.describe(model)
        self.form = Form.of(example, description.feature_names, description.takes)
        self.compiled: Compiled = compile_model(model, self.inputs, outputs=outputs, null_text=self.form.null_text)
        self.form = self.form.with_nulls(self.compiled.null_text)
        names = tuple(entry["name"] for entry in self.compiled.outputs)
        self.original = Original(model, self.adapter, self.form, names)
        self._hard_rows: dict[int, HardRows] = {}

    def engine(self, graph: bytes | None = None) -> ReferenceEngine:
        return ReferenceEngine(self.compiled, self.inputs, graph)

    def serving_engine(self, folder: Path) -> Engine:
        """The engine that serves, over an unpublished bundle in a folder."""
        signature = Signature.from_json({"inputs": self.inputs, "outputs": self.compiled.outputs})
        writer.write_graph(folder, self.compiled.to_bytes())
        manifest = writer.manifest(
            signature,
            [writer.graph_stage(self.compiled.stage)],
            frameworks={},
            environment={"python": "3.11", "platform": "test", "packages": {}},
            data=writer.describe_data(self.table),
            metrics={},
            tags={},
        )
        engine = _core.Engine(str(folder), runtime=runtime_library(), manifest=json.dumps(manifest))

        def score(rows: pa.Table) -> dict[str, np.ndarray]:
            answers = pa.table(engine.predict(rows))
            return {name: to_numpy(answers.column(name)) for name in answers.column_names}

        return score

    def hard_rows(self, least_rows: int) -> HardRows:
        """Rows made for this model, the same for every proof of it."""
        if least_rows not in self._hard_rows:
            far = not self.compiled.smooth
            self._hard_rows[least_rows] = make_hard_rows(
                self.inputs, self.table, self.compiled.splits, least_rows=least_rows, far=far
            )
        return self._hard_rows[least_rows]

    def prove(
        self, held_out: Any = None, *, graph: bytes | None = None, least_rows: int = 600, **options: Any
    ) -> Proof:
        rows = self.table if held_out is None else to_arrow(held_out)
        return prove(self.original, self.engine(graph), rows, self.hard_rows(least_rows), **options)

    def compare(self, held_out: Any = None, **options: Any) -> Proof:
        """As :meth:`prove`, but whether rows stand alone, which takes longer than all else, is not asked.

        ``tests/conformance/estimators`` asks it of every estimator.
        """
        return self.prove(held_out, row_wise=True, **options)


def assert_equal(
    model: Any,
    example: Any,
    held_out: Any = None,
    *,
    close: float = CLOSE,
    outputs: Sequence[str] | None = None,
    nullable: bool | Sequence[str] | None = None,
    most_refused: float = 0.9,
) -> Case:
    """Fails unless the compiled model answers as the original on held-out and hard rows."""
    case = Case(model, example, outputs=outputs, nullable=nullable)
    proof = case.compare(held_out, rtol=close, atol=close)
    proof.check()
    assert proof.label_mismatches == 0
    refused = proof.refused_by_original / max(proof.rows + proof.hard_rows, 1)
    assert refused <= most_refused, proof.refusals
    return case
