"""The statistics that learners share: right for every type, and the same however the rows are cut and merged."""

from __future__ import annotations

import collections
import datetime
import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from monorail.errors import InputError
from monorail.fit.learning import Block
from monorail.fit.statistics import (
    ExactQuantiles,
    FeatureSummary,
    NumberSummary,
    QuantileSketch,
    ValueCounts,
    quantiles,
    ranks,
)

METHODS = ("linear", "lower", "higher", "inverted_cdf", "averaged_inverted_cdf")
FLOATS = st.one_of(st.none(), st.floats(width=64), st.integers(-3, 3).map(float))


def gathered(statistic, column, cuts=(), parts=()):
    """The state over a column cut into batches at ``cuts``; at ``parts`` a new state begins, and merges."""
    ends = sorted({0, len(column), *(cut % (len(column) + 1) for cut in (*cuts, *parts))})
    fresh = {part % (len(column) + 1) for part in parts}
    whole, state = None, statistic.start()
    for start, end in zip(ends, ends[1:] or [0], strict=False):
        if start in fresh:
            whole = state if whole is None else statistic.merge(whole, pickle.loads(pickle.dumps(state)))
            state = statistic.start()
        state = statistic.update(state, Block(pa.record_batch({"x": column.slice(start, end - start)})))
    return state if whole is None else statistic.merge(whole, state)


CUTS = st.lists(st.integers(0, 10_000), max_size=4)


@given(st.lists(FLOATS, max_size=200), CUTS, CUTS)
@settings(max_examples=150, deadline=None)
def test_numbers_are_those_of_the_whole_column(values, cuts, parts):
    state = gathered(NumberSummary(0), pa.array(values, pa.float64()), cuts, parts)
    finite = np.array([value for value in values if value is not None and math.isfinite(value)])
    assert (state.rows, state.nulls) == (len(values), values.count(None))
    assert state.nans == sum(value is not None and math.isnan(value) for value in values)
    assert state.infinities == sum(value is not None and math.isinf(value) for value in values)
    assert state.count == len(finite)
    if not len(finite):
        assert state.minimum is None
        assert math.isnan(state.mean)
        return
    assert (state.minimum, state.maximum) == (finite.min(), finite.max())
    if np.abs(finite).max() < 1e150:
        exact = math.fsum(finite) / len(finite)
        assert state.mean == pytest.approx(exact, rel=1e-14, abs=1e-15 * np.abs(finite).max())
        m2 = math.fsum((finite - exact) ** 2)
        assert state.m2 == pytest.approx(m2, rel=1e-12, abs=1e-25 * np.abs(finite).max() ** 2)


def test_moments_do_not_depend_on_the_cut():
    random = np.random.default_rng(1)
    column = pa.array(random.normal(1e6, 1, 100_000), mask=random.random(100_000) < 0.1)
    states = [
        gathered(NumberSummary(0), column, random.integers(0, 100_000, 20), random.integers(0, 100_000, parts))
        for parts in (0, 1, 7)
    ]
    for state in states[1:]:
        assert state.mean == states[0].mean
        assert state.m2 == pytest.approx(states[0].m2, rel=1e-14)


@pytest.mark.parametrize(
    ("values", "kind", "least", "most"),
    [
        ([3, None, -7], pa.int8(), -7, 3),
        ([2**63, 5], pa.uint64(), 5, 2**63),
        ([2**62 + 1, None], pa.int64(), 2**62 + 1, 2**62 + 1),
        ([True, False, None], pa.bool_(), 0, 1),
        ([1.5, math.inf], pa.float32(), 1.5, 1.5),
        ([datetime.date(1970, 1, 3), None], pa.date32(), 2, 2),
        ([datetime.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("ns"), 1_000_000, 1_000_000),
        ([datetime.datetime(1970, 1, 1, 0, 0, 1)], pa.timestamp("s", "UTC"), 1_000_000, 1_000_000),
        ([None, None], pa.null(), None, None),
    ],
)
def test_extremes_of_every_type(values, kind, least, most):
    state = gathered(NumberSummary(0), pa.array(values, kind), [1], [1])
    assert (state.minimum, state.maximum) == (least, most)
    assert type(state.minimum) is type(least)
    assert state.nulls == values.count(None)
    assert gathered(QuantileSketch(0), pa.array(values, kind)).count == state.count


def test_text_has_no_numbers():
    for statistic in (NumberSummary(0), QuantileSketch(0)):
        with pytest.raises(InputError) as caught:
            gathered(statistic, pa.array(["a"]))
        assert caught.value.code == "wrong_type"


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9), st.integers(0, 3).map(float)), min_size=1), CUTS, CUTS)
@settings(max_examples=100, deadline=None)
def test_few_values_have_exact_quantiles(values, cuts, parts):
    kept = np.array([value for value in values if value is not None])
    state = gathered(QuantileSketch(0), pa.array(values, pa.float64()), cuts, parts)
    assert (state.count, state.rank_error) == (len(kept), 0)
    shares = np.linspace(0, 1, 21)
    for method in METHODS:
        found = quantiles(state, shares, method)
        wanted = np.quantile(kept, shares, method=method) if len(kept) else np.full(21, np.nan)
        np.testing.assert_allclose(found, wanted, rtol=1e-15, atol=1e-15)


def shapes(random: np.random.Generator, rows: int):
    """Columns that are hard for a sketch: in order, against it, tied, with a long tail, in saw teeth."""
    return {
        "bell": random.normal(size=rows),
        "ordered": np.arange(rows, dtype=float),
        "backwards": -np.arange(rows, dtype=float),
        "tied": random.integers(0, 5, rows).astype(float),
        "tail": np.exp(random.normal(0, 10, rows)),
        "saw": np.arange(rows) % 4_096 + np.arange(rows) / rows,
        "nearly constant": (random.random(rows) < 1e-4) * random.normal(size=rows),
    }


@pytest.mark.parametrize("shape", shapes(np.random.default_rng(0), 1))
@pytest.mark.parametrize("parts", [0, 5])
def test_ranks_of_many_values_are_within_the_bound_and_exact_behind_it(shape, parts):
    random = np.random.default_rng(3)
    values = shapes(random, 300_000)[shape]
    column = pa.array(values)
    cuts, parts = random.integers(0, len(values), 9), random.integers(0, len(values), parts)
    state = gathered(QuantileSketch(0), column, cuts, parts)
    ordered = np.sort(values)
    wanted = np.unique(np.concatenate([ranks(np.linspace(0, 1, 40), len(values)), [1, 77, len(values) - 2]]))
    found = np.array(state.at(wanted.tolist()))
    low = np.searchsorted(ordered, found, "left")
    high = np.searchsorted(ordered, found, "right") - 1
    off = np.maximum(np.maximum(low - wanted, wanted - high), 0).max()
    assert off <= state.rank_error <= 0.0015 * len(values)
    assert off <= 0.0005 * len(values)
    assert found[0] == ordered[0]
    assert found[-1] == ordered[-1]
    exact = ExactQuantiles.behind(0, state, wanted)
    order = gathered(exact, column, cuts, parts)
    np.testing.assert_array_equal(order.at(wanted), ordered[wanted])
    assert len(pickle.dumps(order)) < 2 * 16 * (state.rank_error * 3 + 3) * len(exact.brackets) + 4_096


def test_a_sketch_does_not_depend_on_the_batches():
    values = pa.array(np.random.default_rng(5).normal(size=100_000))
    one, other = (gathered(QuantileSketch(0), values, cuts) for cuts in ([], [1, 5_000, 70_001]))
    assert pickle.dumps(one) == pickle.dumps(other)


WORDS = st.one_of(st.none(), st.text(max_size=3), st.sampled_from(["a", "b"]))
KINDS = {
    "string": (WORDS, pa.string()),
    "large_string": (WORDS, pa.large_string()),
    "string_view": (WORDS, pa.string_view()),
    "dictionary": (WORDS, pa.dictionary(pa.int8(), pa.string())),
    "int64": (st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-2, 2)), pa.int64()),
    "uint64": (st.one_of(st.none(), st.integers(0, 2**64 - 1)), pa.uint64()),
    "int16": (st.one_of(st.none(), st.integers(-3, 3)), pa.int16()),
    "bool": (st.one_of(st.none(), st.booleans()), pa.bool_()),
    "float64": (FLOATS, pa.float64()),
    "float32": (st.one_of(st.none(), st.floats(width=32)), pa.float32()),
    "date32": (st.one_of(st.none(), st.dates()), pa.date32()),
    "timestamp": (st.one_of(st.none(), st.datetimes(datetime.datetime(1900, 1, 1))), pa.timestamp("us")),
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), cuts=CUTS, parts=CUTS)
@settings(max_examples=30, deadline=None)
def test_counts_are_those_of_the_whole_column(kind, data, cuts, parts):
    drawn, arrow = KINDS[kind]
    values = data.draw(st.lists(drawn, max_size=60))
    column = pa.array(values, arrow)
    state = gathered(ValueCounts(0), column, cuts, parts)
    wanted = collections.Counter(value for value in column.to_pylist() if value is not None and value == value)
    assert dict(zip(state.values.to_pylist(), state.counts.tolist(), strict=True)) == dict(wanted)
    assert state.values.to_pylist() == sorted(wanted)
    assert (state.rows, state.nulls, state.distinct) == (len(values), values.count(None), len(wanted))
    assert state.nans == sum(value is not None and value != value for value in values)
    assert state.exact
    assert state.top(3) == sorted(wanted.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    if len(values):
        assert state.values.type == (arrow.value_type if pa.types.is_dictionary(arrow) else arrow)


def test_counts_of_numbers_behind_a_dictionary_and_of_nulls_in_one():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 2, None]), pa.array([7, None, 3]))
    state = gathered(ValueCounts(0), column, [2], [3])
    assert dict(zip(state.values.to_pylist(), state.counts.tolist(), strict=True)) == {7: 1, 3: 2}
    assert (state.nulls, state.values.type) == (2, pa.int64())


def test_a_limit_keeps_the_most_frequent_and_estimates_the_rest():
    random = np.random.default_rng(9)
    codes = np.concatenate([random.integers(0, 60_000, 200_000), np.repeat(np.arange(20), 5_000)])
    random.shuffle(codes)
    column = pa.array(codes).cast(pa.string())
    state = gathered(ValueCounts(0, 2_000), column, [9_000, 200_000], [100_000])
    exact = gathered(ValueCounts(0), column)
    assert not state.exact
    assert state.distinct == pytest.approx(exact.distinct, rel=0.03)
    assert {value for value, _ in state.top(20)} == {value for value, _ in exact.top(20)}
    assert all(0.99 <= count / dict(exact.top(20))[value] <= 1 for value, count in state.top(20))
    assert len(pickle.dumps(state)) < 200_000


def test_a_type_whose_values_are_not_counted_is_refused():
    with pytest.raises(InputError) as caught:
        gathered(ValueCounts(0), pa.array([[1]]))
    assert caught.value.code == "wrong_type"


@pytest.mark.parametrize("form", ["dense", "sparse", "columns"])
def test_numbers_of_all_features_are_those_of_each(form):
    random = np.random.default_rng(2)
    matrix = random.normal(size=(500, 4)) * (random.random((500, 4)) < 0.3)
    matrix[:, 3] = 0
    if form != "sparse":
        matrix[5, 0], matrix[7, 1] = np.nan, np.inf
    statistic = FeatureSummary()
    whole = None
    for start, end in ((0, 3), (3, 3), (3, 450), (450, 500)):
        part = matrix[start:end]
        block = {
            "dense": lambda part=part: Block(None, part),
            "sparse": lambda part=part: Block(None, sparse.csr_array(part)),
            "columns": lambda part=part: Block(pa.record_batch(list(part.T), names=list("abcd"))),
        }[form]()
        state = pickle.loads(pickle.dumps(statistic.update(statistic.start(), block)))
        whole = state if whole is None else statistic.merge(whole, state)
    assert whole.rows == 500
    for place in range(4):
        one = gathered(NumberSummary(0), pa.array(matrix[:, place]))
        assert (whole.nans[place], whole.infinities[place]) == (one.nans, one.infinities)
        assert (whole.minimum[place], whole.maximum[place]) == (one.minimum, one.maximum)
        assert whole.counts[place] == one.count
        assert whole.zeros[place] == np.sum(matrix[:, place] == 0)
        assert whole.mean[place] == pytest.approx(one.mean, rel=1e-13, abs=1e-16)
        assert whole.variance()[place] == pytest.approx(one.m2 / one.count, rel=1e-13)
