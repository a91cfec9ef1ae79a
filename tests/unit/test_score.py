"""Scoring into a folder: every row once, in order; a second start; what is refused, and what is set aside."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import monorail as mr
from monorail.errors import InputError, NotFoundError, SettingError, TrustError

from ..support.bundles import publish_scorer
from ..support.scoring import assert_scored, files_of, is_whole, parts_of, rows_of
from ..support.workers import publish_worker


def changed(table, name, row, value):
    """A table with another value in one place."""
    values = table[name].to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


# ------------------------------------------------------------ folders


def test_files_become_parts_in_their_order(score, tmp_path):
    files_of(tmp_path / "in", [1_200, 700, 1])
    report = score(tmp_path / "in", tmp_path / "out", part_rows=500)
    assert (report.rows, report.invalid, report.resumed_rows) == (1_901, 0, 0)
    assert str(report).startswith("1,901 rows scored by scorer@1 in ")
    assert_scored(parts_of(tmp_path / "out"), pq.read_table(tmp_path / "in").combine_chunks())
    assert is_whole(tmp_path / "out")


def test_a_part_has_rows_of_one_file(score, tmp_path):
    paths = files_of(tmp_path / "in", [300_000, 10, 10], row_group=100_000)
    report = score(paths, tmp_path / "out", part_rows=200_000)
    sizes = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out").glob("part-*"))]
    assert (report.parts, sizes) == (4, [200_000, 100_000, 10, 10])


def test_any_number_of_workers_writes_the_same_bytes(score, tmp_path):
    files_of(tmp_path / "in", [900, 900, 900])
    for workers in (1, 3):
        score(tmp_path / "in", tmp_path / str(workers), workers=workers)
    for path in (tmp_path / "1").glob("part-*"):
        assert path.read_bytes() == (tmp_path / "3" / path.name).read_bytes()


def test_every_column_can_be_passed_through(score, tmp_path):
    files_of(tmp_path / "in", [20])
    score(tmp_path / "in", tmp_path / "out", columns="*")
    found = parts_of(tmp_path / "out")
    rows = rows_of(20)
    assert found.select(rows.column_names).equals(rows)


def test_answers_are_those_of_the_loaded_model(registry, frame, tmp_path):
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=60)
    mr.score("flights", tmp_path / "rows.parquet", out=tmp_path / "out", registry=registry, quiet=True)
    found = parts_of(tmp_path / "out")
    direct = mr.load("flights", registry=registry).predict(pa.Table.from_pandas(frame))
    assert found["label"].to_pylist() == direct["label"].to_pylist()
    assert found["probability"].to_pylist() == direct["probability"].to_pylist()


def test_data_in_memory(score, tmp_path):
    rows = rows_of(1_000)
    for place, data in enumerate([rows, rows.to_pandas(), rows.to_reader(), rows.to_batches()[0]]):
        score(data, tmp_path / str(place))
        assert_scored(parts_of(tmp_path / str(place)), rows)


def test_data_without_rows_has_columns(score, tmp_path):
    files_of(tmp_path / "in", [0])
    report = score(tmp_path / "in", tmp_path / "out")
    found = parts_of(tmp_path / "out")
    assert (report.rows, len(found), found.column_names) == (0, 0, ["id", "label", "probability", "single"])
    assert is_whole(tmp_path / "out")


def test_an_empty_file_among_others_is_no_rows(score, tmp_path):
    files_of(tmp_path / "in", [5, 0, 7])
    score(tmp_path / "in", tmp_path / "out")
    assert_scored(parts_of(tmp_path / "out"), pq.read_table(tmp_path / "in").combine_chunks())


def test_filters_choose_rows(score, tmp_path):
    files_of(tmp_path / "in", [600, 600])
    score(tmp_path / "in", tmp_path / "out", filters=[("id", ">=", 590), ("id", "<", 610)])
    assert parts_of(tmp_path / "out")["id"].to_pylist() == list(range(590, 610))


def test_a_batch_of_a_model_that_is_not_row_wise_does_not_end_where_a_row_group_does(score, tmp_path):
    rows = pa.table({"id": np.arange(70_000), "x": np.random.default_rng(0).normal(size=70_000)})
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=1_000)
    score(tmp_path / "rows.parquet", tmp_path / "out", model="mean")
    x = rows["x"].to_numpy()
    wanted = np.concatenate([part - part.mean() for part in (x[:65_536], x[65_536:])])
    np.testing.assert_allclose(parts_of(tmp_path / "out")["y"].to_numpy(), wanted, atol=1e-12)


# ------------------------------------------------------------ a second start


def test_a_second_start_leaves_what_is_there(score, tmp_path):
    files_of(tmp_path / "in", [300, 300, 300])
    score(tmp_path / "in", tmp_path / "out")
    old = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    (tmp_path / "out" / "part-000001.parquet").unlink()
    (tmp_path / "out" / "_SUCCESS").unlink()
    report = score(tmp_path / "in", tmp_path / "out")
    new = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert (report.rows, report.resumed_rows) == (900, 600)
    assert [name for name in sorted(new) if new[name] != old[name]] == ["part-000001.parquet"]
    assert_scored(parts_of(tmp_path / "out"), pq.read_table(tmp_path / "in").combine_chunks())


def test_a_part_that_is_not_whole_is_written_again(score, tmp_path):
    files_of(tmp_path / "in", [300, 300])
    score(tmp_path / "in", tmp_path / "out")
    part = tmp_path / "out" / "part-000000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert score(tmp_path / "in", tmp_path / "out").resumed_rows == 300
    assert_scored(parts_of(tmp_path / "out"), pq.read_table(tmp_path / "in").combine_chunks())


def test_what_a_killed_run_had_begun_is_removed(score, tmp_path):
    files_of(tmp_path / "in", [300])
    score(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / ".part-000000.parquet.0123.tmp").write_bytes(b"half")
    score(tmp_path / "in", tmp_path / "out")
    assert is_whole(tmp_path / "out")


@pytest.mark.parametrize("other", ["columns", "filters", "data", "model", "parts"])
def test_the_folder_of_another_run_is_refused(score, home, tmp_path, other):
    # Two units, where a unit has few rows.
    files_of(tmp_path / "in", [210_000 if other == "parts" else 100], row_group=70_000)
    score(tmp_path / "in", tmp_path / "out")
    options = {}
    if other == "columns":
        options["columns"] = ["id", "a"]
    elif other == "filters":
        options["filters"] = [("id", ">", 3)]
    elif other == "data":
        files_of(tmp_path / "in", [100, 1])
    elif other == "model":
        options["model"] = "changed"
        publish_scorer(home, "changed", shift=0.5)
    else:
        options["part_rows"] = 1
    before = parts_of(tmp_path / "out")
    with pytest.raises(InputError, match=f"holds the predictions of another run: it differs in .*{other}") as caught:
        score(tmp_path / "in", tmp_path / "out", **options)
    assert caught.value.code == "score_conflict"
    assert "overwrite" in str(caught.value.hint)
    assert parts_of(tmp_path / "out").equals(before)
    score(tmp_path / "in", tmp_path / "out", overwrite=True, **options)
    assert is_whole(tmp_path / "out")


def test_data_in_memory_is_not_taken_for_that_of_before(score, tmp_path):
    score(rows_of(10), tmp_path / "out")
    with pytest.raises(InputError, match="data in memory cannot be recognised"):
        score(rows_of(10), tmp_path / "out")


def test_files_of_others_are_left_alone(score, tmp_path):
    files_of(tmp_path / "in", [10])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs.parquet").write_bytes(b"theirs")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"files that are not a run's, such as theirs\.parquet") as caught:
            score(tmp_path / "in", tmp_path / "out", overwrite=overwrite)
        assert caught.value.code == "score_conflict"
    assert (tmp_path / "out" / "theirs.parquet").read_bytes() == b"theirs"


def test_two_runs_at_once_are_refused(score, tmp_path):
    import fcntl

    files_of(tmp_path / "in", [10])
    (tmp_path / "out" / "_monorail").mkdir(parents=True)
    with (tmp_path / "out" / "_monorail" / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing") as caught:
            score(tmp_path / "in", tmp_path / "out")
    assert caught.value.code == "score_conflict"
    assert score(tmp_path / "in", tmp_path / "out").rows == 10


# ------------------------------------------------------------ what breaks the signature


def test_a_row_that_breaks_the_signature_is_told_by_its_place(score, tmp_path):
    paths = files_of(tmp_path / "in", [1_000, 1_000])
    bad = changed(changed(rows_of(1_000, 1, 1_000), "a", 777, None), "b", 3, float("inf"))
    pq.write_table(bad, paths[1], row_group_size=500)
    with pytest.raises(InputError) as caught:
        score(tmp_path / "in", tmp_path / "out")
    error = caught.value
    assert error.code in ("null_not_allowed", "not_finite")
    places = {(d["file"], d["row_group"], d["row"], d["column"], d["got"]) for d in error.details}
    assert places == {(str(paths[1]), 1, 777, "a", "null"), (str(paths[1]), 0, 3, "b", "infinity")}
    assert f"{paths[1]}, row group" in error.message
    assert "quarantine" in str(error.hint)
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_the_place_of_a_row_does_not_depend_on_filters(score, tmp_path):
    files_of(tmp_path / "in", [])
    pq.write_table(changed(rows_of(1_000), "a", 777, None), tmp_path / "in" / "0.parquet", row_group_size=500)
    with pytest.raises(InputError) as caught:
        score(tmp_path / "in", tmp_path / "out", filters=[("id", ">", 700)])
    assert [(d["row_group"], d["row"]) for d in caught.value.details] == [(1, 777)]


def test_mended_data_needs_no_new_folder(score, tmp_path):
    path = files_of(tmp_path / "in", [10])[0]
    pq.write_table(changed(rows_of(10), "a", 7, None), path)
    with pytest.raises(InputError):
        score(tmp_path / "in", tmp_path / "out")
    pq.write_table(rows_of(10), path)
    assert score(tmp_path / "in", tmp_path / "out").rows == 10


def test_quarantine_scores_the_others(score, tmp_path):
    paths = files_of(tmp_path / "in", [1_000, 1_000])
    rows = changed(changed(rows_of(1_000), "a", 777, None), "b", 777, float("inf"))
    pq.write_table(rows, paths[0], row_group_size=500)
    report = score(tmp_path / "in", tmp_path / "out", invalid="quarantine")
    assert (report.rows, report.invalid) == (1_999, 1)
    assert "1 rows break the signature" in str(report)
    whole = pa.concat_tables([rows.slice(0, 777), rows.slice(778), rows_of(1_000, 1, 1_000)])
    assert_scored(parts_of(tmp_path / "out"), whole)
    aside = pq.read_table(tmp_path / "out" / "_monorail" / "invalid" / "part-000000.parquet").to_pylist()
    assert [path.name for path in (tmp_path / "out" / "_monorail" / "invalid").iterdir()] == ["part-000000.parquet"]
    reason = aside[0].pop("monorail_reason")
    assert "a: expected float64, got null (null_not_allowed)" in reason
    assert "b: expected float64, got infinity (not_finite)" in reason
    assert aside == [
        {
            "monorail_file": str(paths[0]),
            "monorail_row_group": 1,
            "monorail_row": 777,
            "monorail_column": "a, b",
            **rows.slice(777, 1).select(["id", "a", "b", "c", "amount"]).to_pylist()[0],
        }
    ]
    again = score(tmp_path / "in", tmp_path / "out", invalid="quarantine")
    assert (again.rows, again.invalid, again.resumed_rows) == (1_999, 1, 2_000)


def test_quarantine_of_more_rows_than_an_error_lists(score, tmp_path):
    random = np.random.default_rng(0)
    bad = random.random(3_000) < 0.4
    rows = rows_of(3_000)
    rows = rows.set_column(2, "a", pa.array(rows["a"].to_numpy(), mask=bad))
    pq.write_table(rows, tmp_path / "rows.parquet")
    report = score(tmp_path / "rows.parquet", tmp_path / "out", invalid="quarantine")
    assert report.invalid == bad.sum()
    assert_scored(parts_of(tmp_path / "out"), rows.filter(pa.array(~bad)))
    aside = pq.read_table(tmp_path / "out" / "_monorail" / "invalid" / "part-000000.parquet")
    assert aside["monorail_row"].to_pylist() == np.flatnonzero(bad).tolist()


def test_quarantine_of_all_rows(score, tmp_path):
    rows = rows_of(300).set_column(2, "a", pa.nulls(300, pa.float64()))
    pq.write_table(rows, tmp_path / "rows.parquet")
    report = score(tmp_path / "rows.parquet", tmp_path / "out", invalid="quarantine")
    assert (report.rows, report.invalid, len(parts_of(tmp_path / "out"))) == (0, 300, 0)


def test_a_column_all_null(score, registry, frame, tmp_path):
    with pytest.raises(InputError) as caught:
        score(rows_of(30).set_column(2, "a", pa.nulls(30)), tmp_path / "out")
    assert caught.value.code == "null_not_allowed"
    # Where nulls are allowed, they are scored; so is a category that was never seen.
    frame = frame.assign(dep=np.nan, carrier="never seen")
    found = mr.score("flights", frame, registry=registry).to_table()
    direct = mr.load("flights", registry=registry).predict(pa.Table.from_pandas(frame))
    assert found["probability"].to_pylist() == direct["probability"].to_pylist()


def test_a_nullable_column_may_be_absent(registry, frame):
    found = mr.score("flights", frame.drop(columns="dep"), registry=registry).to_table()
    with_nulls = mr.score("flights", frame.assign(dep=np.nan), registry=registry).to_table()
    assert found.equals(with_nulls)


def test_schemas_are_judged_before_the_first_row(score, tmp_path):
    paths = files_of(tmp_path / "in", [10, 10])
    rows = rows_of(10)
    cases = {
        "missing_column": rows.drop_columns(["a"]),
        "wrong_type": rows.set_column(2, "a", pa.array(["x"] * 10)),
        "malformed_request": None,
    }
    for code, table in cases.items():
        if table is None:
            paths[1].write_bytes(paths[0].read_bytes()[:-100])
        else:
            pq.write_table(table, paths[1])
        with pytest.raises(InputError) as caught:
            score(tmp_path / "in", tmp_path / "out")
        assert (caught.value.code, str(paths[1]) in str(caught.value)) == (code, True)
        assert not (tmp_path / "out").exists()


def test_one_file_with_the_wrong_columns_is_named(score, tmp_path):
    pq.write_table(rows_of(10).drop_columns(["a"]), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"rows\.parquet") as caught:
        score(tmp_path / "rows.parquet", tmp_path / "out")
    assert caught.value.code == "missing_column"
    pq.write_table(rows_of(10).set_column(2, "a", pa.array(["x"] * 10)), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"rows\.parquet") as caught:
        score(tmp_path / "rows.parquet", tmp_path / "out")
    assert (caught.value.code, caught.value.details[0]["column"]) == ("wrong_type", "a")


def test_columns_that_cannot_be_passed_through(score, tmp_path):
    rows = rows_of(10)
    for columns, data, code in [
        (["nope"], rows, "missing_column"),
        (["label"], rows.append_column("label", pa.array(range(10))), "duplicate_column"),
        (["id"], rows.select(["id", "unused"]), "missing_column"),
    ]:
        with pytest.raises(InputError) as caught:
            score(data, tmp_path / "out", columns=columns)
        assert caught.value.code == code
    # Not passed through, a column with the name of a prediction is in nobody's way.
    score(rows.append_column("label", pa.array(range(10))), tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [{"invalid": "ignore"}, {"invalid": "quarantine"}, {"workers": 0}, {"part_rows": 0}, {"part_rows": True}],
)
def test_settings_that_make_no_sense(score, options):
    with pytest.raises(SettingError) as caught:
        score(rows_of(1), **options)
    assert caught.value.code == "setting_invalid"


def test_a_model_that_is_not_there(score, tmp_path):
    with pytest.raises(NotFoundError):
        score(rows_of(1), tmp_path / "out", model="nobody")


def test_a_folder_that_cannot_be_made(score, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be made"):
        score(rows_of(1), tmp_path / "file" / "out")
    with pytest.raises(InputError, match="not known"):
        score(rows_of(1), "ftp://host/out")


# ------------------------------------------------------------ streams


def test_a_stream_is_read_again_and_in_order(score, tmp_path):
    files_of(tmp_path / "in", [1_200, 700])
    rows = pq.read_table(tmp_path / "in").combine_chunks()
    with score(tmp_path / "in") as scored:
        assert scored.schema.names == ["id", "label", "probability", "single"]
        assert_scored(pa.Table.from_batches(scored), rows)
        assert_scored(pa.table(scored), rows)
        assert_scored(scored.to_reader().read_all(), rows)
        assert_scored(scored.to_table(), rows)


def test_a_stream_scores_only_what_is_read(score, tmp_path):
    paths = files_of(tmp_path / "in", [100, 100])
    pq.write_table(changed(rows_of(100), "a", 50, None), paths[1])
    batches = iter(score(tmp_path / "in", workers=1))
    assert next(batches).num_rows == 100
    with pytest.raises(InputError) as caught:
        list(batches)
    assert (caught.value.details[0]["file"], caught.value.details[0]["row"]) == (str(paths[1]), 50)


def test_a_stream_of_what_can_be_read_once_is_read_twice(score):
    rows = rows_of(1_000)
    with score(rows.to_reader()) as scored:
        for _ in range(2):
            assert_scored(scored.to_table(), rows)


def test_a_loaded_model_is_scored_with(score, home):
    loaded = mr.load("scorer", registry=home)
    for model in (loaded, loaded.version, str(loaded.version.path) + "/"):
        assert_scored(score(rows_of(10), model=model).to_table(), rows_of(10))


def test_what_workers_are_given_is_enough(score, home, tmp_path):
    """Pickled, a model takes its bundle along: where it arrives, there may be no registry."""
    import importlib

    model = importlib.import_module("monorail.score.model").PackedModel("scorer", registry=home)
    packed = pickle.dumps(model)
    elsewhere = pickle.loads(packed)
    elsewhere._path = tmp_path / "gone"
    elsewhere.threads = 7  # an engine of its own
    answer = pa.table(elsewhere.engine().predict(rows_of(5).select(["a", "b", "c", "amount"])))
    assert len(answer) == 5


def test_a_model_with_workers(tmp_path):
    publish_worker(tmp_path / "registry", "python", "Nothing")
    (tmp_path / "registry").chmod(0o755)
    rows = pa.table({"x": np.arange(10_000.0), "do": [""] * 10_000})
    with pytest.raises(TrustError):
        mr.score("python", rows, registry=tmp_path / "registry")
    with mr.score("python", rows, registry=tmp_path / "registry", trust=True) as scored:
        found = scored.to_table()
        # Elsewhere there is neither the registry nor its mode: trust was given where they are.
        elsewhere = pickle.loads(pickle.dumps(scored._scorer))
    assert found["y"].equals(rows["x"])
    assert elsewhere.score(rows.to_batches()[0].slice(0, 5))["y"].to_pylist() == [0, 1, 2, 3, 4]
    elsewhere.model.close()


def test_a_plan_is_readable(score, tmp_path):
    files_of(tmp_path / "in", [3])
    score(tmp_path / "in", tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "_monorail" / "plan.json").read_text())
    assert (plan["model"]["name"], plan["columns"], plan["parts"]) == (
        "scorer",
        ["id"],
        [[f"{tmp_path}/in/0.parquet, row group 0"]],
    )


def test_pandas_is_not_changed(score):
    frame = pd.DataFrame(rows_of(10).to_pandas())
    before = frame.copy()
    score(frame).to_table()
    pd.testing.assert_frame_equal(frame, before)
