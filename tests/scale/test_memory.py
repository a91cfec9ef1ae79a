"""Memory held under a limit of the operating system, on data ten times as large as the limit leaves room for."""
# The types of frameworks are guessed from their sources, and guessed wrong here.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ..support.bundles import publish_scorer
from ..support.scoring import rows_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what RLIMIT_DATA limits")

#: What a process may take beyond what it has when it begins, in MiB.
ROOM = 240
ROWS = 200_000
TEXT = 600
#: How often the file is listed: ten times as much as there is room for, in memory.
TIMES = 10 * (ROOM << 20) // (ROWS * TEXT) + 1

CHILD = """
import json, resource, sys
import pyarrow.parquet as pq
import monorail as mr
from monorail.score.model import PackedModel

def held():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
    return int(line.split()[1]) << 10

folder, files, room = sys.argv[1], [sys.argv[2]] * int(sys.argv[3]), int(sys.argv[4]) << 20
BEGIN
limit = held() + room
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
THEN
print(json.dumps(done))
"""
BEGIN_SCORE = """
mr.score
PackedModel("scorer", registry=folder + "/registry").engine()
"""
SCORE = """
report = mr.score("scorer", files, out=folder + "/out", columns=["id", "text"], registry=folder + "/registry",
    workers=1, quiet=True)
done = {"rows": report.rows}
"""
BEGIN_FIT = """
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
mr.fit(make_column_transformer((OneHotEncoder(), ["text"]), (StandardScaler(), ["a", "b", "c"])),
    pq.read_table(files[0]).slice(0, 100), quiet=True)
"""
FIT = """
steps = make_column_transformer((OneHotEncoder(), ["text"]), (StandardScaler(), ["a", "b", "c"]))
fitted = mr.fit(steps, files, workers=1, quiet=True)
encoder, scaler = fitted.named_transformers_.values()
done = {"rows": int(scaler.n_samples_seen_), "mean": scaler.mean_[0], "categories": len(encoder.categories_[0])}
"""
#: What has no place under the limit: it must fail, or the limit says nothing.
WHOLE = """
done = {"rows": sum(len(pq.read_table(file, columns=["text"], use_threads=False)) for file in [files])}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A registry, and a file whose text is long and repeats: small on the disk, large in memory."""
    folder = tmp_path_factory.mktemp("memory")
    publish_scorer(folder / "registry", "scorer")
    words = pa.array([f"{place:06d}" * (TEXT // 6) for place in range(500)])
    codes = pa.array(np.random.default_rng(0).integers(0, 500, 20_000), pa.int32())
    text = pa.DictionaryArray.from_arrays(codes, words).cast(pa.string())
    rows = rows_of(20_000).append_column("text", text)
    with pq.ParquetWriter(folder / "rows.parquet", rows.schema) as file:
        for _ in range(ROWS // len(rows)):
            file.write_table(rows)
    return folder


def run(folder: Path, begin: str, then: str, times: int) -> dict[str, int]:
    """What a child under the limit did."""
    done = start(folder, begin, then, times)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def start(folder: Path, begin: str, then: str, times: int) -> subprocess.CompletedProcess[str]:
    """A child under the limit."""
    code = CHILD.replace("BEGIN", begin).replace("THEN", then)
    arguments = [sys.executable, "-c", code, str(folder), str(folder / "rows.parquet"), str(times), str(ROOM)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_scoring(folder):
    assert start(folder, BEGIN_SCORE, WHOLE, TIMES).returncode != 0
    done = run(folder, BEGIN_SCORE, SCORE, TIMES)
    assert done == {"rows": TIMES * ROWS}
    assert sum(pq.read_metadata(path).num_rows for path in (folder / "out").glob("part-*.parquet")) == TIMES * ROWS


def test_fitting(folder):
    done = run(folder, BEGIN_FIT, FIT, TIMES)
    rows = pq.read_table(folder / "rows.parquet", columns=["a", "text"])
    assert done["rows"] == TIMES * ROWS
    assert done["categories"] == pc.count_distinct(rows["text"]).as_py()
    assert done["mean"] == pytest.approx(pc.mean(rows["a"]).as_py(), rel=1e-12)
