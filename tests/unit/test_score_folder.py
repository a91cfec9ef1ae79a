"""The folder of a run where things go wrong: it is the data's own, cannot be written to, or the disk is full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from monorail.data.sources.places import leads_to
from monorail.errors import InputError

from ..support.scoring import assert_scored, files_of, is_whole, parts_of, rows_of
from ..support.waiting import wait_until


@pytest.mark.parametrize(
    ("name", "path", "leads"),
    [
        ("in", "in/part-000000.parquet", True),
        ("./in/", "in/sub/part-000000.parquet", True),
        ("in", "in/_scored/part-000000.parquet", False),
        ("in", "inner/part-000000.parquet", False),
        ("in/*.parquet", "in/part-000000.parquet", True),
        ("in/*.parquet", "in/sub/part-000000.parquet", False),
        ("in/*", "in/sub/part-000000.parquet", True),
        ("in/*", "in/.sub/part-000000.parquet", False),
        ("in/**/*.parquet", "in/a/b/part-000000.parquet", True),
        ("in/*.csv", "in/part-000000.parquet", False),
        ("in/0.parquet", "in/part-000000.parquet", False),
        ("gs://bucket/in", "in/part-000000.parquet", False),
        ("gs://bucket/in", "gs://bucket/in/out/part-000000.parquet", True),
        ("gs://bucket/in/*.parquet", "gcs://bucket/in/part-000000.parquet", True),
        ("gs://bucket/in", "gs://other/in/part-000000.parquet", False),
    ],
)
def test_which_names_lead_to_a_file(name, path, leads):
    assert leads_to(name, path) is leads


@pytest.mark.parametrize("out", ["in", "in/scored", "in/a/b"])
def test_predictions_do_not_go_into_the_data(out, score, tmp_path):
    files_of(tmp_path / "in", [10, 10])
    for data in (tmp_path / "in", [str(tmp_path / "in" / "**" / "*.parquet")]):
        with pytest.raises(InputError, match="lies in the data that is scored") as caught:
            score(data, tmp_path / out, overwrite=True)
        assert caught.value.code == "score_conflict"
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["0.parquet", "1.parquet"]
    # Readers pass over such names, and so does a second start.
    for _ in range(2):
        score(tmp_path / "in", tmp_path / "in" / "_scored")
    assert is_whole(tmp_path / "in" / "_scored")


def test_predictions_that_are_scored_are_not_replaced_by_their_own(score, tmp_path):
    files_of(tmp_path / "in", [10])
    score(tmp_path / "in", tmp_path / "out", columns=["id", "a", "b", "c", "amount"])
    (part,) = (tmp_path / "out").glob("part-*")
    content = part.read_bytes()
    for data in (part, tmp_path / "out", [part]):
        with pytest.raises(InputError, match="lies in the data"):
            score(data, tmp_path / "out", overwrite=True)
    assert part.read_bytes() == content


def test_what_no_run_wrote_is_told_before_anything_is_there(score, tmp_path):
    files_of(tmp_path / "in", [10])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"not a run's, such as mine.txt") as caught:
        score(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert "is not replaced" in str(caught.value.hint)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_name_is_no_folder(score, tmp_path):
    files_of(tmp_path / "in", [10])
    with pytest.raises(InputError, match="out is empty"):
        score(tmp_path / "in", "")
    with pytest.raises(InputError, match="'' does not exist"):
        score("", tmp_path / "out")


def test_a_full_disk_is_told_and_what_is_whole_stays(score, tmp_path):
    """A limit on the size of files fails a write as a full disk does."""
    files_of(tmp_path / "in", [1_000, 200_000], row_group=100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written to: .*too large") as caught:
            score(tmp_path / "in", tmp_path / "out", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "make room" in str(caught.value.hint)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == ["part-000000.parquet"]
    report = score(tmp_path / "in", tmp_path / "out", workers=1)
    assert (report.rows, report.resumed_rows) == (201_000, 1_000)
    assert is_whole(tmp_path / "out")


WITHOUT_RIGHTS = """
import ctypes, os, sys
if os.getuid() == 0:
    # Root keeps its name and loses what lets it open everything.
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")
import monorail as mr
try:
    mr.score("scorer", sys.argv[2:], out=sys.argv[1], columns=["id"], registry=os.environ["HOME_OF_MODELS"], quiet=True)
except mr.errors.MonorailError as error:
    print(type(error).__name__, error)
"""


def said_without_rights(home: Path, out: str, *data: str) -> str:
    """What scoring says to a user to whom modes of files apply, root or not."""
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, out, *data],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "HOME_OF_MODELS": str(home)},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_may_not_be_read_is_told_and_not_passed_over(home):
    files_of(Path("in/open"), [10])
    (closed,) = files_of(Path("in/closed"), [10])
    closed.chmod(0)
    assert "InputError in/closed/0.parquet cannot be read" in said_without_rights(home, "out", "in")
    closed.parent.chmod(0)
    for data in ("in", "in/closed/*.parquet", "in/closed/0.parquet"):
        assert f"InputError {data} cannot be read: [Errno 13] Permission denied" in said_without_rights(
            home, "out", data
        )
    closed.parent.chmod(0o755)


def test_what_may_not_be_written_is_told(home):
    files_of(Path("in"), [10])
    Path("out").mkdir(mode=0o555)
    for out, what in (("out", "written to"), ("out/below", "made")):
        said = said_without_rights(home, out, "in")
        assert f"InputError {out} cannot be {what}: Permission denied\nhint: name a folder that" in said
    assert not list(Path("out").iterdir())


def test_a_name_of_no_file_is_told(score, tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    with pytest.raises(InputError, match="is no file"):
        score(tmp_path / "pipe.parquet", tmp_path / "out")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "gone.parquet").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="cannot be read"):
        score(tmp_path / "in", tmp_path / "out")


def test_names_of_the_side_file_are_its_own(score, tmp_path):
    rows = rows_of(10).append_column("monorail_row", pa.array(range(10)))
    with pytest.raises(InputError, match="'monorail_row' has a name that") as caught:
        score(rows, tmp_path / "out", columns="*", invalid="quarantine")
    assert caught.value.code == "duplicate_column"
    score(rows, tmp_path / "out", invalid="quarantine")
    score(rows, tmp_path / "other", columns="*")
    assert_scored(parts_of(tmp_path / "out"), rows)


def test_interrupted_and_started_again_no_row_is_missing_or_twice(home, tmp_path):
    files_of(tmp_path / "in", [400_000] * 6, row_group=100_000)
    command = [sys.executable, "-m", "monorail.cli", "score", "scorer", "in", "--out", "out", "--columns", "id"]
    environment = {**os.environ, "MONORAIL_REGISTRY": str(home)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        wait_until("the first part", lambda: process.poll() is not None or [*(tmp_path / "out").glob("part-*")])
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=60)[1]
    assert not list((tmp_path / "out").rglob("*.tmp"))
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    assert parts_of(tmp_path / "out")["id"].to_pylist() == list(range(2_400_000))
    assert is_whole(tmp_path / "out")
