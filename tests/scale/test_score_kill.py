"""A run of scoring that is killed (SIGKILL) at any moment, and started again: every row once, nothing half-written."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import monorail as mr

from ..support.bundles import publish_scorer
from ..support.scoring import assert_scored, is_whole, parts_of, rows_of

FILES = 24
ROWS = 400


def run(data: str, out: str, registry: str) -> None:
    """One run, in a process of its own."""
    options = {"columns": ["id"], "registry": registry, "invalid": "quarantine", "workers": 2, "quiet": True}
    mr.score("scorer", data, out=out, **options)


@pytest.fixture(scope="module")
def processes():
    """Processes that are there at once: what they import, the server they are forked from has imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monorail.score.api", __name__])
    return context


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A registry, and files with a row each that breaks the signature."""
    folder = tmp_path_factory.mktemp("killed")
    publish_scorer(folder / "registry", "scorer")
    (folder / "in").mkdir()
    for place in range(FILES):
        rows = rows_of(ROWS, place, place * ROWS)
        a = rows["a"].to_pylist()
        a[place] = None
        pq.write_table(rows.set_column(2, "a", pa.array(a)), folder / "in" / f"{place:02}.parquet")
    return folder


def assert_complete(folder: Path, out: Path) -> None:
    """Every row once: scored, or in the side files."""
    rows = pq.read_table(folder / "in").combine_chunks()
    assert_scored(parts_of(out), rows.filter(rows["a"].is_valid()))
    aside = [pq.read_table(path) for path in sorted((out / "_monorail" / "invalid").glob("part-*.parquet"))]
    assert pa.concat_tables(aside)["id"].to_pylist() == [place * ROWS + place for place in range(FILES)]
    assert is_whole(out)
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("moment", range(20))
def test_killed_and_started_again(moment, data, processes, tmp_path):
    chance = random.Random(moment)
    out = tmp_path / "out"
    process = processes.Process(target=run, args=(str(data / "in"), str(out), str(data / "registry")))
    process.start()
    # After so many parts, and then at any moment within the next ones.
    parts = chance.randrange(FILES)
    while process.is_alive() and len(list(out.glob("part-*"))) < parts:
        process.join(0.0005)
    process.join(chance.random() * 0.02)
    process.kill()
    process.join()

    there = sorted(out.glob("part-*")) if out.exists() else []
    assert len(there) >= parts
    for path in there:
        # Whole or not at all: and with it the rows that were set aside.
        assert pq.read_metadata(path).num_rows == ROWS - 1
        assert pq.read_metadata(out / "_monorail" / "invalid" / path.name).num_rows == 1
    assert len(there) == FILES or not (out / "_SUCCESS").exists()

    report = mr.score(
        "scorer",
        data / "in",
        out=out,
        columns=["id"],
        registry=data / "registry",
        invalid="quarantine",
        quiet=True,
    )
    assert (report.rows, report.invalid) == (FILES * (ROWS - 1), FILES)
    assert report.resumed_rows == len(there) * ROWS
    assert_complete(data, out)


@pytest.mark.parametrize(
    "name", ["part-000003.parquet", "_SUCCESS", "_monorail/plan.json", "_monorail/invalid/part-000003.parquet"]
)
def test_whatever_was_being_written_is_removed(name, data, tmp_path):
    out = tmp_path / "out"
    run(str(data / "in"), str(out), str(data / "registry"))
    (out / "_SUCCESS").unlink()
    begun = (out / name).with_name(f".{Path(name).name}.{'0' * 32}.tmp")
    begun.write_bytes(b"half")
    run(str(data / "in"), str(out), str(data / "registry"))
    assert_complete(data, out)


def test_killed_again_and_again(data, processes, tmp_path):
    """Started until it ends, and killed each time: what was done once is not done again, so it comes to an end."""
    out = tmp_path / "out"
    chance = random.Random(0)
    starts = 0
    while not (out / "_SUCCESS").exists():
        before = len(list(out.glob("part-*")))
        process = processes.Process(target=run, args=(str(data / "in"), str(out), str(data / "registry")))
        process.start()
        wanted = min(before + chance.randrange(1, 6), FILES)
        while process.is_alive() and len(list(out.glob("part-*"))) < wanted:
            process.join(0.0005)
        process.kill() if wanted < FILES else process.join()
        process.join()
        starts += 1
        assert starts <= FILES
    assert starts > 3
    assert_complete(data, out)
