"""Rows, files and answers for tests of scoring: a small classifier, and what its folder of predictions must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .bundles import scorer_answers


def rows_of(count: int, seed: int = 0, first: int = 0) -> pa.Table:
    """Rows for ``publish_scorer``'s model, with a number of their own and a column that nobody asks for."""
    random = np.random.default_rng(seed)
    a, b, c, amount = random.normal(size=(4, count)).round(3)
    return pa.table(
        {
            "id": np.arange(first, first + count),
            "unused": np.zeros(count),
            "a": a,
            "b": b,
            "c": c,
            "amount": [f"{value:.3f}" for value in amount],
        }
    )


def files_of(folder: Path, counts: list[int], row_group: int = 500) -> list[Path]:
    """Parquet files of so many rows, numbered through."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place, count in enumerate(counts):
        paths.append(folder / f"{place}.parquet")
        pq.write_table(rows_of(count, place, sum(counts[:place])), paths[-1], row_group_size=row_group)
    return paths


def parts_of(folder: Path | str) -> pa.Table:
    """What was written, in the order of the parts."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(Path(folder).glob("part-*.parquet"))])


def answers(rows: pa.Table) -> pa.Table:
    """What a folder must hold for rows: their numbers, passed through, and the predictions."""
    matrix = np.column_stack([*(rows[name].to_numpy() for name in "abc"), np.array(rows["amount"].to_pylist(), float)])
    label, probability, single = scorer_answers(matrix)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(probability.reshape(-1)), 2)
    return pa.table({"id": rows["id"], "label": label, "probability": listed, "single": single})


def assert_scored(found: pa.Table, rows: pa.Table) -> None:
    """The predictions of exactly these rows, in their order."""
    wanted = answers(rows)
    assert found.column_names == wanted.column_names
    assert found["id"].to_pylist() == wanted["id"].to_pylist()
    assert found["label"].to_pylist() == wanted["label"].to_pylist()
    for name in ("probability", "single"):
        one, other = (np.array(table[name].to_pylist()) for table in (found, wanted))
        np.testing.assert_allclose(one, other, rtol=1e-6)


def is_whole(folder: Path) -> bool:
    """Whether a folder has only what a run leaves: parts, its mark and its own folder."""
    names = {path.name for path in folder.iterdir()}
    return "_SUCCESS" in names and all(n.startswith("part-") or n in ("_SUCCESS", "_monorail") for n in names)
