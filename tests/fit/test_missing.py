"""Missing values that reach a last step which takes none are told early, with file, row and column."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightgbm import LGBMRegressor
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler, TargetEncoder

import monorail as mr
from monorail.errors import InputError
from monorail.fit.plan import Run

from ..support.learning import framed

ROWS = 5_000


def table(gap: int | None, *, null: bool = True, column: str = "b") -> pa.Table:
    """Rows, one of them with a gap."""
    random = np.random.default_rng(0)
    columns = {name: random.uniform(1, 2, ROWS) for name in "ab"}
    hole = np.arange(ROWS) == (-1 if gap is None else gap)
    held = columns[column]
    columns[column] = pa.array(held, mask=hole) if null else np.where(hole, np.nan, held)
    words = random.choice(["x", "y"], ROWS).tolist()
    return pa.table({**columns, "w": words, "y": random.integers(0, 2, ROWS)})


def folder(path: Path, rows: pa.Table) -> Path:
    """The rows in two files."""
    for number in range(2):
        pq.write_table(rows.slice(number * ROWS // 2, ROWS // 2), path / f"{number}.parquet")
    return path


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every pass that is begun."""
    begun: list[int] = []
    take = Run.take_pass

    def counted(run: Run, wanted: Any) -> Any:
        begun.append(1)
        return take(run, wanted)

    monkeypatch.setattr(Run, "take_pass", counted)
    return begun


def prepared(*steps: Any, names: list[str] | None = None) -> ColumnTransformer:
    return ColumnTransformer(
        [("numbers", make_pipeline(*steps) if steps else "passthrough", names or ["a", "b"])],
        verbose_feature_names_out=True,
    )


MODELS = [
    make_pipeline(prepared(StandardScaler()), LogisticRegression()),
    make_pipeline(prepared(), Ridge()),
    # Of three passes it is told in the first.
    make_pipeline(
        ColumnTransformer([("numbers", StandardScaler(), ["a", "b"]), ("words", TargetEncoder(), ["w"])]),
        MinMaxScaler(),
        SGDRegressor(),
    ),
    make_pipeline(
        ColumnTransformer([("words", OneHotEncoder(), ["w"]), ("numbers", "passthrough", ["a", "b"])]),
        LogisticRegression(),
    ),
    make_pipeline(prepared(StandardScaler()), GaussianNB()),
]


@pytest.mark.parametrize("null", [True, False], ids=["null", "NaN"])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model[-1]).__name__)
@pytest.mark.parametrize(("gap", "file", "row", "taken"), [(7, 0, 7, 0), (4_321, 1, 1_821, 1)], ids=["near", "far"])
def test_a_gap_that_no_step_fills_is_told_with_its_place(
    tmp_path: Path, passes: list[int], model: Any, null: bool, gap: int, file: int, row: int, taken: int
) -> None:
    data = folder(tmp_path, table(gap, null=null))
    with pytest.raises(InputError, match="`b` has missing values that reach") as told:
        mr.fit(model, data, target="y", quiet=True)
    assert told.value.code == "null_not_allowed"
    (detail,) = told.value.details
    assert detail["column"] == "b"
    assert detail["row"] == row
    assert detail["file"].startswith(str(tmp_path / f"{file}.parquet"))
    assert "`numbers__b`" in told.value.message
    assert len(passes) == taken


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(prepared(SimpleImputer(), StandardScaler()), Ridge()),
        # LightGBM takes gaps.
        make_pipeline(prepared(StandardScaler()), LGBMRegressor(n_estimators=2, verbosity=-1)),
        # The column is dropped.
        make_pipeline(prepared(StandardScaler(), names=["a"]), Ridge()),
        make_pipeline(prepared(FunctionTransformer(np.nan_to_num)), Ridge()),
    ],
)
@pytest.mark.parametrize("gap", [7, 4_321])
def test_a_gap_that_is_filled_or_taken_is_no_fault(tmp_path: Path, model: Any, gap: int) -> None:
    rows = table(gap)
    fitted = mr.fit(model, folder(tmp_path, rows), target="y", quiet=True)
    assert np.isfinite(fitted.predict(framed(rows))).all()


@pytest.mark.parametrize("learner", [Ridge(), LogisticRegression()], ids=["read once", "kept"])
def test_what_a_step_makes_of_a_value_is_told_with_file_row_and_feature(tmp_path: Path, learner: Any) -> None:
    rows = table(None)
    below = np.where(np.arange(ROWS) == 4_321, -1.0, rows["b"].to_numpy())
    data = folder(tmp_path, rows.set_column(1, "b", pa.array(below)))
    log = FunctionTransformer(np.log, feature_names_out="one-to-one")
    with pytest.raises(InputError, match="a value is missing") as told:
        mr.fit(make_pipeline(prepared(log), learner), data, target="y", quiet=True)
    (detail,) = told.value.details
    assert (detail["row"], detail["column"]) == (1_821, "numbers__b")
    assert detail["file"].startswith(str(tmp_path / "1.parquet"))
    assert detail["path"] == f"pipeline.{type(learner).__name__.lower()}"


def test_of_several_columns_the_one_whose_gaps_come_through_is_named() -> None:
    rows = table(7, column="a")
    gaps = pa.array(rows["b"].to_numpy(), mask=np.arange(ROWS) == 9)
    model = make_pipeline(
        ColumnTransformer([("filled", SimpleImputer(), ["a"]), ("kept", StandardScaler(), ["b"])]), Ridge()
    )
    with pytest.raises(InputError, match="`b` has missing values that reach `Ridge`, as `kept__b`") as told:
        mr.fit(model, rows.set_column(1, "b", gaps), target="y", quiet=True)
    assert told.value.details[0]["row"] == 9


def test_a_column_whose_first_rows_are_all_missing_is_named() -> None:
    late = pa.array(np.ones(ROWS), mask=np.arange(ROWS) < 2_000)
    with pytest.raises(InputError, match="`b` has missing values that reach `Ridge`"):
        mr.fit(Ridge(), table(None).drop_columns(["w"]).set_column(1, "b", late), target="y", quiet=True)
