"""Rows made to break a compiled model: nulls, strangers, ends of ranges, and both sides of every decision.

Every generator writes a few cells of rows sampled from the example, so that a hard value meets ordinary neighbours, and
says how many rows it made. Two calls with the same arguments give the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .build import ColumnSplits

_SEED = 20260
_TINY = float(np.float32(1e-35))
"""LightGBM's limit for zero; its neighbours are good values for every model."""
_STRANGE = ("Zürich", "東京", "naïve café", "e\u0301", "\U0001f680", "İstanbul", "ß")


@dataclass(frozen=True)
class HardRows:
    """Generated rows.

    Attributes:
        table: rows of the signature's types.
        generators: for each row the generator that made it.
        counts: rows by generator, in the order they ran.
    """

    table: pa.Table
    generators: np.ndarray
    counts: dict[str, int]


@dataclass
class _Cells:
    """One column while rows are made: values, and where they are null."""

    values: np.ndarray
    null: np.ndarray


@dataclass
class _Maker:
    """Sampled rows, and the cells that replace some of theirs."""

    inputs: Sequence[Mapping[str, Any]]
    pool: dict[str, _Cells]
    rows: int
    random: np.random.Generator
    blocks: list[tuple[str, dict[str, _Cells]]] = field(default_factory=list)

    def block(self, generator: str, count: int) -> dict[str, _Cells]:
        """`count` sampled rows to write into."""
        chosen = self.random.integers(0, self.rows, count)
        block = {name: _Cells(cells.values[chosen], cells.null[chosen]) for name, cells in self.pool.items()}
        self.blocks.append((generator, block))
        return block


def make_hard_rows(
    inputs: Sequence[Mapping[str, Any]],
    example: pa.Table,
    splits: Sequence[ColumnSplits] = (),
    *,
    least_rows: int = 10_000,
    most_rows: int = 500_000,
    far: bool = True,
) -> HardRows:
    """Makes hard rows for a signature.

    Args:
        inputs: the signature's inputs as bundle.json has them.
        example: rows of those columns to sample from; at least one.
        splits: where the model changes its mind, from `Compiled.splits`; every value is used at least once.
        least_rows: threshold rows go round again with other neighbours until there are this many rows in all, where
            the model has any threshold.
        most_rows: at most this many threshold rows; beyond it, thresholds are taken evenly.
        far: whether to go to the ends of what floats hold. A network only overflows there, in an order of its own.

    Raises:
        ValueError: the example has no rows.
    """
    if len(example) == 0:
        raise ValueError("hard rows are made from rows of the example, and it has none")
    pool = {entry["name"]: _cells(entry, example[entry["name"]]) for entry in inputs}
    maker = _Maker(inputs, pool, len(example), np.random.default_rng(_SEED))
    _nulls(maker)
    _text(maker)
    _ranges(maker, far)
    made = sum(len(next(iter(block.values())).null) for _, block in maker.blocks)
    _thresholds(maker, splits, least_rows - made, most_rows)
    return _assemble(maker, inputs)


def arrow_type(entry: Mapping[str, Any]) -> pa.DataType:
    """The Arrow type of a signature's input; a dictionary is written as plain text."""
    kind = entry["type"]
    if kind in ("string", "dictionary"):
        return pa.string()
    if kind == "timestamp":
        return pa.timestamp("us", entry.get("zone"))
    if kind == "tensor":
        result = pa.type_for_alias(entry["dtype"])
        for size in reversed(entry["shape"]):
            result = pa.list_(result, size)
        return result
    return pa.type_for_alias(kind)


def _cells(entry: Mapping[str, Any], column: pa.ChunkedArray | pa.Array) -> _Cells:
    kind = entry["type"]
    if kind == "tensor":
        from ..adapters.frames import tensor_values

        values = tensor_values(pa.chunked_array([column]) if isinstance(column, pa.Array) else column)
        return _Cells(values.reshape(len(values), -1), np.zeros(len(values), bool))
    null = column.is_null().to_numpy(zero_copy_only=False).astype(bool)
    if kind in ("string", "dictionary"):
        return _Cells(np.asarray(column.cast(pa.string()).to_pylist(), dtype=object), null)
    if kind == "date32":
        column = column.cast(pa.int32())
    elif kind == "timestamp":
        column = column.cast(arrow_type(entry)).cast(pa.int64())
    elif kind == "bool":
        return _Cells(pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(bool), null)
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        null = null | np.isnan(values)
    return _Cells(np.array(values), null)


def _nulls(maker: _Maker) -> None:
    """Each nullable column null alone, every pair of neighbours, random halves, and all at once."""
    names = [entry["name"] for entry in maker.inputs if entry.get("nullable") and entry["type"] != "tensor"]
    tensors = [entry for entry in maker.inputs if entry.get("nullable") and entry["type"] == "tensor"]
    groups = [[name] for name in names for _ in range(3)]
    groups += [list(pair) for pair in pairwise(names)]
    groups += [[name for name in names if maker.random.random() < 0.5] for _ in range(2 * len(names))]
    groups += [names] * 3 if names else []
    groups = [group for group in groups if group]
    if groups:
        block = maker.block("null", len(groups))
        for row, group in enumerate(groups):
            for name in group:
                block[name].null[row] = True
    for entry in tensors:
        width = maker.pool[entry["name"]].values.shape[1]
        values = maker.block("null", width + 3)[entry["name"]].values
        values[np.arange(width), np.arange(width)] = np.nan
        values[width:] = np.nan


def _text(maker: _Maker) -> None:
    """Words training cannot have seen, the empty string, and strings outside ASCII, in one column at a time."""
    names = [entry["name"] for entry in maker.inputs if entry["type"] in ("string", "dictionary")]
    for generator, words in (
        ("unseen_category", None),
        ("empty_string", ["", "", ""]),
        ("non_ascii", list(_STRANGE)),
    ):
        for name in names:
            chosen = _strangers(maker.pool[name]) if words is None else words
            cells = maker.block(generator, len(chosen))[name]
            cells.values[:] = np.asarray(chosen, dtype=object)
            cells.null[:] = False
    if len(names) > 1:
        block = maker.block("unseen_category", 3)
        for name in names:
            block[name].values[:] = "never seen"
            block[name].null[:] = False


def _strangers(cells: _Cells) -> list[str]:
    known = [value for value in cells.values[~cells.null][:50] if value]
    word = str(known[0]) if known else "word"
    return ["never seen", word + " ", " " + word, word.swapcase(), word + word, "nan", "None", "0", "x" * 300]


def _ranges(maker: _Maker, far: bool) -> None:
    """The ends of what was seen, one step beyond them, and the ends of what the type can hold, a cell a row."""
    for entry in maker.inputs:
        name, cells = entry["name"], maker.pool[entry["name"]]
        if cells.values.dtype == object:
            continue
        if entry["type"] == "tensor":
            width = cells.values.shape[1]
            per_element = [_ends(cells.values[:, i], np.zeros(len(cells.null), bool), far=far) for i in range(width)]
            values = maker.block("range", sum(map(len, per_element)))[name].values
            row = 0
            for element, ends in enumerate(per_element):
                values[row : row + len(ends), element] = ends
                row += len(ends)
            continue
        ends = _ends(cells.values, cells.null, entry["type"], far)
        if entry.get("nullable") and entry["type"] in ("int64", "uint64"):
            # Such a column enters as float64; what that cannot hold is refused before the graph.
            ends = ends[np.abs(ends.astype(np.float64)) < 2.0**53]
        target = maker.block("range", len(ends))[name]
        target.values[:] = ends
        target.null[:] = False


def _ends(values: np.ndarray, null: np.ndarray, kind: str = "", far: bool = True) -> np.ndarray:
    dtype = values.dtype
    known = values[~null]
    if dtype.kind == "b":
        return np.asarray([False, True, False, True])
    if dtype.kind == "f":
        known = known[np.isfinite(known)]
        low, high = (known.min(), known.max()) if len(known) else (dtype.type(0), dtype.type(1))
        last = 1e300 if dtype.itemsize == 8 else 3e38
        beyond = [last, -last, 1e15] if far else []
        with np.errstate(all="ignore"):
            ends = np.asarray([low, high, low - 1, high + 1, low * 2, high * 2, 0.0, -0.0, *beyond], dtype)
            fine = np.asarray(
                [_TINY, -_TINY, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).tiny, *beyond[2:]], dtype
            )
        steps = np.concatenate([np.nextafter(fine, dtype.type(np.inf)), np.nextafter(fine, dtype.type(-np.inf))])
        ends = np.concatenate([ends, fine, steps])
        return ends[np.isfinite(ends)]
    info = np.iinfo(dtype)
    low, high = (int(known.min()), int(known.max())) if len(known) else (0, 1)
    ends = [low, high, low - 1, high + 1, 0, 1, -1, 2 * high + 1]
    # Dates and times beyond year 9999 have no Python value, and no original takes them.
    first, last = int(info.min), int(info.max)
    ends += [] if kind in ("date32", "timestamp") else [first, last, first + 1, last - 1]
    return np.asarray([end for end in ends if first <= end <= last], dtype)


def _thresholds(maker: _Maker, splits: Sequence[ColumnSplits], wanted: int, most: int) -> None:
    """Both sides of every split, of all columns in the same rows; then again with other neighbours."""
    values = {}
    for split in splits:
        both = np.empty(2 * len(split.at), np.float64 if split.at.dtype.kind == "f" else split.at.dtype)
        both[0::2], both[1::2] = split.at, split.beside
        sides = _in_column(maker.pool[split.column].values.dtype, both)
        if len(sides) > most:
            sides = sides[np.linspace(0, len(sides) - 1, most).astype(np.int64)]
        if len(sides):
            values[split.column, split.element] = sides
    if not values:
        return
    longest = max(map(len, values.values()))
    count, share = longest, 1.0
    while True:
        block = maker.block("threshold", count)
        for (name, element), sides in values.items():
            rows = np.flatnonzero(maker.random.random(count) < share) if share < 1 else np.arange(count)
            cells, picked = block[name], sides[(rows + maker.random.integers(0, len(sides))) % len(sides)]
            if cells.values.ndim == 2:
                cells.values[rows, element] = picked
            else:
                cells.values[rows] = picked
                cells.null[rows] = False
        wanted -= count
        if wanted <= 0:
            return
        count, share = min(wanted, longest), float(maker.random.choice([0.2, 0.5, 0.8]))


def _in_column(dtype: np.dtype, sides: np.ndarray) -> np.ndarray:
    """Split values in the column's own type: for integers the whole numbers on both sides."""
    if dtype.kind == "f":
        with np.errstate(all="ignore"):
            cast = sides.astype(dtype)
        return cast[np.isfinite(cast)]
    if dtype.kind == "b":
        return np.asarray([False, True])
    info = np.iinfo(dtype)
    if sides.dtype.kind == "f":
        whole = np.unique(np.floor(sides))
        whole = np.unique(np.concatenate([whole, whole + 1]))
        return whole[(whole >= info.min) & (whole <= min(info.max, 2**62))].astype(dtype)
    return sides[(sides >= info.min) & (sides <= info.max)].astype(dtype)


def _assemble(maker: _Maker, inputs: Sequence[Mapping[str, Any]]) -> HardRows:
    generators = [name for name, block in maker.blocks for _ in range(len(next(iter(block.values())).null))]
    counts: dict[str, int] = {}
    for name in generators:
        counts[name] = counts.get(name, 0) + 1
    arrays = {}
    for entry in inputs:
        parts = [block[entry["name"]] for _, block in maker.blocks]
        whole = parts or [_Cells(maker.pool[entry["name"]].values[:0], np.zeros(0, bool))]
        values = np.concatenate([part.values for part in whole])
        null = np.concatenate([part.null for part in whole])
        arrays[entry["name"]] = _array(entry, values, null)
    return HardRows(pa.table(arrays), np.asarray(generators, dtype=object), counts)


def _array(entry: Mapping[str, Any], values: np.ndarray, null: np.ndarray) -> pa.Array:
    kind = arrow_type(entry)
    if entry["type"] == "tensor":
        array = pa.array(values.reshape(-1))
        for size in reversed(entry["shape"]):
            array = pa.FixedSizeListArray.from_arrays(array, size)
        return array
    if entry["type"] in ("date32", "timestamp"):
        return pa.array(values, mask=null).cast(kind)
    return pa.array(values, type=kind, mask=null)
