"""``mr.spark.score`` on a real Spark: the answers of the engine, rows kept with theirs, faults that name the column."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import monorail as mr
from monorail.score.spark import _archive_folder

# Spark warns of pandas 3, which these tests do not use on its side.
pytestmark = [
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'monorail[spark]'")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A session with two cores, each with a Python worker of its own."""
    from pyspark.sql import SparkSession

    patch = pytest.MonkeyPatch()
    patch.setenv("PYSPARK_PYTHON", sys.executable)
    patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    quiet = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": "512m",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    }
    builder = SparkSession.builder.master("local[2]")  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in quiet.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()
    patch.undo()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows with an id of their own, nulls and words."""
    random = np.random.default_rng(1)
    count = 5_000
    return pd.DataFrame(
        {
            "row.id": np.arange(count),
            "dep": np.where(random.random(count) < 0.1, np.nan, random.normal(size=count)),
            "carrier": random.choice(["UA", "B6", "DL", "never seen"], count),
        }
    )


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> Any:
    """A classifier over two of the columns."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    seen = rows[rows.carrier != "never seen"]
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["dep"]),
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
    )
    late = (seen.dep.fillna(0) + (seen.carrier == "UA") > 0.5).map({True: "late", False: "ok"})
    return make_pipeline(columns, LogisticRegression()).fit(seen[["dep", "carrier"]], late)


@pytest.fixture
def saved(model: Any, rows: pd.DataFrame) -> mr.Version:
    return mr.save(model, "flights", example=rows[["dep", "carrier"]].head(300), quiet=True)


def frame_of(spark: Any, rows: pd.DataFrame) -> Any:
    return spark.createDataFrame(pa.Table.from_pandas(rows)).repartition(3)


def test_answers_are_the_originals_beside_the_columns_kept(spark, rows, model, saved):
    scored = mr.spark.score(frame_of(spark, rows), "flights@1", columns=["row.id"])
    assert scored.columns == ["row.id", "label", "probability"]
    table = scored.toArrow().sort_by("row.id")
    assert table["row.id"].to_pylist() == rows["row.id"].tolist()
    asked = rows[["dep", "carrier"]]
    assert table["label"].to_pylist() == model.predict(asked).tolist()
    probability = np.array(table["probability"].to_pylist())
    np.testing.assert_allclose(probability, model.predict_proba(asked), rtol=1e-9, atol=1e-12)


def test_all_columns_are_kept_unless_some_are_named(spark, rows, saved):
    frame = frame_of(spark, rows.head(10))
    assert mr.spark.score(frame, "flights").columns == ["row.id", "dep", "carrier", "label", "probability"]
    assert mr.spark.score(frame, "flights", columns=[]).columns == ["label", "probability"]


def test_a_worker_loads_the_model_once_and_no_framework(spark, rows, saved):
    def loads(batches):
        for _ in batches:
            pass
        import os

        from monorail.score.spark import _loaded

        found = sorted({"sklearn", "lightgbm"} & set(sys.modules))
        yield pa.RecordBatch.from_pydict(
            {"worker": [os.getpid()], "loads": [_loaded.cache_info().misses], "modules": [" ".join(found)]}
        )

    # Twelve partitions of several batches each, in whichever Python workers Spark takes.
    frame = mr.spark.score(frame_of(spark, rows).repartition(12), "flights").select("label")
    found = frame.mapInArrow(loads, "worker long, loads long, modules string").collect()
    assert {row.modules for row in found} == {""}
    bundles = len(list(_archive_folder().iterdir()))
    assert 0 < max(row.loads for row in found) <= bundles < len(found)


def test_a_frame_that_does_not_go_with_the_signature_is_refused_before_any_job(spark, rows, saved):
    frame = frame_of(spark, rows.head(10))
    with pytest.raises(mr.errors.InputError, match="carrier is missing"):
        mr.spark.score(frame.drop("carrier"), "flights")
    with pytest.raises(mr.errors.InputError, match="dep"):
        mr.spark.score(frame.withColumn("dep", frame.carrier), "flights")
    with pytest.raises(mr.errors.InputError, match="unknown"):
        mr.spark.score(frame, "flights", unknown_columns="refuse")
    with pytest.raises(mr.errors.InputError, match="'nobody' is to be passed through"):
        mr.spark.score(frame, "flights", columns=["nobody"])
    with pytest.raises(mr.errors.InputError, match="'label' is passed through, and is also"):
        mr.spark.score(frame.withColumnRenamed("row.id", "label"), "flights")
    with pytest.raises(mr.errors.InputError, match="'dep' is in the data twice"):
        mr.spark.score(frame.select("*", "dep"), "flights")
    assert mr.spark.score(frame, "flights", columns=["dep", "dep"]).columns == ["dep", "label", "probability"]


def test_a_row_that_breaks_the_signature_fails_the_job_with_column_and_code(spark, rows, saved):
    bad = rows.assign(carrier=rows.carrier.where(rows["row.id"] != 4_321, None))
    with pytest.raises(Exception, match=r"null_not_allowed|column 'carrier'"):
        mr.spark.score(frame_of(spark, bad), "flights").count()


def test_no_rows_give_no_rows(spark, rows, saved):
    assert mr.spark.score(frame_of(spark, rows).filter("dep > 1000"), "flights").toArrow().num_rows == 0


def test_arrays_are_tensors(spark):
    from sklearn.linear_model import LinearRegression

    matrix = np.random.default_rng(2).normal(size=(200, 3))
    fitted = LinearRegression().fit(matrix, matrix @ [1.0, 2.0, 3.0])
    mr.save(fitted, "matrix", example=matrix, quiet=True)
    frame = spark.createDataFrame([(row,) for row in matrix.tolist()], "input array<double>")
    scored = mr.spark.score(frame, "matrix").toArrow()
    np.testing.assert_allclose(
        scored["prediction"].to_numpy(), fitted.predict(np.array(scored["input"].to_pylist())), rtol=1e-9
    )
    short = spark.createDataFrame([([1.0, 2.0],)], "input array<double>")
    with pytest.raises(Exception, match="input"):
        mr.spark.score(short, "matrix").count()


def test_a_model_in_python_is_refused(spark, rows):
    class Doubled:
        def predict(self, frame: pd.DataFrame):
            return frame["dep"].fillna(0) * 2

    mr.save(Doubled(), "doubled", example=rows[["dep"]].head(20), quiet=True)
    with pytest.raises(mr.errors.CompileError, match="Python processes"):
        mr.spark.score(frame_of(spark, rows.head(10)), "doubled")
