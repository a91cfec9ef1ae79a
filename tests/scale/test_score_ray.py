"""Scoring on a Ray cluster: the answers of one process, also when a node goes in the middle; an object store."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import monorail as mr
from monorail.errors import InputError

from ..support.bundles import publish_scorer
from ..support.scoring import assert_scored, files_of, is_whole, parts_of, rows_of


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scoring") / "registry"
    publish_scorer(folder, "scorer")
    # A call of its engine takes so long that a node can go meanwhile.
    publish_scorer(folder, "slow", busy_ms=150)
    return folder


def score(home, data, out=None, model="scorer", **options) -> Any:
    return mr.score(model, data, out=out, columns=["id"], registry=home, on="ray", quiet=True, **options)


def test_answers_are_those_of_one_process(cluster, home, tmp_path):
    files_of(tmp_path / "in", [700, 0, 300, 500, 900])
    report = score(home, tmp_path / "in", tmp_path / "ray")
    mr.score("scorer", tmp_path / "in", out=tmp_path / "local", columns=["id"], registry=home, quiet=True)
    assert (report.rows, report.parts) == (2_400, 4)
    for path in (tmp_path / "local").glob("part-*"):
        assert path.read_bytes() == (tmp_path / "ray" / path.name).read_bytes()
    assert is_whole(tmp_path / "ray")
    stream = score(home, tmp_path / "in").to_table()
    assert_scored(stream, pq.read_table(tmp_path / "in").combine_chunks())


def test_rows_in_memory_reach_the_workers(cluster, home, tmp_path):
    rows = rows_of(2_000)
    assert_scored(score(home, rows).to_table(), rows)
    score(home, rows, tmp_path / "out")
    assert_scored(parts_of(tmp_path / "out"), rows)


def test_what_breaks_the_signature_is_told_as_here(cluster, home, tmp_path):
    paths = files_of(tmp_path / "in", [300, 300])
    rows = rows_of(300, 1, 300)
    a = rows["a"].to_pylist()
    a[77] = None
    pq.write_table(rows.set_column(2, "a", pa.array(a)), paths[1], row_group_size=50)
    with pytest.raises(InputError) as caught:
        score(home, tmp_path / "in", tmp_path / "out")
    place = caught.value.details[0]
    assert (caught.value.code, place["file"], place["row_group"], place["row"], place["column"]) == (
        "null_not_allowed",
        str(paths[1]),
        1,
        77,
        "a",
    )
    report = score(home, tmp_path / "in", tmp_path / "out", invalid="quarantine", overwrite=True)
    assert (report.rows, report.invalid) == (599, 1)


def test_a_node_goes_in_the_middle(cluster, home, tmp_path):
    counts = [40] * 16
    files_of(tmp_path / "in", counts)
    out = tmp_path / "out"
    done: list[object] = []
    run = threading.Thread(target=lambda: done.append(score(home, tmp_path / "in", out, model="slow")))
    run.start()
    while run.is_alive() and len(list(out.glob("part-*"))) < 3:
        run.join(0.01)
    cluster.remove_node()
    run.join()
    assert getattr(done[0], "rows", None) == sum(counts)
    assert is_whole(out)
    rows = pq.read_table(tmp_path / "in").combine_chunks()
    assert_scored(parts_of(out), rows)


def test_from_a_store_into_a_store(s3, home, tmp_path):
    from pyarrow import fs

    from monorail.data.sources.places import address, file_system

    store, bucket = address(s3)
    assert store is not None
    files = file_system(store)
    rows = [rows_of(300, place, 300 * place) for place in range(3)]
    for place, table in enumerate(rows):
        pq.write_table(table, f"{bucket}/in/{place}.parquet", filesystem=files, row_group_size=100)

    def run(**options):
        return mr.score("scorer", f"{s3}/in/*.parquet", out=f"{s3}/out", registry=home, quiet=True, **options)

    assert run(columns=["id"]).rows == 900
    names = {info.base_name for info in files.get_file_info(fs.FileSelector(f"{bucket}/out"))}
    assert names == {"_SUCCESS", "_monorail", *(f"part-{place:06d}.parquet" for place in range(3))}
    found = [pq.read_table(f"{bucket}/out/part-{place:06d}.parquet", filesystem=files) for place in range(3)]
    assert_scored(pa.concat_tables(found), pa.concat_tables(rows))
    # A second start, after one part was cut short and another lost.
    with files.open_input_stream(f"{bucket}/out/part-000001.parquet") as stream:
        half = stream.read()[:-50]
    with files.open_output_stream(f"{bucket}/out/part-000001.parquet") as stream:
        stream.write(half)
    files.delete_file(f"{bucket}/out/part-000002.parquet")
    assert run(columns=["id"]).resumed_rows == 300
    with pytest.raises(InputError) as caught:
        run(columns=["id", "a"])
    assert caught.value.code == "score_conflict"
    assert run(columns=["id", "a"], overwrite=True).resumed_rows == 0
