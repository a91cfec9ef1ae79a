"""Saves an estimator, answers rows that nobody fitted on, and says how that went."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tests.conformance.estimators.recipes import recipe

import monorail as mr
from monorail.adapters import Form, find_adapter
from monorail.data import to_arrow, to_numpy
from monorail.errors import MonorailError

CLOSE = 1e-9
TABLE = Path(__file__).with_name("outcomes.json")
"""What was found when the table was last written; the page in the documentation is made from it."""
TOGETHER = ("MiniBatchNMF", "NMF")
"""Estimators whose answer for a row depends on the rows beside it, so that a batch is never shared."""


@dataclass(frozen=True)
class Outcome:
    """How an estimator is served.

    Attributes:
        kind: classifier, regressor and so on.
        engine: "native", "mixed", "worker", or "refused" where it cannot be saved.
        differs: the first power of ten above the worst difference; 0 where all answers are equal.
        reason: why it is not native.
    """

    kind: str
    engine: str
    differs: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Saved:
    """A saved estimator with held-out rows and the original's answers for them."""

    outcome: Outcome
    rows: pa.Table | None = None
    expected: dict[str, np.ndarray] | None = None


def save(name: str, registry: Path) -> Saved:
    """Fits and saves an estimator, and compares the loaded model with it on held-out rows.

    Raises:
        AssertionError: an answer differs, or rows are taken to stand alone where they do not, or the other way round.
    """
    made = recipe(name)
    adapter = find_adapter(made.model)
    described = adapter.describe(made.model)
    form = Form.of(made.example, described.feature_names, described.takes)
    try:
        version = mr.save(
            made.model,
            name,
            example=made.example,
            registry=registry,
            rtol=CLOSE,
            atol=CLOSE,
            golden_rows=8,
            quiet=True,
        )
    except MonorailError as error:
        return Saved(Outcome(described.kind, "refused", 0.0, error.message))
    assert version.manifest["row_wise"] == (name not in TOGETHER), f"{name}: do its rows stand alone?"
    rows = to_arrow(made.held_out)
    outputs = [output.name for output in version.signature.outputs]
    expected = adapter.answers(made.model, form.frame(rows), outputs)
    if version.engine != "native":
        return Saved(Outcome(described.kind, version.engine, 0.0, reason(version)), rows, expected)
    kept = set(version.manifest["files"])
    assert kept == {"graph.onnx", "golden.arrow"}, f"{name} is native, and keeps {sorted(kept)}"
    model = mr.load(f"{name}@{version.version}", registry=registry)
    worst = compare(name, model.predict(rows), expected)
    return Saved(Outcome(described.kind, "native", _power(worst)), rows, expected)


def reason(version: Any) -> str:
    """Why a version is not native, as its bundle says."""
    return next(stage["reason"] for stage in version.manifest["stages"] if stage["engine"] == "worker")


def compare(name: str, answers: pa.Table, expected: dict[str, np.ndarray]) -> float:
    """The worst difference between answers and the original's.

    Raises:
        AssertionError: a label, a word, a type or a shape differs, or a number by more than is allowed.
    """
    worst = 0.0
    for output, wanted in expected.items():
        got = to_numpy(answers.column(output))
        wanted = wanted.reshape(got.shape)
        if wanted.dtype.kind not in "OUS":
            assert got.dtype == wanted.dtype, f"{name}: `{output}` is {got.dtype} and was {wanted.dtype}"
        if wanted.dtype.kind != "f":
            assert np.array_equal(got.astype(wanted.dtype), wanted), f"{name}: `{output}` differs"
            continue
        apart = np.abs(got - wanted)
        assert np.array_equal(np.isnan(got), np.isnan(wanted)), f"{name}: `{output}` is missing elsewhere"
        assert np.nanmax(apart - CLOSE * np.abs(wanted), initial=0.0) <= CLOSE, f"{name}: `{output}` by {apart.max()}"
        worst = max(worst, float(np.nanmax(apart, initial=0.0)))
    return worst


def _power(worst: float) -> float:
    return 0.0 if worst == 0 else float(10.0 ** np.ceil(np.log10(worst)))


def listed() -> dict[str, Outcome]:
    """The table as it was last written."""
    if not TABLE.exists():
        return {}
    return {name: Outcome(**entry) for name, entry in json.loads(TABLE.read_text()).items()}


def write(found: dict[str, Outcome]) -> None:
    """Puts these outcomes into the table; the others stay."""
    whole = {**listed(), **found}
    lines = [f"{json.dumps(name)}: {json.dumps(asdict(whole[name]), ensure_ascii=False)}" for name in sorted(whole)]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
