"""The signature: which columns go in, which come out, and what training saw of them.

The JSON form is part of the bundle format; Rust reads and checks it. This module infers one from an example that is
already an Arrow table (``monorail.data`` makes those), and shows one to people.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import SignatureError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Column", "Output", "Signature", "column_of", "infer"]

#: Categories kept of one column, most frequent first.
MAX_CATEGORIES = 1_000
#: Quantiles kept of one column, least to greatest.
QUANTILES = 32

_EPOCH = datetime.datetime(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Column:
    """An input column.

    Attributes:
        name: Its name.
        type: ``bool``, ``int8`` to ``int64``, ``uint8`` to ``uint64``, ``float32``, ``float64``, ``string``,
            ``dictionary``, ``date32``, ``timestamp`` or ``tensor``.
        nullable: Whether a null may stand in it, or the column be absent.
        zone: Of a timestamp; None for local times.
        dtype: Element type of a tensor.
        shape: Of one tensor value, without the rows.
        seen: What training saw, as the bundle format says; None if nothing was kept.
    """

    name: str
    type: str
    nullable: bool = False
    zone: str | None = None
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    seen: Mapping[str, Any] | None = None

    def describe(self) -> str:
        """The type in words: ``timestamp[UTC]``, ``tensor[float64, 30]``."""
        if self.type == "timestamp" and self.zone is not None:
            return f"timestamp[{self.zone}]"
        if self.type == "tensor":
            return f"tensor[{', '.join([str(self.dtype), *map(str, self.shape or ())])}]"
        return self.type

    def to_json(self) -> dict[str, Any]:
        """The column in the bundle format."""
        form: dict[str, Any] = {"name": self.name, "type": self.type, "nullable": self.nullable}
        if self.zone is not None:
            form["zone"] = self.zone
        if self.type == "tensor":
            form |= {"dtype": self.dtype, "shape": list(self.shape or ())}
        if self.seen is not None:
            form["seen"] = dict(self.seen)
        return form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Column:
        """Read a column of the bundle format; Rust has checked it."""
        shape = form.get("shape")
        return cls(
            name=form["name"],
            type=form["type"],
            nullable=form.get("nullable", False),
            zone=form.get("zone"),
            dtype=form.get("dtype"),
            shape=None if shape is None else tuple(shape),
            seen=form.get("seen"),
        )


@dataclasses.dataclass(frozen=True)
class Output:
    """An output column.

    Attributes:
        name: ``label``, ``probability``, ``prediction``, ``features`` and so on.
        type: ``bool``, ``int32``, ``int64``, ``float32``, ``float64`` or ``string``.
        size: Length of a fixed-size list; None for one value a row.
        names: Of the list's places: classes or features.
    """

    name: str
    type: str
    size: int | None = None
    names: tuple[str, ...] | None = None

    def describe(self) -> str:
        """The type in words: ``float64``, ``list[float64, 2]``."""
        return self.type if self.size is None else f"list[{self.type}, {self.size}]"

    def to_json(self) -> dict[str, Any]:
        """The output in the bundle format."""
        form: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.size is not None:
            form["size"] = self.size
        if self.names is not None:
            form["names"] = list(self.names)
        return form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Output:
        """Read an output of the bundle format; Rust has checked it."""
        names = form.get("names")
        return cls(form["name"], form["type"], form.get("size"), None if names is None else tuple(names))


@dataclasses.dataclass(frozen=True)
class Signature:
    """Input and output columns of a model, in order. Printed, it is a table."""

    inputs: tuple[Column, ...]
    outputs: tuple[Output, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The signature in the bundle format."""
        return {"inputs": [c.to_json() for c in self.inputs], "outputs": [o.to_json() for o in self.outputs]}

    @classmethod
    def from_json(cls, form: Mapping[str, Any] | str) -> Signature:
        """Read a signature of the bundle format, as text or parsed; Rust has checked it."""
        parsed: Mapping[str, Any] = json.loads(form) if isinstance(form, str) else form
        return cls(
            tuple(Column.from_json(c) for c in parsed["inputs"]),
            tuple(Output.from_json(o) for o in parsed["outputs"]),
        )

    def with_outputs(self, outputs: Iterable[Output]) -> Signature:
        """The same inputs with other outputs."""
        return dataclasses.replace(self, outputs=tuple(outputs))

    def column(self, name: str) -> Column | None:
        """The input column of that name, or None."""
        return next((column for column in self.inputs if column.name == name), None)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table: name, type, nullability, what was seen; inputs first, then outputs marked ``→``."""
        inputs = [(c.name, c.describe(), "nullable" if c.nullable else "", _seen_text(c)) for c in self.inputs]
        outputs = [(f"→ {o.name}", o.describe(), "", _shortened(list(o.names or ()))) for o in self.outputs]
        return inputs + outputs

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def infer(
    example: pa.Table, reference: pa.Table | None = None, nullable: bool | Iterable[str] | None = None
) -> Signature:
    """Infer the input columns from an example.

    Args:
        example: Columns in the order the model was fitted with. A tensor column is a (nested) fixed-size list.
        reference: A larger sample from which ranges, categories, null shares and quantiles are kept; default: the
            example. It must have the example's columns and types that widen to the example's.
        nullable: True: every column. Names: these, besides those where a null or NaN was seen. None or False: only
            those where one was seen.

    Returns:
        A signature without outputs.

    Raises:
        SignatureError: ``unsupported_column``, naming the columns that no signature holds; ``signature_invalid`` where
            the reference does not go with the example or ``nullable`` names no column.
    """
    _check_names(example)
    columns = {name: _typed(name, example.schema.field(name).type) for name in example.column_names}
    faults = [fault for fault in columns.values() if isinstance(fault, dict)]
    if faults:
        raise _unsupported(faults)
    wanted = _wanted_nullable(nullable, example.column_names)
    tables = [example] if reference is None else [_like(reference, example), example]
    inputs = []
    for name, column in columns.items():
        if isinstance(column, dict):
            continue
        seen = _seen(column, tables[0].column(name))
        nulls = any(_null_count(table.column(name)) for table in tables)
        can_be_null = column.type != "tensor" or (column.dtype or "").startswith("float")
        if name in wanted and not can_be_null and nullable is not True:
            raise SignatureError(
                f"column {name!r} cannot be nullable: only tensors of floats can",
                code="signature_invalid",
                hint="leave it out of nullable=",
            )
        inputs.append(dataclasses.replace(column, nullable=can_be_null and (nulls or name in wanted), seen=seen))
    return Signature(tuple(inputs))


def column_of(name: str, kind: pa.DataType) -> Column | None:
    """The column that an Arrow type gives, nothing seen of it; None where no signature holds such a type."""
    column = _typed(name, kind)
    return column if isinstance(column, Column) else None


def _check_names(table: pa.Table) -> None:
    """Refuse a table without columns or with one name twice."""
    names = table.column_names
    if not names:
        raise SignatureError("the example has no columns", code="signature_invalid", hint="pass the training columns")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise SignatureError(
            f"the example has columns of the same name: {', '.join(map(repr, twice))}",
            code="signature_invalid",
            hint="rename them",
        )


def _typed(name: str, kind: pa.DataType) -> Column | dict[str, Any]:
    """The column an Arrow type gives, or the detail that says why it gives none."""
    import pyarrow.types as t

    if isinstance(kind, _fixed_shape_tensor_type()):
        return Column(name, "tensor", dtype=_number(kind.value_type), shape=tuple(kind.shape))
    if (plain := _number(kind)) is not None:
        return Column(name, plain)
    if _is_text(kind):
        return Column(name, "string")
    if t.is_dictionary(kind) and _is_text(kind.value_type):
        return Column(name, "dictionary")
    if t.is_date32(kind):
        return Column(name, "date32")
    if t.is_timestamp(kind):
        return Column(name, "timestamp", zone=kind.tz)
    shape, element = _list_shape(kind)
    if shape and (dtype := _number(element)) is not None:
        return Column(name, "tensor", dtype=dtype, shape=shape)
    return {"code": "unsupported_column", "column": name, "expected": "a type that signatures hold", "got": str(kind)}


def _fixed_shape_tensor_type() -> type:
    import pyarrow as pa

    return pa.FixedShapeTensorType


def _number(kind: pa.DataType) -> str | None:
    """The signature's word for a numeric type or bool, or None."""
    import pyarrow.types as t

    if t.is_boolean(kind):
        return "bool"
    if t.is_integer(kind):
        return str(kind)
    if t.is_float32(kind):
        return "float32"
    return "float64" if t.is_float64(kind) else None


def _is_text(kind: pa.DataType) -> bool:
    """Whether it is a string of any layout."""
    import pyarrow.types as t

    return t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)


def _list_shape(kind: pa.DataType) -> tuple[tuple[int, ...], pa.DataType]:
    """Shape and element type of nested fixed-size lists; an empty shape for anything else."""
    import pyarrow.types as t

    shape: list[int] = []
    while t.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    return tuple(shape), kind


def _unsupported(faults: list[dict[str, Any]]) -> SignatureError:
    """The refusal of an example, with every column that is to blame."""
    names = ", ".join(repr(fault["column"]) for fault in faults)
    kinds = {fault["got"] for fault in faults}
    hint = "convert them to numbers, bool, strings, dates or timestamps, or leave them out"
    if kinds == {"null"}:
        hint = "give an example with a value in them, or leave them out"
    elif any(kind.startswith("dictionary") for kind in kinds):
        hint = "categories must be strings: use .astype(str).astype('category'), or the plain numbers"
    return SignatureError(
        f"columns of types that no signature holds: {names}",
        code="unsupported_column",
        hint=hint,
        details=faults[:100],
    )


def _wanted_nullable(nullable: bool | Iterable[str] | None, names: list[str]) -> set[str]:
    """The columns the user wants nullable."""
    if nullable is True:
        return set(names)
    if nullable is None or nullable is False:
        return set()
    wanted = {nullable} if isinstance(nullable, str) else set(nullable)
    unknown = sorted(wanted - set(names))
    if unknown:
        raise SignatureError(
            f"nullable names columns the example does not have: {', '.join(map(repr, unknown))}",
            code="signature_invalid",
            hint=f"its columns are {_shortened(names)}",
        )
    return wanted


def _like(reference: pa.Table, example: pa.Table) -> pa.Table:
    """The reference with the example's columns, in its order and of its types."""
    import pyarrow as pa

    missing = [name for name in example.column_names if name not in reference.column_names]
    if missing:
        raise SignatureError(
            f"the reference lacks columns of the example: {', '.join(map(repr, missing))}",
            code="signature_invalid",
            hint="pass the same columns in both",
        )
    columns = []
    for name in example.column_names:
        kind = example.schema.field(name).type
        try:
            columns.append(reference.column(name).cast(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SignatureError(
                f"column {name!r} is {reference.schema.field(name).type} in the reference and {kind} in the example",
                code="signature_invalid",
                hint="pass the same types in both",
            ) from error
    return pa.table(columns, names=example.column_names)


def _compute() -> Any:
    """``pyarrow.compute``; its functions are made at import, so type checkers know none of them."""
    import pyarrow.compute

    return pyarrow.compute


def _null_count(values: pa.ChunkedArray) -> int:
    """Nulls, NaN among them."""
    import pyarrow as pa

    pc = _compute()

    count = values.null_count
    if pa.types.is_floating(values.type):
        count = pc.sum(pc.is_null(values, nan_is_null=True)).as_py() or 0
    elif _list_shape(values.type)[0]:
        elements = _elements(values)
        if pa.types.is_floating(elements.type):
            count += pc.sum(pc.is_null(elements, nan_is_null=True)).as_py() or 0
    return count


def _elements(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """All elements of a column of nested fixed-size lists."""
    import pyarrow as pa

    pc = _compute()

    if isinstance(values.type, pa.FixedShapeTensorType):
        values = pa.chunked_array([chunk.storage for chunk in values.chunks], type=values.type.storage_type)
    while pa.types.is_fixed_size_list(values.type):
        values = pc.list_flatten(values)
    return values


def _seen(column: Column, values: pa.ChunkedArray) -> dict[str, Any]:
    """What the sample holds of one column, as the bundle format says."""
    rows = len(values)
    seen: dict[str, Any] = {"null_share": _null_count(values) / rows if rows else 0.0}
    if column.type in ("string", "dictionary"):
        return seen | _seen_strings(values)
    if column.type == "bool" or column.dtype == "bool":
        return seen
    return seen | _seen_numbers(column, values)


def _seen_strings(values: pa.ChunkedArray) -> dict[str, Any]:
    """How many different strings, and the most frequent ones with their counts."""
    import pyarrow as pa

    pc = _compute()

    if pa.types.is_dictionary(values.type):
        plain = [chunk.dictionary.cast(pa.large_string()).take(chunk.indices) for chunk in values.chunks]
        values = pa.chunked_array(plain, type=pa.large_string())
    values = values.cast(pa.large_string())
    counted = pc.value_counts(pc.drop_null(values))
    order = pc.sort_indices(
        pa.table({"count": counted.field("counts"), "value": counted.field("values")}),
        sort_keys=[("count", "descending"), ("value", "ascending")],
    )
    kept = counted.take(order[:MAX_CATEGORIES])
    pairs = zip(kept.field("values").to_pylist(), kept.field("counts").to_pylist(), strict=True)
    return {"distinct": len(counted), "categories": [[value, count] for value, count in pairs]}


def _seen_numbers(column: Column, values: pa.ChunkedArray) -> dict[str, Any]:
    """Range and quantiles; dates as days, timestamps as microseconds since 1970. Infinities are noted apart."""
    import pyarrow as pa

    pc = _compute()

    if column.type == "tensor":
        values = _elements(values)
    elif column.type == "date32":
        values = values.cast(pa.int32())
    elif column.type == "timestamp":
        values = values.cast(pa.timestamp("us", values.type.tz), safe=False).cast(pa.int64())
    seen: dict[str, Any] = {}
    if pa.types.is_floating(values.type):
        finite = pc.is_finite(values)
        if pc.any(pc.is_inf(values)).as_py():
            seen["infinity"] = True
        values = values.filter(finite)
    values = pc.drop_null(values)
    if not len(values):
        return seen
    ends = pc.min_max(values).as_py()
    seen |= {"min": ends["min"], "max": ends["max"]}
    if column.type != "tensor":
        share = [i / (QUANTILES - 1) for i in range(QUANTILES)]
        seen["quantiles"] = pc.quantile(values, q=share, interpolation="nearest").to_pylist()
    return seen


def _seen_text(column: Column) -> str:
    """What was seen, for people."""
    seen = column.seen or {}
    parts = []
    if "min" in seen:
        parts.append(f"{_value_text(column, seen['min'])} to {_value_text(column, seen['max'])}")
    if "distinct" in seen:
        parts.append(f"{seen['distinct']} values: {_shortened([value for value, _ in seen.get('categories', ())])}")
    if share := seen.get("null_share"):
        parts.append("under 0.1 % null" if share < 0.001 else f"{100 * share:.1f} % null")
    return ", ".join(parts)


def _value_text(column: Column, value: float) -> str:
    """A number, or the date or time it stands for."""
    try:
        if column.type == "date32":
            return (_EPOCH + datetime.timedelta(days=value)).date().isoformat()
        if column.type == "timestamp":
            return (_EPOCH + datetime.timedelta(microseconds=value)).isoformat(" ", "seconds")
    except OverflowError:  # before year 1 or after 9999
        pass
    return f"{value:g}"


def _shortened(names: list[str], most: int = 5) -> str:
    """The first few names."""
    text = ", ".join(map(str, names[:most]))
    return f"{text}, …" if len(names) > most else text
