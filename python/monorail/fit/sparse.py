"""Sparse rows between steps, made from Arrow columns and from parts, as scikit-learn would make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute

from .labels import is_text

pc: Any = pyarrow.compute
_ONE_HOT = "sklearn.preprocessing._encoders.OneHotEncoder"
#: What was found of encoders in this process.
_codes: WeakKeyDictionary[Any, list[_Codes] | None] = WeakKeyDictionary()


class _Codes:
    """Where a fitted one-hot encoder puts each category of a text column.

    Args:
        words: Its categories, without what is missing.
        places: Output column of each; -1 for none.
        missing: Output column of a null; None where a null is no category.
    """

    def __init__(self, words: pa.Array, places: np.ndarray, missing: int | None) -> None:
        self.words = words
        self.places = places
        self.missing = missing

    def of(self, column: pa.Array) -> np.ndarray | None:
        """Output column of every row, -1 for none; None where there is a value that is no category."""
        if pa.types.is_dictionary(column.type):
            words = self._of_words(column.dictionary.cast(self.words.type))
            codes = pc.take(pa.array(words), column.indices)
        else:
            codes = pa.array(self._of_words(column if column.type == self.words.type else column.cast(self.words.type)))
        if column.null_count:
            if self.missing is None:
                return None
            codes = pc.if_else(pc.is_null(column), pa.scalar(self.missing, pa.int64()), codes)
        found = codes.to_numpy(zero_copy_only=False)
        return None if (found == -2).any() else found

    def _of_words(self, words: pa.Array) -> np.ndarray:
        """Output column of each word; -2 for one that is no category."""
        found = pc.fill_null(pc.index_in(words, value_set=self.words), len(self.words)).to_numpy(zero_copy_only=False)
        return np.append(self.places, -2)[found]


def one_hot(step: Any, batch: pa.RecordBatch, names: Sequence[str]) -> Any:
    """What a fitted one-hot encoder of text columns gives, as a sparse matrix; None where it must say itself.

    Args:
        step: Any step.
        batch: Raw columns, those it is given among them.
        names: Names of those.
    """
    if f"{type(step).__module__}.{type(step).__qualname__}" != _ONE_HOT or not step.sparse_output:
        return None
    columns = [batch.column(name) for name in names]
    if not all(is_text(column.type) for column in columns) or getattr(step, "_sklearn_output_config", None):
        return None
    if step not in _codes:
        _codes[step] = _codes_of(step)
    known = _codes[step]
    if known is None:
        return None
    places = []
    for codes, column in zip(known, columns, strict=True):
        if (found := codes.of(column)) is None:
            return None
        places.append(found)
    import scipy.sparse as sp

    width = sum(_widths(step))
    indices = np.stack(places, axis=1).astype(np.int32)
    rows, most = indices.shape
    kept = indices >= 0
    if kept.all():
        indptr, flat = np.arange(0, rows * most + 1, most, dtype=np.int32), indices.ravel()
    else:
        indptr = np.append(0, np.cumsum(kept.sum(axis=1))).astype(np.int32)
        flat = indices[kept]
    return sp.csr_matrix((np.ones(len(flat), step.dtype), flat, indptr), shape=(rows, width))


def side_by_side(parts: Sequence[Any], sparse: bool) -> Any:
    """Parts as a ColumnTransformer puts them side by side.

    Args:
        parts: Frames and matrices of as many rows.
        sparse: Whether the whole is sparse.
    """
    import scipy.sparse as sp

    if not sparse:
        return np.hstack([part.toarray() if sp.issparse(part) else np.asarray(part) for part in parts])
    from sklearn.utils.validation import check_array

    checked: list[Any] = [
        part if sp.issparse(part) else check_array(part, accept_sparse=True, ensure_all_finite=False) for part in parts
    ]
    return _stacked(checked) if len({part.dtype for part in checked}) == 1 else sp.hstack(checked).tocsr()


def _stacked(parts: Sequence[Any]) -> Any:
    """Parts of one type as one row matrix, without the way over triples that SciPy takes."""
    import scipy.sparse as sp

    rows = parts[0].shape[0]
    thin = [part.tocsr() if sp.issparse(part) else _csr_of(part) for part in parts]
    counts = [np.diff(part.indptr) for part in thin]
    indptr = np.append(0, np.cumsum(np.sum(counts, axis=0))).astype(np.int64)
    data = np.empty(indptr[-1], thin[0].dtype)
    kind = np.int32 if max(indptr[-1], sum(part.shape[1] for part in thin)) < 2**31 else np.int64
    indices = np.empty(indptr[-1], kind)
    first, start = indptr[:-1].copy(), 0
    for part, count in zip(thin, counts, strict=True):
        places = np.repeat(first - part.indptr[:-1], count) + np.arange(part.nnz)
        data[places] = part.data
        indices[places] = part.indices + start
        first += count
        start += part.shape[1]
    return sp.csr_matrix((data, indices, indptr.astype(kind)), shape=(rows, start))


def _csr_of(part: np.ndarray) -> Any:
    """A dense matrix without its zeros."""
    import scipy.sparse as sp

    rows, width = part.shape
    if part.all():
        indices = np.tile(np.arange(width, dtype=np.int32), rows)
        return sp.csr_matrix((part.ravel(), indices, np.arange(0, rows * width + 1, width)), shape=part.shape)
    return sp.csr_matrix(part)


def _codes_of(step: Any) -> list[_Codes] | None:
    """Where each category of every column goes; None where a category is no text."""
    import pandas as pd

    columns = [categories.tolist() for categories in step.categories_]
    found = []
    for words in columns:
        text = [word for word in words if isinstance(word, str)]
        rest = [word for word in words if not isinstance(word, str)]
        if len(rest) > 1 or any(not (word is None or word != word) for word in rest):
            return None
        found.append((text, rest))
    most = max(len(words) for words in columns)
    # A row for each category; a column with fewer repeats its last.
    shown = [words + words[-1:] * (most - len(words)) for words in columns]
    names = getattr(step, "feature_names_in_", range(len(columns)))
    frame = pd.DataFrame({name: pd.Series(words, dtype=object) for name, words in zip(names, shown, strict=True)})
    shown_as = step.transform(frame if hasattr(step, "feature_names_in_") else frame.to_numpy()).tocoo()
    ends = np.cumsum([0, *_widths(step)])
    codes = []
    for place, (words, (text, rest)) in enumerate(zip(columns, found, strict=True)):
        # Never dense: a hundred thousand words would be as many times as many numbers.
        inside = (shown_as.col >= ends[place]) & (shown_as.col < ends[place + 1]) & (shown_as.row < len(words))
        places = np.full(len(words), -1, np.int64)
        places[shown_as.row[inside]] = shown_as.col[inside]
        known = dict(zip(map(_key, words), places.tolist(), strict=True))
        missing = known[None] if rest else None
        codes.append(_Codes(pa.array(text, pa.large_string()), np.array([known[w] for w in text], np.int64), missing))
    return codes


def _key(word: Any) -> Any:
    return word if isinstance(word, str) else None


def _widths(step: Any) -> list[int]:
    """Output columns of each input column."""
    return [int(width) for width in step._n_features_outs]
