"""The data that the benchmarks of scale read: Parquet files of random rows, made once and kept.

Twelve float64 columns with nulls, four columns of text (12, 60, 800 and 100,000 different words), and ``late``, 0 or 1,
to be learnt. 1,250,000 rows a file, in row groups of 250,000, snappy; ten million rows are about 1.2 GB::

    python -m benchmarks.scale_data [ROWS]      # makes them and prints where they are
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Where the files are kept.
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "monorail" / "bench" / "scale-1"
#: Rows of one file.
FILE_ROWS = 1_250_000
ROW_GROUP = 250_000
NUMBERS = tuple(f"n{place:02}" for place in range(12))
WORDS = ("carrier", "region", "product", "ticket")
#: What is learnt of the others.
TARGET = "late"
_SIZES = (12, 60, 800, 100_000)


def files(rows: int = 10_000_000) -> list[Path]:
    """The files that hold the first ``rows`` rows, made where they are not there yet.

    Args:
        rows: Rounded up to whole files; more than ten million list the same files again.
    """
    number = -(-rows // FILE_ROWS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = [_file(place) for place in range(min(number, 8))]
    return [made[place % 8] for place in range(number)]


def _file(place: int) -> Path:
    """One file, written under another name first."""
    path = FOLDER / f"part-{place:02}.parquet"
    if not path.exists():
        half = path.with_suffix(f".{os.getpid()}")
        pq.write_table(_table(place), half, row_group_size=ROW_GROUP, compression="snappy")
        half.replace(path)
    return path


def _table(place: int) -> pa.Table:
    """The rows of a file: the same at every call."""
    random = np.random.default_rng(place)
    numbers = [_number(random, column) for column in range(len(NUMBERS))]
    # Few are frequent, many are rare.
    codes = [(random.random(FILE_ROWS) ** 2 * size).astype(np.int32) for size in _SIZES]
    drift = np.nan_to_num(numbers[0][0]) - 0.01 * numbers[3][0] + np.sin(codes[0]) + 0.002 * codes[2]
    late = (drift + random.logistic(size=FILE_ROWS) > 0.8).astype(np.int8)
    columns = {name: pa.array(values, mask=nulls) for name, (values, nulls) in zip(NUMBERS, numbers, strict=True)}
    for name, size, code in zip(WORDS, _SIZES, codes, strict=True):
        # So many long words that Parquet stores the tickets plainly, not as places in a dictionary.
        names = [f"{name}-{word}" for word in range(size)]
        words = pa.array(names if size < 10_000 else [sha256(text.encode()).hexdigest()[:20] for text in names])
        nulls = random.random(FILE_ROWS) < 0.01
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(code, mask=nulls), words).cast(pa.string())
    return pa.table(columns | {TARGET: pa.array(late)})


def _number(random: np.random.Generator, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of a column and which are null: bells, long tails, ties, and plain ranges."""
    nulls = random.random(FILE_ROWS) < 0.01 * column
    kind = column % 4
    if kind == 0:
        return random.normal(column, 1 + column, FILE_ROWS), nulls
    if kind == 1:
        return random.lognormal(1, 1 + column / 10, FILE_ROWS), nulls
    if kind == 2 or column > 3:
        return random.uniform(-1_000, 1_000, FILE_ROWS), nulls
    return np.round(random.gamma(2, 20, FILE_ROWS), 1), nulls


if __name__ == "__main__":
    for made in files(int((sys.argv[1:] or ["10000000"])[0])):
        sys.stdout.write(f"{made}\n")
