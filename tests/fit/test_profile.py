"""What the first pass says of the raw columns is what the signature would infer from all rows."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from monorail.fit.learning import Block
from monorail.fit.profile import nulls_of, profile_statistics, seen_of_column
from monorail.signature import infer

ROWS = 700


def table() -> pa.Table:
    random = np.random.default_rng(4)
    nulls = random.random(ROWS) < 0.1
    words = random.choice(["x", "y", "zz", ""], ROWS)
    start = datetime.datetime(2020, 1, 1)
    return pa.table(
        {
            "float": pa.array(random.normal(size=ROWS), mask=nulls),
            "nan": np.where(nulls, np.nan, random.normal(size=ROWS)),
            "infinite": np.where(nulls, np.inf, 1.5),
            "float32": random.normal(size=ROWS).astype(np.float32),
            "whole": pa.array(random.integers(-5, 5, ROWS), pa.int16(), mask=nulls),
            "long": pa.array([2**62 + place for place in range(ROWS)]),
            "bool": pa.array(random.random(ROWS) < 0.5, mask=nulls),
            "text": pa.array(words, mask=nulls),
            "category": pa.array(words).dictionary_encode(),
            "day": pa.array([start.date() + datetime.timedelta(place) for place in range(ROWS)]),
            "time": pa.array([start + datetime.timedelta(hours=place) for place in range(ROWS)], pa.timestamp("ns")),
            "empty": pa.array([None] * ROWS, pa.float64()),
            "silent": pa.array([None] * ROWS, pa.string()),
            "tensor": pa.FixedSizeListArray.from_arrays(pa.array(random.normal(size=2 * ROWS)), 2),
        }
    )


def found_in(data: pa.Table, name: str) -> list:
    """What the profile gathers of a column, in three parts."""
    place = data.column_names.index(name)
    found = []
    for statistic in profile_statistics(place, data.schema.field(name).type):
        state = statistic.start()
        for part in (data.slice(0, 100), data.slice(100, 1), data.slice(101)):
            batch = part.combine_chunks().to_batches()[0]
            state = statistic.merge(state, statistic.update(statistic.start(), Block(batch)))
        found.append(state)
    return found


@pytest.mark.parametrize("name", table().column_names)
def test_what_is_seen_is_what_the_signature_infers_from_all_rows(name):
    data = table()
    column = infer(data.select([name])).inputs[0]
    found = found_in(data, name)
    kind = data.schema.field(name).type
    seen = seen_of_column(kind, ROWS, found)
    wanted = dict(column.seen or {})
    if name == "long":
        # A double does not hold such numbers; the ends are exact all the same.
        assert seen.pop("quantiles") == pytest.approx(wanted.pop("quantiles"), rel=1e-15)
    assert seen == wanted
    assert {key: type(value) for key, value in seen.items()} == {key: type(value) for key, value in wanted.items()}
    assert nulls_of(found) == data.column(name).null_count


def test_wide_tables_keep_no_quantiles():
    kind = pa.float64()
    (numbers,) = profile_statistics(0, kind, 501)
    state = numbers.update(numbers.start(), Block(pa.record_batch({"x": [1.0, None, 3.0]})))
    assert seen_of_column(kind, 3, [state]) == {"null_share": 1 / 3, "min": 1.0, "max": 3.0}
    assert len(profile_statistics(0, kind, 500)) == 2


def test_a_column_that_no_signature_holds_has_its_nulls_counted():
    data = pa.table({"lists": pa.array([[1], None, [1, 2]] * 50)})
    found = found_in(data, "lists")
    assert nulls_of(found) == 50
    assert seen_of_column(data.schema.field("lists").type, 150, found) == {}
