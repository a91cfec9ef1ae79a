"""The rows that estimators are fitted on: the wine data that ship with scikit-learn, every third row held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine


@dataclass(frozen=True)
class Data:
    """Rows to fit on and rows held out, with every kind of target for the former.

    Attributes:
        rows, held_out: six standardised columns.
        classes: three names.
        two: whether it is the second of them.
        number, numbers: one number a row, and two.
        labels: three answers of yes or no a row.
    """

    rows: pd.DataFrame
    held_out: pd.DataFrame
    classes: np.ndarray
    two: np.ndarray
    number: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray

    def by(self, function: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both tables with a function applied to each."""
        return function(self.rows), function(self.held_out)


def _data() -> Data:
    wine: Any = load_wine()
    values = (wine.data - wine.data.mean(axis=0)) / wine.data.std(axis=0)
    frame: Any = pd.DataFrame(np.round(values[:, :6], 3), columns=pd.Index([f"x{i}" for i in range(6)]))
    held = np.arange(len(frame)) % 3 == 2
    fit = ~held
    names = np.asarray(["barolo", "grignolino", "barbera"])[wine.target]
    numbers = np.round(wine.data[fit][:, 10:13], 2)
    return Data(
        frame[fit].reset_index(drop=True),
        frame[held].reset_index(drop=True),
        names[fit],
        wine.target[fit] == 1,
        numbers[:, 2] / 100,
        numbers[:, :2],
        (values[fit][:, 10:13] > 0).astype(int),
    )


DATA = _data()


def positive(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows without negative numbers."""
    return (frame + 4).round(3)


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as small whole numbers."""
    return (frame + 4).clip(lower=0).round().astype(np.int64)


def holes(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with a sixth of their values missing."""
    values = frame.to_numpy(copy=True)
    rows, columns = np.indices(values.shape)
    values[(rows + 2 * columns) % 6 == 0] = np.nan
    return pd.DataFrame(values, columns=frame.columns)


def words(frame: pd.DataFrame) -> pd.DataFrame:
    """Two columns of text."""
    kinds = np.asarray(["klein", "mittel", "groß", "riesig"])
    first = kinds[np.digitize(frame["x0"], [-0.8, 0.0, 0.9])]
    second = np.where(frame["x1"] > 0, "süß", np.where(frame["x2"] > 0.5, "sauer", "herb"))
    return pd.DataFrame({"size": first, "taste": second})


def documents(frame: pd.DataFrame) -> pd.DataFrame:
    """One column of short texts."""
    text = words(frame)
    return pd.DataFrame({"text": [f"Ein {a} Wein, {b} und {a}: 1 Glas!" for a, b in text.to_numpy()]})


def records(frame: pd.DataFrame) -> pd.DataFrame:
    """A number and a word a row."""
    return pd.DataFrame({"x0": frame["x0"], "size": words(frame)["size"]})
