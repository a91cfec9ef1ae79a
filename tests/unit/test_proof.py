"""The proof's own rules: tolerances, NaN, refusals, golden rows, row by row, and how it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monorail.adapters import Adapter, Description, Form
from monorail.compile.hard_rows import make_hard_rows
from monorail.compile.proof import Original, Proof, golden_table, is_row_wise, prove
from monorail.errors import ProofError

INPUTS = [{"name": "x", "type": "float64", "nullable": False}, {"name": "word", "type": "string", "nullable": False}]
TABLE = pa.table({"x": np.arange(100.0), "word": ["even", "odd"] * 50})


class OwnAdapter(Adapter):
    """The model is a function from a data frame to answers."""

    framework = "test"

    def recognises(self, model: object) -> bool:
        return callable(model)

    def describe(self, model: Any) -> Description:
        return Description("classifier", ("label", "probability"), ("label", "probability"))

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: values for name, values in model(frame).items() if name in outputs}


def answers(frame: Any) -> dict[str, np.ndarray]:
    x = np.asarray(frame["x"], np.float64)
    share = 1 / (1 + np.abs(x))
    return {"label": (x > 50).astype(int), "probability": np.column_stack([share, 1 - share])}


def original(model: Callable[[Any], dict[str, np.ndarray]] = answers) -> Original:
    return Original(model, OwnAdapter(), Form("pandas"), ("label", "probability"))


def engine(table: pa.Table) -> dict[str, np.ndarray]:
    return answers(table.to_pandas())


def test_agreement() -> None:
    hard = make_hard_rows(INPUTS, TABLE, least_rows=0)
    seen: list[tuple[int, int]] = []
    proof = prove(
        original(), engine, TABLE, hard, chunk_rows=32, progress=lambda done, total: seen.append((done, total))
    )
    proof.check()
    total = 100 + len(hard.table)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)
    summary = proof.summary()
    assert summary | {"generators": None} == {
        "passed": True,
        "unproven": False,
        "rtol": 1e-6,
        "atol": 1e-9,
        "rows": 100,
        "hard_rows": len(hard.table),
        "label_mismatches": 0,
        "worst_difference": 0.0,
        "refused_by_original": 0,
        "generators": None,
    }
    assert summary["generators"] == hard.counts
    assert "passed" in str(proof)


@pytest.mark.parametrize(
    ("off", "passes"), [(5e-10, True), (2e-9, True), (2e-6, False), (np.nan, False), (np.inf, False)]
)
def test_tolerance(off: float, passes: bool) -> None:
    def shifted(table: pa.Table) -> dict[str, np.ndarray]:
        result = engine(table)
        result["probability"] = result["probability"].copy()
        result["probability"][np.asarray(table["x"]) == 1] += off
        return result

    proof = prove(original(), shifted, TABLE)
    assert proof.passed is passes
    if not passes:
        assert proof.worst[0].values["x"] == 1.0
        assert proof.failed_rows == 1
        with pytest.raises(ProofError, match=r"x=1\.0") as caught:
            proof.check()
        assert caught.value.code == "not_proven"


def test_changed_label_comes_first() -> None:
    def turned(table: pa.Table) -> dict[str, np.ndarray]:
        result = engine(table)
        result["label"] = np.where(np.asarray(table["x"]) == 77, 0, result["label"])
        return result

    proof = prove(original(), turned, TABLE)
    assert (proof.label_mismatches, proof.passed) == (1, False)
    assert proof.worst[0].label_changed
    assert proof.worst[0].values["x"] == 77.0
    assert "FAILED" in str(proof)


def test_nan_equals_nan_and_infinity_itself() -> None:
    def odd(frame: Any) -> dict[str, np.ndarray]:
        x = np.asarray(frame["x"], np.float64)
        return {"prediction": np.where(x % 3 == 0, np.nan, np.where(x % 3 == 1, np.inf, x))}

    same = Original(odd, OwnAdapter(), Form("pandas"), ("prediction",))
    proof = prove(same, lambda table: odd(table.to_pandas()), TABLE)
    assert proof.passed
    assert proof.worst_difference == 0.0


def test_refused_rows_are_found_left_out_and_counted() -> None:
    def picky(frame: Any) -> dict[str, np.ndarray]:
        if np.isin(np.asarray(frame["x"]), [13, 14, 57]).any():
            raise ValueError("unlucky")
        return answers(frame)

    def wrong_there(table: pa.Table) -> dict[str, np.ndarray]:
        result = engine(table)
        result["label"] = np.where(np.isin(np.asarray(table["x"]), [13, 14, 57]), 9, result["label"])
        return result

    proof = prove(original(picky), wrong_there, TABLE, chunk_rows=64)
    proof.check()
    assert proof.refused_by_original == 3
    assert proof.refusals == ["ValueError: unlucky"]
    everything = prove(original(lambda frame: 1 / 0), engine, TABLE)  # type: ignore[arg-type,return-value]
    assert not everything.passed
    assert everything.refused_by_original == 100


def test_golden_rows_hold_every_source_and_the_originals_answers() -> None:
    hard = make_hard_rows(INPUTS, TABLE, least_rows=0)
    proof = prove(original(), engine, TABLE, hard, golden_rows=40)
    golden = proof.golden
    assert golden is not None
    assert golden.column_names == ["input/x", "input/word", "output/label", "output/probability"]
    assert len(golden) == 40
    assert golden.schema.field("output/label").type == pa.int64()
    assert golden.schema.field("output/probability").type == pa.list_(pa.float64(), 2)
    assert "" in golden["input/word"].to_pylist()
    expected = answers({"x": golden["input/x"].to_numpy()})
    assert np.array_equal(np.stack(golden["output/probability"].to_pylist()), expected["probability"])
    assert prove(original(), engine, TABLE, golden_rows=0).golden is None
    again = prove(original(), engine, TABLE, hard, golden_rows=40).golden
    assert again is not None
    assert again.equals(golden)


def test_golden_types() -> None:
    rows = pa.table({"kind": pa.array(["a", "b"]).dictionary_encode()})
    table = golden_table(
        rows,
        {
            "label": np.asarray(["x", "y"], dtype=object),
            "a": np.asarray([True, False]),
            "b": np.asarray([1, 2], np.int32),
            "c": np.asarray([1, 2], np.uint8),
            "d": np.asarray([1, 2], np.float32),
        },
    )
    kinds = [pa.string(), pa.string(), pa.bool_(), pa.int32(), pa.int64(), pa.float32()]
    assert table.schema.types == kinds


def test_row_wise() -> None:
    def centred(frame: Any) -> dict[str, np.ndarray]:
        x = np.asarray(frame["x"], np.float64)
        return {"label": np.zeros(len(x), int), "probability": np.column_stack([x - x.mean(), x])}

    assert is_row_wise(original(), TABLE)
    assert not is_row_wise(original(centred), TABLE)
    assert "never shared" in str(Proof(1e-6, 1e-9, row_wise=False))


@pytest.mark.parametrize("known", [True, False])
def test_what_is_known_of_rows_is_not_asked(known: bool) -> None:
    asked: list[int] = []

    def counting(frame: Any) -> dict[str, np.ndarray]:
        asked.append(len(frame))
        return answers(frame)

    assert prove(original(counting), engine, TABLE, row_wise=known).row_wise == known
    assert 1 not in asked
    assert prove(original(counting), engine, TABLE).row_wise
    assert 1 in asked


def refusing(rows: Callable[[int], bool]) -> Any:
    def answer(frame: Any) -> dict[str, np.ndarray]:
        if rows(len(frame)):
            raise ValueError("not so many")
        return {"label": np.zeros(len(frame), int), "probability": np.asarray(frame["x"], np.float64)}

    return answer


def test_a_row_that_is_refused_alone_depends_on_its_company() -> None:
    assert not is_row_wise(original(refusing(lambda rows: rows < 4)), TABLE)


def test_rows_that_are_refused_anyway_do_not_hide_that_the_others_depend_on_each_other() -> None:
    def picky(frame: Any) -> dict[str, np.ndarray]:
        x = np.asarray(frame["x"], np.float64)
        if np.any(x == TABLE["x"][0].as_py()):
            raise ValueError("not this one")
        return {"label": np.zeros(len(x), int), "probability": x - x.mean()}

    assert not is_row_wise(original(picky), TABLE)
    # Nothing is known of a model that refuses every row.
    assert is_row_wise(original(refusing(lambda rows: True)), TABLE)


def test_golden_rows_of_a_model_whose_rows_depend_on_each_other_are_one_batch() -> None:
    def centred(frame: Any) -> dict[str, np.ndarray]:
        x = np.asarray(frame["x"], np.float64)
        return {"label": np.zeros(len(x), int), "probability": np.column_stack([x - x.mean(), x])}

    proof = prove(original(centred), lambda table: centred(table.to_pandas()), TABLE, golden_rows=10)
    assert proof.golden is not None
    rows = proof.golden["input/x"].to_numpy()
    kept = np.asarray(proof.golden["output/probability"].to_pylist())[:, 0]
    assert np.allclose(kept, rows - rows.mean())


def test_a_frame_that_cannot_be_made_is_not_a_refusal() -> None:
    class Broken(Form):
        def frame(self, table: pa.Table) -> Any:
            raise RuntimeError("our own fault")

    with pytest.raises(RuntimeError, match="our own fault"):
        prove(Original(answers, OwnAdapter(), Broken("pandas"), ("label",)), engine, TABLE)


def test_details_hold_different_rows() -> None:
    def wrong(table: pa.Table) -> dict[str, np.ndarray]:
        found = engine(table)
        return {**found, "label": 1 - found["label"]}

    table = pa.table({"x": np.repeat(np.arange(3.0), 10), "word": ["odd"] * 30})
    with pytest.raises(ProofError) as caught:
        prove(original(), wrong, table).check()
    got = [detail["got"] for detail in caught.value.details]
    assert len(got) == 3
    assert {text.rpartition(" for ")[2] for text in got} == {f"x={x}, word='odd'" for x in (0.0, 1.0, 2.0)}


def test_lists_beside_other_columns() -> None:
    import pandas as pd

    example = pd.DataFrame({"x": [1.0, 2.0], "point": [[1.0, 2.0], [3.0, 4.0]]})
    table = pa.table({"x": [1.0, 2.0], "point": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))})
    frame = Form.of(example, ("x", "point")).frame(table)
    assert frame["point"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_whole_numbers_are_compared_exactly_and_nan_labels_are_the_same() -> None:
    """Whatever an output is called; a plain class names its own."""

    def counted(frame: Any) -> dict[str, np.ndarray]:
        rows = np.arange(len(frame), dtype=np.int64) + 10**12
        return {"count": rows, "label": np.full(len(frame), np.nan)}

    def other(table: pa.Table) -> dict[str, np.ndarray]:
        made = counted(table.to_pandas())
        return made | {"count": made["count"] + 1}

    mine = Original(counted, OwnAdapter(), Form("pandas"), ("count", "label"))
    assert prove(mine, lambda table: counted(table.to_pandas()), TABLE).passed
    wrong = prove(mine, other, TABLE)
    assert wrong.label_mismatches == len(TABLE)
