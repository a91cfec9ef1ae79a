"""Pipelines fitted in passes are those that scikit-learn fits on the same rows in memory."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

import monorail as mr
from monorail.data.sources import tables
from monorail.errors import FitError, InputError, MonorailError

from ..support.learning import framed, same_attributes

WORDS = ["ant", "bee", "cat", "dog", "eel"]


def made_table(rows: int, seed: int, *, gaps: bool = True) -> pa.Table:
    """Columns of several kinds: floats, whole numbers, text, truths, a target and weights."""
    random = np.random.default_rng(seed)

    def holed(values: Any) -> pa.Array:
        return pa.array(values, mask=random.random(rows) < 0.1 if gaps else None)

    a, b = random.normal(size=rows), random.normal(100, 7, size=rows)
    return pa.table(
        {
            "a": holed(a),
            "b": pa.array(b),
            "i": holed(random.integers(-5, 50, rows)),
            "s": holed(random.choice(WORDS, rows, p=[0.5, 0.3, 0.15, 0.04, 0.01])),
            "t": pa.array(random.choice(WORDS[:3], rows)),
            "f": pa.array(random.random(rows) < 0.3),
            "y": pa.array(a + 0.1 * b + random.normal(size=rows)),
            "w": pa.array(random.uniform(0.5, 2, rows)),
        }
    )


def features(table: pa.Table, *leave: str) -> pd.DataFrame:
    """The features as a frame."""
    return framed(table.drop_columns(list(leave) or ["y", "w"]))


def streamed(model: Any, data: Any, **options: Any) -> Any:
    """The model fitted in passes, without its report."""
    fitted = mr.fit(model, data, quiet=True, **options)
    assert fitted.fit_report_.rows > 0
    del fitted.fit_report_
    return fitted


def in_memory(model: Any, X: Any, y: Any = None) -> Any:
    """The model fitted by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(model).fit(X) if y is None else clone(model).fit(X, y)


def read_by(model: Pipeline, table: pa.Table) -> pd.DataFrame:
    """The columns that a pipeline reads, in the data's order: all but those that its first step has no word of."""
    prepare = model.steps[0][1]
    named = [name for _, _, columns in prepare.transformers for name in columns]
    kept = [name for name in table.column_names if prepare.remainder != "drop" or name in named]
    return framed(table.select(kept))


NUMBERS = st.sampled_from(
    [
        StandardScaler(),
        MinMaxScaler(),
        make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
        make_pipeline(SimpleImputer(), MaxAbsScaler(), VarianceThreshold()),
        FeatureUnion([("scale", StandardScaler()), ("large", MaxAbsScaler())], transformer_weights={"large": 3.0}),
        RobustScaler(),
        "passthrough",
        "drop",
    ]
)
TEXTS = st.sampled_from(
    [
        OneHotEncoder(),
        OneHotEncoder(min_frequency=0.1, handle_unknown="infrequent_if_exist", sparse_output=False),
        OrdinalEncoder(encoded_missing_value=-1),
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first")),
    ]
)
BEHIND = st.sampled_from(
    [
        None,
        make_pipeline(MaxAbsScaler()),
        make_pipeline(SimpleImputer(), StandardScaler(with_mean=False)),
        ColumnTransformer([("first", MaxAbsScaler(), [0]), ("rest", "passthrough", slice(1, None))]),
    ]
)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """A pipeline of steps that are fitted in passes, two to four passes deep."""
    numbers, texts = draw(NUMBERS), draw(TEXTS)
    remainder = draw(st.sampled_from(["drop", "passthrough", StandardScaler()]))
    columns: Any = draw(st.sampled_from([["a", "b", "i"], ["b"], ["i", "a"]]))
    prepare = ColumnTransformer(
        [("numbers", numbers, columns), ("texts", texts, ["t", "s"]), ("truths", "passthrough", ["f"])],
        remainder=remainder,
        sparse_threshold=draw(st.sampled_from([0.0, 0.3, 0.6, 1.0])),
        verbose_feature_names_out=draw(st.booleans()),
    )
    steps: list[tuple[str, Any]] = [("prepare", prepare)]
    if (behind := draw(BEHIND)) is not None:
        steps.append(("behind", behind))
    return Pipeline(steps)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pipelines(), st.integers(2, 300), st.integers(0, 99), st.booleans(), st.integers(1, 3), st.integers(1, 400))
def test_random_pipelines_learn_the_same(
    model: Pipeline, rows: int, seed: int, gaps: bool, workers: int, cut: int
) -> None:
    table = made_table(rows, seed, gaps=gaps).drop_columns(["y", "w"])
    parts = [table.slice(first, cut) for first in range(0, rows, cut)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FRAGMENT_ROWS", 97)
        try:
            expected = in_memory(model, read_by(model, table))
        except (ValueError, TypeError):
            with pytest.raises((MonorailError, ValueError, TypeError)):
                streamed(model, pa.concat_tables(parts), workers=workers)
            return
        learnt = streamed(model, pa.concat_tables(parts), workers=workers)
    same_attributes(learnt, expected, 1e-9, atol=1e-12)


def prepared(*more: Any) -> Pipeline:
    """Scaled numbers and encoded words, and what comes behind them."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepare = ColumnTransformer([("numbers", numbers, ["a", "b", "i"]), ("words", OneHotEncoder(), ["s", "t"])])
    return Pipeline([("prepare", prepare), *more])


class Doubler(TransformerMixin, BaseEstimator):
    """A step of the user's own, which nobody knows how to fit in passes."""

    def fit(self, X: Any, y: Any = None) -> Doubler:
        self.least_ = float(np.nanmin(np.asarray(X, float)))
        return self

    def transform(self, X: Any) -> Any:
        return np.asarray(X, float) * 2 - self.least_


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Rows in 13 row groups."""
    return made_table(2_500, 7)


@pytest.fixture(scope="module")
def file(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in a file."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(table, path, row_group_size=200)
    return path


def test_the_argument_is_not_changed_and_the_report_says_how(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = prepared(("model", LinearRegression()))
    fitted = mr.fit(model, file, target="y")
    assert type(fitted) is Pipeline
    assert not hasattr(model["prepare"], "transformers_")
    report = fitted.fit_report_
    assert report.rows == 2_500
    assert [(step.path, step.how) for step in report.steps] == [
        ("pipeline.prepare.numbers.simpleimputer", "streamed"),
        ("pipeline.prepare.numbers.standardscaler", "streamed"),
        ("pipeline.prepare.words", "streamed"),
        ("pipeline.model", "streamed"),
    ]
    assert report.nullable == ("a", "i", "s")
    assert report.example.num_rows == 1_000
    assert report.seen["s"]["distinct"] == 5
    assert str(report).startswith("2,500 rows, 3 passes")
    assert "pass 1" in capsys.readouterr().err


def test_predictions_are_those_of_the_pipeline_fitted_in_memory(file: Path, table: pa.Table) -> None:
    model = prepared(("model", LinearRegression()))
    X = features(table)[["a", "b", "i", "s", "t"]]
    fitted = streamed(model, file, target="y")
    np.testing.assert_allclose(fitted.predict(X), in_memory(model, X, framed(table)["y"]).predict(X), rtol=1e-9)


def test_refusals_come_before_the_first_pass_and_name_every_step(table: pa.Table) -> None:
    model = Pipeline(
        [
            ("prepare", ColumnTransformer([("mine", Doubler(), ["a"]), ("words", OneHotEncoder(), ["t"])])),
            ("model", RandomForestClassifier()),
        ]
    )
    with pytest.raises(FitError, match=r"pipeline\.prepare\.mine") as refused:
        mr.fit(model, table, target="y", quiet=True)
    assert refused.value.code == "cannot_fit"
    assert [place["path"] for place in refused.value.details] == ["pipeline.prepare.mine", "pipeline.model"]
    assert "sample_rows=" in (refused.value.hint or "")


def test_what_cannot_be_streamed_is_fitted_on_a_uniform_sample(table: pa.Table) -> None:
    model = Pipeline(
        [
            ("prepare", ColumnTransformer([("mine", Doubler(), ["b"]), ("numbers", StandardScaler(), ["b"])])),
            ("model", RandomForestClassifier(n_estimators=3, random_state=0)),
        ]
    )
    fitted = mr.fit(model, table, target="f", sample_rows={"prepare.mine": 700, "model": 10_000}, quiet=True)
    how = {step.path: (step.how, step.rows) for step in fitted.fit_report_.steps}
    assert how["pipeline.prepare.mine"] == ("sampled", 700)
    assert how["pipeline.model"] == ("in memory", 2_500)
    again = mr.fit(model, table, target="f", sample_rows=700, quiet=True, workers=1)
    assert again["prepare"].named_transformers_["mine"].least_ == fitted["prepare"].named_transformers_["mine"].least_
    assert again.fit_report_.steps[-1].how == "sampled"


def test_in_memory_on_all_rows_is_plain_fit(table: pa.Table) -> None:
    forest = RandomForestClassifier(n_estimators=5, random_state=0)
    model = prepared(("model", forest))
    X = features(table)[["a", "b", "i", "s", "t"]]
    fitted = streamed(model, table, target="f", sample_rows=5_000)
    expected = in_memory(model, X, framed(table)["f"])
    np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))


def test_weights_reach_the_last_step(table: pa.Table) -> None:
    model = prepared(("model", LinearRegression()))
    X, frame = features(table)[["a", "b", "i", "s", "t"]], framed(table)
    fitted = streamed(model, table, target="y", sample_weight="w")
    expected = clone(model).fit(X, frame["y"], model__sample_weight=frame["w"])
    np.testing.assert_allclose(fitted.predict(X), expected.predict(X), rtol=1e-8)


def test_columns_by_selector_mask_slice_and_position(table: pa.Table) -> None:
    X = features(table)
    floats = make_column_selector(dtype_include="float64")
    mask = [name in ("s", "t") for name in X.columns]
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder())
    for columns in (floats, slice(0, 2), [0, -5]):
        model = Pipeline(
            [("prepare", ColumnTransformer([("numbers", MinMaxScaler(), columns), ("words", words, mask)]))]
        )
        learnt, expected = streamed(model, table.drop_columns(["y", "w"])), in_memory(model, X)
        np.testing.assert_array_equal(learnt.transform(X), expected.transform(X))
        assert list(learnt.get_feature_names_out()) == list(expected.get_feature_names_out())


def test_whole_numbers_with_a_late_null_are_floats_as_in_pandas() -> None:
    # The only null is behind the rows that plans are made on.
    table = pa.table({"i": pa.array([*range(1_500), None]), "k": range(1_501), "f": [True, False, True] * 500 + [None]})
    model = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), make_column_selector(dtype_include="float64")),
            ("whole", StandardScaler(), make_column_selector(dtype_include="int64")),
        ]
    )
    same_attributes(streamed(model, table), in_memory(model, framed(table)), 1e-12, skip=["transformers"])


def test_target_encoding_is_cross_fitted_for_the_steps_behind_it(table: pa.Table) -> None:
    encode = ColumnTransformer([("words", TargetEncoder(random_state=0), ["s", "t"]), ("b", "passthrough", ["b"])])
    model = Pipeline([("encode", encode), ("scale", StandardScaler()), ("model", LinearRegression())])
    frame = framed(table)
    X = frame[["b", "s", "t"]]
    learnt, expected = streamed(model, table, target="y"), in_memory(model, X, frame["y"])
    np.testing.assert_allclose(learnt["scale"].scale_, expected["scale"].scale_, rtol=1e-9)
    np.testing.assert_allclose(learnt.predict(X), expected.predict(X), rtol=1e-8)


def test_frozen_steps_and_functions_stay(table: pa.Table) -> None:
    X = framed(table)[["a", "b"]]
    frozen = FrozenEstimator(StandardScaler().fit(X * 3))
    model = make_pipeline(frozen, FunctionTransformer(np.abs), PCA(n_components=1))
    data = table.select(["b", "a"]).select(["a", "b"]).drop_null()
    learnt, expected = streamed(model, data), in_memory(model, framed(data))
    np.testing.assert_allclose(learnt.transform(X.dropna()), expected.transform(X.dropna()), rtol=1e-8, atol=1e-10)


def test_text_reaches_a_vectorizer_as_one_column() -> None:
    texts = pa.table({"text": ["the cat sat", "a dog ran", "the dog sat", "a cat"] * 300, "n": range(1_200)})
    model = ColumnTransformer([("text", TfidfVectorizer(), "text"), ("n", StandardScaler(), ["n"])])
    learnt, expected = streamed(model, texts), in_memory(model, framed(texts))
    same_attributes(learnt, expected, 1e-10)


def test_frames_between_steps(table: pa.Table) -> None:
    model = prepared()
    model.steps[0][1].set_params(words=OneHotEncoder(sparse_output=False))
    model = make_pipeline(*[step for _, step in model.steps], MinMaxScaler()).set_output(transform="pandas")
    X = features(table)[["a", "b", "i", "s", "t"]]
    learnt, expected = streamed(model, table.select(list(X.columns))), in_memory(model, X)
    pd.testing.assert_frame_equal(learnt.transform(X), expected.transform(X))
    assert list(learnt[-1].feature_names_in_) == list(expected[-1].feature_names_in_)


def test_filters_and_unknown_row_counts(table: pa.Table, file: Path) -> None:
    model = prepared(("model", LinearRegression()))
    kept = table.filter(pa.compute.greater(table["b"], 100))  # type: ignore[attr-defined]
    learnt = mr.fit(model, file, target="y", filters=[("b", ">", 100)], quiet=True)
    assert learnt.fit_report_.rows == len(kept)
    X = features(kept)[["a", "b", "i", "s", "t"]]
    np.testing.assert_allclose(learnt.predict(X), in_memory(model, X, framed(kept)["y"]).predict(X), rtol=1e-8)


def test_estimators_without_a_pipeline(table: pa.Table) -> None:
    numbers = table.select(["b", "y", "w"])
    learnt = streamed(LinearRegression(), numbers, target="y")
    assert list(learnt.feature_names_in_) == ["b", "w"]
    scaler = streamed(StandardScaler(), numbers)
    same_attributes(scaler, StandardScaler().fit(framed(numbers)))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"target": "nothing"}, "missing_column", "nothing"),
        ({"target": "a"}, "cannot_fit", "a feature too"),
        ({"target": "y", "sample_weight": "none"}, "missing_column", "none"),
        ({"target": "y", "filters": [("b", "<", -1e9)]}, "cannot_fit", "no rows"),
        ({"target": "y", "sample_rows": {"modle": 5}}, "malformed_request", "modle"),
        ({"target": "y", "sample_rows": 0}, "out_of_range", "sample_rows"),
    ],
)
def test_what_is_asked_wrongly_is_told(table: pa.Table, options: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(MonorailError, match=words) as told:
        mr.fit(prepared(("model", LinearRegression())), table, quiet=True, **options)
    assert told.value.code == code


def test_a_null_in_the_target_names_column_and_file(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "gaps.parquet"
    pq.write_table(table.select(["b", "t", "a"]), path)
    model = ColumnTransformer([("numbers", StandardScaler(), ["b"])])
    with pytest.raises(FitError, match="`a` is null") as told:
        mr.fit(make_pipeline(model, LinearRegression()), path, target="a", quiet=True)
    assert told.value.details[0]["column"] == "a"
    assert str(path) in told.value.details[0]["file"]


def test_a_column_that_is_not_there_is_told_before_any_pass(table: pa.Table) -> None:
    model = ColumnTransformer([("numbers", StandardScaler(), ["b", "missing"])])
    with pytest.raises(InputError, match="missing") as told:
        mr.fit(model, table, quiet=True)
    assert told.value.code == "missing_column"


def test_what_a_step_says_of_the_rows_names_it(table: pa.Table) -> None:
    def refuse(values: Any) -> Any:
        if len(values) != 1_000:
            raise ValueError("not these")
        return np.frombuffer(np.ascontiguousarray(values).tobytes()).reshape(np.shape(values))

    model = make_pipeline(FunctionTransformer(refuse), StandardScaler())
    with pytest.raises(FitError, match="`FunctionTransformer` cannot transform these rows: not these") as told:
        mr.fit(model, table.select(["b", "y"]), quiet=True)
    assert told.value.details[0]["file"].startswith("table")
    forest = RandomForestClassifier(n_estimators=2, ccp_alpha=-1)
    with pytest.raises(FitError, match=r"`pipeline\.model` cannot be fitted") as told:
        mr.fit(prepared(("model", forest)), table, target="f", sample_rows=100, quiet=True)
    assert told.value.details[0]["path"] == "pipeline.model"
    with pytest.raises(InputError, match="no estimator"):
        mr.fit("flights", table)


def test_steps_that_train_in_the_middle(table: pa.Table) -> None:
    numbers = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "i"])])
    model = make_pipeline(numbers, IncrementalPCA(2), LinearRegression())
    X, y = framed(table)[["a", "b", "i"]], framed(table)["y"]
    learnt, expected = streamed(model, table, target="y"), in_memory(model, X, y)
    np.testing.assert_allclose(learnt.predict(X), expected.predict(X), rtol=1e-8)


def test_several_targets(table: pa.Table) -> None:
    data = table.select(["b", "f", "y", "w"])
    learnt = streamed(LinearRegression(), data, target=["y", "w"])
    expected = LinearRegression().fit(framed(data)[["b", "f"]], framed(data)[["y", "w"]])
    np.testing.assert_allclose(learnt.coef_, expected.coef_, rtol=1e-8)


def test_rows_kept_for_many_passes_are_those_that_were_read(table: pa.Table) -> None:
    data = table.select(["b", "s", "t", "f", "w"])
    for prepare in (OneHotEncoder(), OneHotEncoder(sparse_output=False)):
        columns = ColumnTransformer([("words", prepare, ["s", "t"])], sparse_threshold=1.0)
        model = make_pipeline(columns, LogisticRegression())
        learnt = streamed(model, data, target="f", sample_weight="w", workers=2)
        X, frame = framed(data)[["s", "t"]], framed(data)
        expected = clone(model).fit(X, frame["f"], logisticregression__sample_weight=frame["w"])
        np.testing.assert_allclose(learnt[-1].coef_, expected[-1].coef_, rtol=1e-4, atol=1e-5)
