"""What flows between converters: features of a matrix, where each comes from, and how they become tensors.

A matrix is a list of features, not a tensor. So selecting, reordering and stacking columns costs no node, a one-hot
column that only trees read is never made, and a tree that reads a scaled column can read the raw one: its thresholds
are moved to the column's own scale, bit for bit (`Origin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .graph import TEXT, Graph, Tensor
from .nulls import NullNotes

_NUMBERS = {
    name: np.dtype(name)
    for name in (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
    )
}
_FLOAT64 = np.dtype(np.float64)


class UnreadableError(ValueError):
    """A feature has no number a graph could compute with; says which column and why."""


@dataclass(frozen=True)
class Column:
    """One column of the signature as the graph sees it.

    Attributes:
        name: the signature's name.
        type: the signature's type.
        nullable: whether it may hold nulls.
        dtype: element type in the graph, after the rules for nulls.
        null: what a null is to the original: "nan", "none", or "" while nothing says which.
        width: 1, or the number of elements of a tensor.
        seen: what the example and the reference hold of it, as the signature says it.
    """

    name: str
    type: str
    nullable: bool
    dtype: np.dtype
    null: str = ""
    width: int = 1
    seen: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(entry: Mapping[str, Any], null: str = "") -> Column:
        """The column of one entry of the signature's inputs."""
        return replace(Column._bare(entry, null), seen=entry.get("seen") or {})

    @staticmethod
    def _bare(entry: Mapping[str, Any], null: str) -> Column:
        kind, nullable = entry["type"], bool(entry.get("nullable", False))
        if kind in ("string", "dictionary"):
            return Column(entry["name"], kind, nullable, TEXT, null)
        if kind == "tensor":
            width = int(np.prod(entry["shape"], dtype=np.int64))
            return Column(entry["name"], kind, nullable, _NUMBERS[entry["dtype"]], null, width)
        if kind in ("date32", "timestamp"):
            return Column(entry["name"], kind, nullable, np.dtype(np.int64), null)
        dtype = _NUMBERS[kind]
        if nullable and dtype.kind != "f":
            dtype = _FLOAT64
        return Column(entry["name"], kind, nullable, dtype, null)


@dataclass(frozen=True)
class Origin:
    """The signature column a feature was made from by steps that keep the order of its values.

    Attributes:
        column: the signature column.
        element: position within a tensor column, else 0.
        forward: raw values (the column's element type) to the feature's values, exactly as the original computes
            them; must not decrease.
        null: the feature's value where the raw value is null.
    """

    column: Column
    element: int
    forward: Callable[[np.ndarray], np.ndarray]
    null: float = float("nan")

    def then(self, step: Callable[[np.ndarray], np.ndarray], null: float | None = None) -> Origin:
        """This origin with one more step; `null` is the value of a null after it, computed by the step if absent."""
        forward = self.forward
        with np.errstate(all="ignore"):
            after = float(step(np.asarray([self.null]))[0]) if null is None else null
        return Origin(self.column, self.element, lambda raw: step(forward(raw)), after)


@dataclass(frozen=True)
class Raw:
    """A numeric signature column not yet read."""

    column: Column
    element: int = 0


@dataclass(frozen=True)
class Cell:
    """One column of a numeric tensor."""

    tensor: Tensor
    index: int


@dataclass(frozen=True)
class Indicator:
    """1 where a column of codes holds `code`, else 0. Codes are doubles; -1 is none of them."""

    codes: Tensor
    code: int


@dataclass(frozen=True)
class Text:
    """A column of text: a `[rows, 1]` tensor, and a bool tensor that is false for nulls (None: there are none).

    `null` is what a null is to the original (see `Column`), `column` the signature's name.
    """

    tensor: Tensor
    valid: Tensor | None
    null: str
    column: str


@dataclass(frozen=True)
class Feature:
    """One column of a matrix: its element type in the original, whether it can hold NaN, and how to get it."""

    source: Raw | Cell | Indicator | Text
    dtype: np.dtype
    nullable: bool
    origin: Origin | None = None
    name: str = ""


@dataclass(frozen=True)
class Matrix:
    """The features of one table or array.

    Attributes:
        features: in the original's order.
        dtype: the array's element type, None for a table whose columns each have their own.
        sparse: whether the original holds it as a sparse matrix (its scalers then multiply instead of dividing).
    """

    features: tuple[Feature, ...]
    dtype: np.dtype | None = None
    sparse: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.features)

    def common(self) -> np.dtype:
        """The element type numpy gives these columns together (`object` if any is text)."""
        if self.dtype is not None:
            return self.dtype
        kinds = [feature.dtype for feature in self.features]
        if not kinds:
            return _FLOAT64
        return TEXT if TEXT in kinds else np.result_type(*kinds)

    def floating(self) -> np.dtype:
        """The element type after the check most estimators make: floats are kept, all else becomes float64."""
        common = self.common()
        return common if common.kind == "f" else _FLOAT64

    def select(self, positions: Iterable[int]) -> Matrix:
        """Some columns, in this order."""
        return replace(self, features=tuple(self.features[position] for position in positions))


@dataclass(frozen=True)
class Dense:
    """A tensor that holds every feature of a matrix; feature `i` is column `positions[i]`."""

    tensor: Tensor
    positions: list[int]


@dataclass
class Packing:
    """Which signature columns one graph input holds."""

    tensor: Tensor
    columns: list[Column]
    valid: str | None = None


@dataclass
class Reader:
    """Makes graph inputs as columns are first asked for, and tensors out of features."""

    graph: Graph
    columns: Sequence[Column]
    packings: list[Packing] = field(default_factory=list)
    nulls: NullNotes = field(default_factory=NullNotes)
    _read: dict[tuple[str, int], Cell] = field(default_factory=dict)
    _text: dict[str, Text] = field(default_factory=dict)

    def text(self, column: Column) -> Text:
        """The text of a string column, and whether it is there."""
        if column.name not in self._text:
            tensor = self.graph.input(column.name, TEXT, 1)
            self.packings.append(Packing(tensor, [column]))
            valid = None
            if column.nullable:
                valid = self.graph.input(f"{column.name}__valid", np.dtype(np.bool_), 1)
                self.packings.append(Packing(valid, [], valid=column.name))
            self._text[column.name] = Text(tensor, valid, column.null, column.name)
        return self._text[column.name]

    def dense(self, matrix: Matrix, dtype: np.dtype | type | None = None) -> Dense:
        """All features of a matrix in one tensor, in whatever order costs fewest nodes.

        Args:
            matrix: numeric features only.
            dtype: element type of the tensor; the matrix's common type if absent.
        """
        target = np.dtype(dtype) if dtype is not None else matrix.common()
        self._pack([feature.source for feature in matrix.features if isinstance(feature.source, Raw)])
        cells = self._cells(matrix.features)
        if not cells:
            raise UnreadableError("no column reaches this step")
        blocks: dict[str, tuple[Tensor, list[int]]] = {}
        for cell in cells:
            used = blocks.setdefault(cell.tensor.name, (cell.tensor, []))[1]
            if cell.index not in used:
                used.append(cell.index)
        parts, place, start = [], {}, 0
        for name, (tensor, used) in blocks.items():
            if len(used) == tensor.width:
                used = list(range(tensor.width))
            parts.append(self.graph.cast(self.graph.gather(tensor, used), target))
            place.update({(name, index): start + i for i, index in enumerate(used)})
            start += len(used)
        return Dense(self.graph.concat(parts), [place[cell.tensor.name, cell.index] for cell in cells])

    def ordered(self, matrix: Matrix, dtype: np.dtype | type | None = None) -> Tensor:
        """All features of a matrix in one tensor, in the matrix's own order."""
        dense = self.dense(matrix, dtype)
        return self.graph.gather(dense.tensor, dense.positions)

    def cell(self, feature: Feature) -> Tensor:
        """One numeric feature as a `[rows, 1]` tensor of its own element type in the graph."""
        self._pack([feature.source] if isinstance(feature.source, Raw) else [])
        cell = self._cells([feature])[0]
        return self.graph.gather(cell.tensor, [cell.index])

    def _pack(self, asked: Sequence[Raw]) -> None:
        """Gives columns not read before an input: those of one element type that are asked for together share it."""
        fresh: dict[np.dtype, list[Column]] = {}
        for raw in asked:
            column = raw.column
            if column.dtype == TEXT or column.type in ("date32", "timestamp"):
                raise UnreadableError(f"column `{column.name}` is a {column.type} where numbers are needed")
            if (column.name, 0) in self._read:
                continue
            if column.type == "tensor":
                self._input(column.name, [column], column.width)
            elif column not in fresh.setdefault(column.dtype, []):
                fresh[column.dtype].append(column)
        for dtype, columns in fresh.items():
            if len(columns) == 1:
                self._input(columns[0].name, columns, 1)
            elif columns:
                self._input(self.graph.unique(dtype.name), columns, len(columns))

    def _input(self, name: str, columns: list[Column], width: int) -> None:
        tensor = self.graph.input(name, columns[0].dtype, width)
        self.packings.append(Packing(tensor, columns))
        for index in range(width):
            key = (columns[0].name, index) if columns[0].type == "tensor" else (columns[index].name, 0)
            self._read[key] = Cell(tensor, index)

    def _cells(self, features: Sequence[Feature]) -> list[Cell]:
        wanted: dict[str, tuple[Tensor, list[int]]] = {}
        for feature in features:
            if isinstance(feature.source, Indicator):
                codes = wanted.setdefault(feature.source.codes.name, (feature.source.codes, []))[1]
                if feature.source.code not in codes:
                    codes.append(feature.source.code)
        hot = self._one_hot(list(wanted.values())) if wanted else {}
        cells = []
        for feature in features:
            source = feature.source
            if isinstance(source, Raw):
                cells.append(self._read[source.column.name, source.element])
            elif isinstance(source, Cell):
                cells.append(source)
            elif isinstance(source, Indicator):
                cells.append(hot[source.codes.name, source.code])
            else:
                raise UnreadableError(f"text where numbers are needed (column `{feature.name}`)")
        return cells

    def _one_hot(self, wanted: list[tuple[Tensor, list[int]]]) -> dict[tuple[str, int], Cell]:
        """All one-hot columns of all code columns in one tensor: four nodes however many there are."""
        pairs = [(tensor.name, code) for tensor, codes in wanted for code in codes]
        values = self.graph.constant([[code for _, code in pairs]], _FLOAT64)
        codes = self.graph.concat([tensor for tensor, _ in wanted])
        if len(wanted) > 1:
            repeated = [number for number, (_, codes) in enumerate(wanted) for _ in codes]
            codes = self.graph.gather(codes, repeated)
        equal = self.graph.node("Equal", [codes, values], np.bool_, len(pairs))
        tensor = self.graph.cast(equal, np.float64)
        return {pair: Cell(tensor, index) for index, pair in enumerate(pairs)}


def starting_matrix(columns: Sequence[Column]) -> Matrix:
    """The table, or for a single tensor column the array, that the original is given."""
    features = []
    for column in columns:
        for element in range(column.width):
            numeric = column.dtype != TEXT and column.type not in ("date32", "timestamp")
            origin = Origin(column, element, lambda raw: raw) if numeric else None
            features.append(Feature(Raw(column, element), column.dtype, column.nullable, origin, column.name))
    array = len(columns) == 1 and columns[0].type == "tensor"
    return Matrix(tuple(features), columns[0].dtype if array else None)
