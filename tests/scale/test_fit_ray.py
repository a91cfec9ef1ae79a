"""Pipelines fitted on a Ray cluster: the answers of this machine, also where a node is lost in the middle."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder

import monorail as mr
from monorail.fit.cluster import hold
from monorail.fit.learning import Block

from ..support.learning import same_attributes
from ..support.waiting import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in eight files."""
    random = np.random.default_rng(3)
    rows = 20_000
    a, b = random.normal(size=rows), random.normal(100, 7, size=rows)
    table = pa.table(
        {
            "a": pa.array(a, mask=random.random(rows) < 0.1),
            "b": b,
            "s": pa.array(random.choice(["ant", "bee", "cat"], rows), mask=random.random(rows) < 0.1),
            "y": a + 0.1 * b + random.normal(size=rows),
            "late": (a > 0.5).astype(np.int64),
        }
    )
    folder = tmp_path_factory.mktemp("rows")
    for part in range(8):
        pq.write_table(table.slice(2_500 * part, 2_500), folder / f"{part}.parquet")
    return folder


def model(last: Any) -> Pipeline:
    """Four passes deep."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepare = ColumnTransformer(
        [
            ("numbers", numbers, ["a", "b"]),
            ("words", OneHotEncoder(), ["s"]),
            ("means", TargetEncoder(random_state=0), ["s"]),
        ]
    )
    return Pipeline([("prepare", prepare), ("scale", StandardScaler(with_mean=False)), ("model", last)])


def fitted(last: Any, folder: Path, **options: Any) -> Any:
    """The model, and how often the data was read."""
    learnt = mr.fit(model(last), folder, quiet=True, **options)
    passes = learnt.fit_report_.passes
    del learnt.fit_report_
    return learnt, passes


def test_a_cluster_gives_the_answers_of_this_machine(cluster: Any, folder: Path) -> None:
    for last, target in ((LinearRegression(), "y"), (LogisticRegression(), "late")):
        there, passes = fitted(last, folder, target=target, on="ray")
        here, _ = fitted(last, folder, target=target, workers=1)
        same_attributes(there["prepare"], here["prepare"], 0.0)
        np.testing.assert_allclose(there["model"].coef_, here["model"].coef_, rtol=1e-12)
        assert passes >= 3


def test_frames_and_tables_go_to_the_workers(cluster: Any, folder: Path) -> None:
    table = pq.read_table(folder)
    there, _ = fitted(LinearRegression(), table, target="y", on="ray")
    here, _ = fitted(LinearRegression(), table.to_pandas(), target="y", workers=1)
    np.testing.assert_allclose(there["model"].coef_, here["model"].coef_, rtol=1e-12)


def test_rows_that_the_cluster_lost_are_made_again(cluster: Any) -> None:
    import ray

    def kept() -> Any:
        return hold(iter([Block(None, np.ones((6, 40_000)), 100)]))

    (one, two) = kept().blocks(iter([]), 4)
    assert (one.start, two.start, two.rows) == (100, 104, 2)
    # What a worker has put belongs to it, and goes with it.
    owner = ray.remote(num_cpus=0)(type("Owner", (), {"keep": lambda self: kept()})).remote()
    lost = ray.get(owner.keep.remote())
    ray.kill(owner)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(owner.keep.remote())
    # The cluster may hand them out for a moment more: then they are what they were.
    remade = wait_until(
        "the rows are lost",
        lambda: [block for block in lost.blocks(iter([Block(None, np.ones((2, 2)), 7)]), 4) if block.start == 7],
        deadline_s=60,
    )
    assert [block.rows for block in remade] == [2]


def halting(values: Any, folder: str, driver: int) -> Any:
    """The values; elsewhere than in the driver, only once the node is gone."""
    if os.getpid() != driver:
        (Path(folder) / f"begun-{os.getpid()}").touch()
        wait_until("the node is gone", (Path(folder) / "gone").exists, deadline_s=60)
    # What no graph does, so that it is this function that runs.
    return np.frombuffer(np.ascontiguousarray(values).tobytes()).reshape(np.shape(values))


def test_a_node_lost_in_the_middle_of_a_pass_changes_nothing(cluster: Any, folder: Path, tmp_path: Path) -> None:
    def lose() -> None:
        wait_until(
            "both workers are in the middle of a part", lambda: len(list(tmp_path.glob("begun-*"))) >= 2, deadline_s=60
        )
        cluster.remove_node()
        (tmp_path / "gone").touch()

    step = FunctionTransformer(halting, kw_args={"folder": str(tmp_path), "driver": os.getpid()})
    halted = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(), step, StandardScaler()), ["a", "b"])])
    plain = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"])])
    killer = threading.Thread(target=lose)
    killer.start()
    there = mr.fit(halted, folder, on="ray", quiet=True)
    killer.join()
    assert len(list(tmp_path.glob("begun-*"))) >= 2
    here = mr.fit(plain, folder, quiet=True)
    scaled = there.named_transformers_["numbers"][-1], here.named_transformers_["numbers"][-1]
    same_attributes(*scaled, 0.0)
