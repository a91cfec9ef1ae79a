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
#: Fits a step, given by name, on the column once over and then five times; prints what it kept and its memory at most.
PROGRAM = """
import json, resource, sys
import numpy as np, pandas as pd, pyarrow as pa
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from monorail.fit.learning import Block, Inputs
from monorail.fit.registry import learner_for

name, distinct = sys.argv[1], int(sys.argv[2])
step = {
    "one-hot": OneHotEncoder(min_frequency=2),
    "target": TargetEncoder(smooth=5.0),
    "terms": CountVectorizer(token_pattern=r"\\S+"),
}[name]
words = pa.array([f"customer-{number}" for number in range(distinct)])

def block(start, end):
    numbers = np.arange(start, end) * 7919 % distinct
    return Block(pa.record_batch({"who": words.take(pa.array(numbers))}), None, start, pa.array(numbers % 2))

def fitted(rows):
    first = block(0, 100)
    target = pd.Series(first.target.to_pylist(), name="late")
    inputs = Inputs(("who",), (pa.string(),), first.batch.to_pandas(), target, None, pa.int64())
    learner = learner_for(step)(clone(step), inputs)
    while wanted := learner.wants():
        states = [statistic.start() for statistic in wanted]
        for start in range(0, rows, 8192):
            one = block(start, min(start + 8192, rows))
            states = [statistic.update(state, one) for statistic, state in zip(wanted, states)]
        learner.learn(dict(zip(wanted, states)))
    return learner.step

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)

before, found = peak(), []
for rows in (distinct, 5 * distinct):
    made = fitted(rows)
    kept = len(made.vocabulary_) if name == "terms" else len(made.categories_[0])
    found.append({"kept": kept, "mb": peak() - before})
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", ["one-hot", "target", "terms"])
def test_memory_goes_by_the_different_values(name: str) -> None:
    command = [sys.executable, "-c", PROGRAM, name, str(DISTINCT)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    once, often = json.loads(done.stdout)
    assert once["kept"] == often["kept"] == DISTINCT
    # Little more than a kilobyte for each value, and nothing for each row.
    assert often["mb"] < 75
    assert often["mb"] < once["mb"] + 25
