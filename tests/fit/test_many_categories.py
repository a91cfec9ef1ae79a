"""Columns of very many categories: memory goes by the different values, not by the rows, and has a limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Different values of the column.
DISTINCT = 50_000
#: Fits a step, given by name, on so many rows of a column of text; prints what it kept and how much memory it took.
PROGRAM = """
import json, resource, sys
import numpy as np, pandas as pd, pyarrow as pa
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder
from monorail.fit.learning import Block, Inputs
from monorail.fit.registry import learner_for

name, rows, distinct = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
step = {
    "one-hot": OneHotEncoder(min_frequency=2),
    "ordinal": OrdinalEncoder(),
    "target": TargetEncoder(smooth=5.0),
    "terms": CountVectorizer(token_pattern=r"\\S+"),
}[name]
words = pa.array([f"customer-{number}" for number in range(distinct)])

def block(start, size=8192):
    numbers = np.arange(start, min(start + size, rows)) * 7919 % distinct
    batch = pa.record_batch({"who": words.take(pa.array(numbers))})
    return Block(batch, None, start, pa.array(numbers % 2))

first = block(0, 100)
target = pd.Series(first.target.to_pylist(), name="late")
learner = learner_for(step)(
    step, Inputs(("who",), (pa.string(),), first.batch.to_pandas(), target, None, pa.int64())
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
while wanted := learner.wants():
    states = [statistic.start() for statistic in wanted]
    for start in range(0, rows, 8192):
        one = block(start)
        states = [statistic.update(state, one) for statistic, state in zip(wanted, states)]
    learner.learn(dict(zip(wanted, states)))
took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
kept = len(step.vocabulary_) if name == "terms" else len(step.categories_[0])
print(json.dumps({"kept": kept, "mb": took / (1024 if sys.platform == "linux" else 1024**2)}))
"""


def run(name: str, rows: int) -> dict[str, float]:
    """What a step kept of so many rows, and the memory that took, in megabytes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, str(rows), str(DISTINCT)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["one-hot", "target", "terms"])
def test_memory_goes_by_the_different_values(name: str) -> None:
    once, often = run(name, DISTINCT), run(name, 5 * DISTINCT)
    assert once["kept"] == often["kept"] == DISTINCT
    # Little more than a kilobyte for each value, and nothing for each row.
    assert often["mb"] < 75
    assert often["mb"] < once["mb"] + 25
