"""Vectorizers fitted in passes are those that scikit-learn fits: the same vocabulary in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

import monorail as mr
from monorail.errors import FitError, InputError
from monorail.fit.sklearn import text

from ..support.learning import Refused, fit_streamed, fitted, learner_of, same_attributes

SPLITS = st.integers(1, 4)
SEEDS = st.integers(0, 1_000)
WORDS = ("the", "The", "cat", "dog", "caf\u00e9", "sat", "on", "mat", "a", "x1", "\u00dcber", "und", "zz", "yy", "ww")

COUNTING = {
    "min_df": st.sampled_from([1, 1, 2, 0.1]),
    "max_df": st.sampled_from([1.0, 0.5, 5]),
    "max_features": st.sampled_from([None, 1, 4, 9]),
    "binary": st.booleans(),
    "ngram_range": st.sampled_from([(1, 1), (1, 2)]),
    "analyzer": st.sampled_from(["word", "word", "char", "char_wb"]),
    "lowercase": st.booleans(),
    "strip_accents": st.sampled_from([None, "unicode"]),
    "dtype": st.sampled_from([np.int64, np.int32, np.float64, np.float32]),
}
WEIGHING = {
    **COUNTING,
    "dtype": st.sampled_from([np.float64, np.float32]),
    "use_idf": st.booleans(),
    "smooth_idf": st.booleans(),
    "sublinear_tf": st.booleans(),
    "norm": st.sampled_from(["l2", None]),
}


@st.composite
def documents(draw: Any) -> pa.Table:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(1, 40))
    lengths = random.integers(0, 8, rows)
    texts = [" ".join(WORDS[min(int(place), 14)] for place in random.geometric(0.2, length) - 1) for length in lengths]
    return pa.table({"text": texts})


def compare(step: Any, table: pa.Table, splits: int = 3, seed: int = 0, **how: Any) -> None:
    """Both learn the same from one column of text, or both refuse."""
    try:
        expected: Any = clone(step)
        expected.fit(table["text"].to_pylist())
    except ValueError:
        with pytest.raises((FitError, Refused)):
            fit_streamed(step, table, splits, seed=seed)
        return
    # Under which address its list of stop words was looked at last.
    skip = ("_stop_words_id",)
    same_attributes(fit_streamed(step, table, splits, seed=seed, **how), expected, 0.0, skip=skip)


@settings(max_examples=120)
@given(documents(), st.fixed_dictionaries(COUNTING), SPLITS, SEEDS)
def test_count_vectorizer(table: pa.Table, parameters: dict[str, Any], splits: int, seed: int) -> None:
    compare(CountVectorizer(**parameters), table, splits, seed, passes=1)


@settings(max_examples=120)
@given(documents(), st.fixed_dictionaries(WEIGHING), SPLITS, SEEDS)
def test_tfidf_vectorizer(table: pa.Table, parameters: dict[str, Any], splits: int, seed: int) -> None:
    compare(TfidfVectorizer(**parameters), table, splits, seed, passes=1)


TEXTS = pa.table({"text": ["the cat sat", "on the mat", "", "a Dog", "the the cat"] * 3})


@pytest.mark.parametrize("vocabulary", [["the", "cat", "cow"], {"mat": 1, "the": 0}, ["a", "a"], []])
def test_given_vocabularies(vocabulary: Any) -> None:
    compare(CountVectorizer(vocabulary=vocabulary), TEXTS, passes=0)
    compare(TfidfVectorizer(vocabulary=vocabulary), TEXTS, passes=1)
    compare(TfidfVectorizer(vocabulary=vocabulary, use_idf=False), TEXTS, passes=0)


@pytest.mark.parametrize(
    "parameters",
    [
        {"stop_words": ["the", "on"]},
        {"token_pattern": r"(?u)\b\w+\b"},
        {"tokenizer": str.split, "token_pattern": None},
        {"preprocessor": str.upper, "lowercase": False},
        {"analyzer": str.split},
        {"min_df": 100},
        {"max_df": 1, "min_df": 2},
        {"ngram_range": (2, 1)},
        {"max_features": 0},
    ],
)
def test_other_parameters(parameters: dict[str, Any]) -> None:
    compare(CountVectorizer(**parameters), TEXTS)
    compare(TfidfVectorizer(**parameters), TEXTS)


def test_what_is_no_column_of_text_is_refused() -> None:
    two = pa.table({"a": ["x"], "b": ["y"]})
    for step, table, reason in (
        (CountVectorizer(), two, "takes one column of text, and is given 2"),
        (TfidfVectorizer(), pa.table({"a": [1]}), "not text but int64"),
        (CountVectorizer(input="filename"), TEXTS, "by name"),
        (DictVectorizer(), TEXTS, "a dict a row"),
    ):
        with pytest.raises(Refused, match=reason):
            fit_streamed(step, table)


def test_a_null_document_is_refused_with_its_row() -> None:
    table = pa.table({"text": ["a b", "c d", None]})
    with pytest.raises(InputError, match="`text` holds a null") as caught:
        fit_streamed(CountVectorizer(), table)
    assert caught.value.details[0]["row"] == 2


def test_too_many_terms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MOST_TERMS", 50)
    table = pa.table({"text": [f"word{number}" for number in range(51)]})
    with pytest.raises(FitError, match="more than 50 different terms"):
        fit_streamed(CountVectorizer(), table)
    compare(CountVectorizer(), table.slice(0, 50))


@pytest.mark.parametrize(
    "step", [TfidfTransformer(), TfidfTransformer(smooth_idf=False), TfidfTransformer(use_idf=False)]
)
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("sparse", [True, False])
def test_tfidf_transformer(step: Any, kind: Any, sparse: bool) -> None:
    matrix: Any = np.random.default_rng(0).poisson(0.5, (60, 7)).astype(kind)
    matrix[0] = 1
    matrix = sp.csr_array(matrix) if sparse else matrix
    same_attributes(fit_streamed(step, matrix), fitted(step, matrix), 0.0)


def logged(values: Any) -> Any:
    return np.log1p(values)


def centred(frame: pd.DataFrame) -> pd.DataFrame:
    return frame - frame.mean()


def reversed_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[::-1]


def test_functions_and_hashing_need_no_pass() -> None:
    numbers = pa.table({"a": [0.0, 1.0, None, 3.0], "b": [1, 2, 3, 4]})
    for step in (FunctionTransformer(), FunctionTransformer(logged), FunctionTransformer(logged, validate=False)):
        same_attributes(fit_streamed(step, numbers, passes=0), fitted(step, numbers), 0.0)
    for step in (HashingVectorizer(n_features=16), FeatureHasher(8, input_type="string")):
        same_attributes(fit_streamed(step, TEXTS, passes=0), fitted(step, TEXTS), 0.0)


@pytest.mark.parametrize("function", [centred, reversed_rows])
def test_functions_of_other_rows_are_refused(function: Any) -> None:
    table = pa.table({"a": [0.0, 1.0, 5.0, 3.0]})
    assert "fewer of them" in (learner_of(FunctionTransformer(function), table).refusal() or "")


def test_pipelines_of_one_text_column_are_given_texts() -> None:
    random = np.random.default_rng(0)
    rows = [" ".join(f"w{word}" for word in random.geometric(0.2, 5)) for _ in range(300)]
    table = pa.table({"text": rows, "late": random.integers(0, 2, 300)})
    both = make_union(CountVectorizer(min_df=2), HashingVectorizer(n_features=8))
    expected: Any
    for first in (TfidfVectorizer(max_features=9), both):
        model: Any = make_pipeline(first, LinearRegression())
        learnt: Any = mr.fit(model, table, target="late", quiet=True)
        expected = clone(model)
        expected.fit(rows, table["late"].to_numpy())
        np.testing.assert_allclose(learnt[0].transform(rows).toarray(), expected[0].transform(rows).toarray())
    # scikit-learn solves sparse least squares only roughly; here the features are few.
    model = make_pipeline(TfidfVectorizer(max_features=9), LogisticRegression())
    learnt = mr.fit(model, table, target="late", quiet=True)
    expected = clone(model)
    expected.fit(rows, table["late"].to_numpy())
    np.testing.assert_allclose(learnt.predict_proba(rows), expected.predict_proba(rows), atol=1e-4)


def test_a_saved_text_pipeline_answers_the_same(tmp_path: Path) -> None:
    rows = ["good fine", "bad awful", "fine day", "awful day"] * 10
    table = pa.table({"text": rows, "late": [0, 1, 0, 1] * 10})
    learnt: Any = mr.fit(make_pipeline(CountVectorizer(), MultinomialNB()), table, target="late", quiet=True)
    mr.save(learnt, "texts", registry=tmp_path / "r", quiet=True)
    answer = mr.load("texts", registry=tmp_path / "r").predict(table.select(["text"]))
    np.testing.assert_allclose(np.stack(answer["probability"].to_pylist()), learnt.predict_proba(rows), rtol=1e-6)
