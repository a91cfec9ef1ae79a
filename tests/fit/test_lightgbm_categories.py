"""Columns of pandas' category type go into LightGBM as they would by its own ``fit``, from data of any size."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import monorail as mr
from monorail.errors import FitError
from monorail.fit.boosting import categories

FIXED = {
    "deterministic": True,
    "force_row_wise": True,
    "n_jobs": 1,
    "verbosity": -1,
    "n_estimators": 6,
    "random_state": 3,
    "subsample_for_bin": 500,
}
#: Not in the order of the alphabet, and one that no row has.
TOWNS = ["oslo", "rome", "bern", "paris", "atlantis"]


def frame(rows: int = 3_000, *, ordered: bool = False) -> pd.DataFrame:
    """Numbers, categories with gaps, and a target that both say much of."""
    random = np.random.default_rng(0)
    town = random.integers(0, 4, rows)
    town[random.random(rows) < 0.1] = -1
    size, near = random.integers(0, 3, rows), random.normal(size=rows)
    late = (near + np.isin(town, [1, 3]) + 0.5 * size + random.normal(size=rows) > 1.2).astype(int)
    return pd.DataFrame(
        {
            "near": near,
            "town": pd.Categorical.from_codes(town, TOWNS),
            "size": pd.Categorical.from_codes(size, ["small", "middle", "large"], ordered=ordered),
            "late": late,
        }
    )


def plainly(model: Any, rows: pd.DataFrame) -> Any:
    """The model fitted by its own ``fit``."""
    return clone(model).fit(rows.drop(columns="late"), rows["late"])


def assert_same(ours: Any, plain: Any) -> None:
    """The same trees, categories and parameters."""
    assert ours.booster_.model_to_string() == plain.booster_.model_to_string()
    assert ours.booster_.params == plain.booster_.params
    assert ours.booster_.pandas_categorical == plain.booster_.pandas_categorical


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "model", [LGBMClassifier(**FIXED), LGBMRegressor(**FIXED, max_cat_to_onehot=1)], ids=["classifier", "regressor"]
)
def test_a_frame_of_categories_gives_the_model_of_its_own_fit(model: Any, ordered: bool) -> None:
    rows = frame(ordered=ordered)
    ours = mr.fit(model, rows, target="late", quiet=True)
    assert_same(ours, plainly(model, rows))
    assert "num_cat=0" not in ours.booster_.model_to_string().partition("Tree=1")[0]
    np.testing.assert_array_equal(
        ours.predict(rows.drop(columns="late")), plainly(model, rows).predict(rows.drop(columns="late"))
    )


@pytest.mark.filterwarnings("ignore:categorical_feature")
def test_what_the_user_says_of_categories_gives_way_to_the_frame() -> None:
    model = LGBMClassifier(**FIXED, categorical_feature=[0])
    rows = frame()
    assert_same(mr.fit(model, rows, target="late", quiet=True), plainly(model, rows))


@pytest.mark.parametrize("workers", [1, 2])
def test_dictionaries_that_differ_from_part_to_part_are_put_together_as_pandas_does(
    tmp_path: Path, workers: int
) -> None:
    rows = frame()
    for number, part in enumerate(np.array_split(np.arange(len(rows)), 3)):
        table = pa.Table.from_pandas(rows.iloc[part], preserve_index=False)
        # Each part has its own words, in its own order.
        words = table["town"].cast(pa.string()).combine_chunks().dictionary_encode()
        pq.write_table(table.set_column(1, "town", words), tmp_path / f"{number}.parquet", row_group_size=400)
    ours = mr.fit(LGBMClassifier(**FIXED), tmp_path, target="late", workers=workers, quiet=True)
    whole = pq.read_table(tmp_path).to_pandas()
    assert list(whole["town"].cat.categories) != TOWNS[:4]
    assert_same(ours, plainly(LGBMClassifier(**FIXED), whole))


def test_it_is_saved_without_an_example_and_served(tmp_path: Path) -> None:
    rows = frame()
    ours = mr.fit(make_pipeline("passthrough", LGBMClassifier(**FIXED)), rows, target="late", quiet=True)
    version = mr.save(ours, "late", registry=tmp_path, quiet=True)
    assert version.engine == "native"
    features = rows.drop(columns="late")
    found = mr.load("late", registry=tmp_path).predict(features)
    np.testing.assert_allclose(np.stack(found["probability"]), ours.predict_proba(features), rtol=1e-12)


def test_text_is_refused_with_the_way_out() -> None:
    rows = frame().astype({"town": "string"}).dropna()
    with pytest.raises(FitError, match=r"column town is .*, and LightGBM takes numbers and categories") as told:
        mr.fit(LGBMClassifier(**FIXED), rows, target="late", quiet=True)
    assert "encode it in a step before, or have it as a category" in str(told.value)


def test_more_categories_than_it_can_look_at_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categories, "MOST_CATEGORIES", 3)
    with pytest.raises(FitError, match="`town` has more than 3 categories") as told:
        mr.fit(LGBMClassifier(**FIXED), frame(), target="late", quiet=True)
    assert told.value.details[0]["column"] == "town"
