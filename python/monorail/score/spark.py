"""Score a Spark frame with a bundle: ``mr.spark.score``. The native engine runs in Spark's own Python workers.

Batches go through ``mapInArrow``: Arrow from the JVM, Arrow back, no pandas. The bundle is shipped once to each
executor, as a file of the session, and unpacked there once; each Python worker loads it once. What executors need is
Monorail and what it depends on, not the framework the model came from.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..bundle.version import Version
from ..engine import Model, load
from ..errors import CompileError
from .kept import check_added, check_kept, check_once

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from ..signature import Column, Signature

__all__ = ["score"]


def score(
    df: DataFrame,
    model: str | os.PathLike[str] | Version,
    *,
    columns: Iterable[str] | None = None,
    registry: str | os.PathLike[str] | None = None,
    unknown_columns: str = "ignore",
) -> DataFrame:
    """Add a model's predictions to a Spark frame. Lazy: nothing runs until Spark is asked for rows.

    Args:
        df: A frame of an existing session, classic or Connect.
        model: ``name``, ``name@version``, ``name@alias``, a :class:`monorail.Version`, or a bundle's folder. Read
            here, on the driver; executors get the bundle from Spark.
        columns: Columns kept before the predictions; default: all.
        registry: The registry's folder; default as for :func:`monorail.load`.
        unknown_columns: ``ignore`` columns that the signature does not have, or ``refuse`` them.

    Returns:
        The columns kept, then the model's outputs; a list output is an array. Rows stay where they are.

    Raises:
        NotFoundError: there is no such model.
        CompileError: ``cannot_compile``: the model runs in Python processes; on Spark only graphs run.
        InputError: the frame does not go with the signature, or a column kept has the name of an output, or is in the
            frame twice. A row that breaks the signature fails its task when Spark comes to it, with the same error in
            Spark's.

    Example::

        scored = mr.spark.score(flights, "flights@champion", columns=["flight_id"])
        scored.write.parquet("scored/")
    """
    from pyspark.sql.pandas.types import to_arrow_schema

    loaded = load(model, registry=registry, threads=1, unknown_columns=unknown_columns)
    if loaded.engine != "native":
        raise CompileError(
            f"{loaded.version} runs in Python processes ({loaded.engine}), and Spark's workers run graphs alone",
            code="cannot_compile",
            hint="score it with mr.score, or put steps that compile in place of those `monorail show` names",
        )
    kept = _kept(df.columns, columns, loaded.signature)
    wanted = [column.name for column in loaded.signature.inputs if column.name in df.columns]
    asked = wanted if unknown_columns == "ignore" else list(df.columns)
    carried = list(dict.fromkeys([*kept, *asked]))
    check_once(carried, df.columns)
    schema = df.select(*[_quoted(name) for name in carried]).schema
    _check(loaded, to_arrow_schema(schema), asked)
    plan = _Plan(_shipped(df, loaded.version.path), tuple(carried), tuple(kept), tuple(asked), unknown_columns)
    # By place: Spark's own mapInArrow takes a dot in a name for a field of a struct.
    by_place = df.selectExpr(*[f"{_quoted(name)} AS `{place}`" for place, name in enumerate(carried)])
    return by_place.mapInArrow(functools.partial(_scored, plan), _schema(schema, kept, loaded.signature))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What a worker is told.

    Attributes:
        archive: Name of the bundle's archive among Spark's files.
        names: Of the columns of a batch, by place.
        kept: Columns passed through.
        asked: Columns the model is given.
        unknown_columns: ``ignore`` or ``refuse``.
    """

    archive: str
    names: tuple[str, ...]
    kept: tuple[str, ...]
    asked: tuple[str, ...]
    unknown_columns: str


def _kept(names: list[str], columns: Iterable[str] | None, signature: Signature) -> list[str]:
    """The columns passed through, checked against what is there and what the model adds."""
    kept = list(names) if columns is None else [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))
    check_kept(kept, names)
    check_added(kept, (output.name for output in signature.outputs))
    return kept


def _quoted(name: str) -> str:
    """A column's name as Spark's SQL takes it, dots and all."""
    return "`" + name.replace("`", "``") + "`"


def _check(model: Model, schema: pa.Schema, asked: list[str]) -> None:
    """Refuse a frame whose columns do not go with the signature, before any job: the engine judges no rows of it."""
    empty = pa.table({name: pa.array([], schema.field(name).type) for name in asked})
    model._score(_shaped(empty, model.signature))


def _schema(schema: StructType, kept: list[str], signature: Signature) -> StructType:
    """Columns kept as they are, and outputs as Spark has such values."""
    from pyspark.sql import types as t

    plain = {
        "bool": t.BooleanType(),
        "int32": t.IntegerType(),
        "int64": t.LongType(),
        "float32": t.FloatType(),
        "float64": t.DoubleType(),
        "string": t.StringType(),
    }
    fields = [schema[name] for name in kept]
    for output in signature.outputs:
        value = plain[output.type]
        fields.append(t.StructField(output.name, value if output.size is None else t.ArrayType(value), True))
    return t.StructType(fields)


def _shipped(df: DataFrame, bundle: Path) -> str:
    """Give the bundle to the session as one archive; its name among Spark's files. The same bundle is given once."""
    manifest = (bundle / "bundle.json").read_bytes()
    # The manifest holds the digest of every other file, so its own names the bundle.
    name = f"monorail-{hashlib.sha256(manifest).hexdigest()[:32]}.zip"
    archive = _archive_folder() / name
    if not archive.exists():
        writing = archive.with_suffix(f".{os.getpid()}")
        with zipfile.ZipFile(writing, "w", zipfile.ZIP_STORED) as packed:
            for path in sorted(bundle.rglob("*")):
                if path.is_file():
                    packed.write(path, path.relative_to(bundle).as_posix())
        writing.replace(archive)
    session = df.sparkSession
    if hasattr(session, "addArtifacts") and type(session).__module__.startswith("pyspark.sql.connect"):
        session.addArtifacts(str(archive), file=True)
    else:
        session.sparkContext.addFile(str(archive))
    return name


@functools.cache
def _archive_folder() -> Path:
    """A folder for archives that lives as long as this process: Spark serves them from there."""
    folder = tempfile.mkdtemp(prefix="monorail-spark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _scored(plan: _Plan, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In an executor: the batches with predictions."""
    model = _loaded(plan.archive, plan.unknown_columns)
    for batch in batches:
        if not batch.num_rows:
            continue
        rows = pa.table(batch.columns, names=plan.names)
        answers = model._score(_shaped(rows.select(plan.asked), model.signature))
        columns = [*(batch.column(plan.names.index(name)) for name in plan.kept), *map(_plain_list, answers.columns)]
        yield pa.RecordBatch.from_arrays(columns, names=[*plan.kept, *answers.column_names])


@functools.lru_cache(maxsize=4)
def _loaded(archive: str, unknown_columns: str) -> Model:
    """In an executor: the model, loaded once in a Python worker; its bundle is unpacked once on a machine."""
    from pyspark import SparkFiles

    packed = Path(SparkFiles.get(archive))
    bundle = packed.with_suffix("")
    if not bundle.is_dir():
        made = tempfile.mkdtemp(prefix=f"{bundle.name}-", dir=bundle.parent)
        with zipfile.ZipFile(packed) as files:
            files.extractall(made)
        try:
            os.rename(made, bundle)
        except OSError:  # another worker was first
            shutil.rmtree(made, ignore_errors=True)
    return load(bundle, threads=1, unknown_columns=unknown_columns)


def _shaped(table: pa.Table, signature: Signature) -> pa.Table:
    """Spark's arrays as the lists of fixed size that tensor columns are."""
    for column in signature.inputs:
        if column.type == "tensor" and column.name in table.column_names:
            place = table.column_names.index(column.name)
            table = table.set_column(place, column.name, _tensor(table.column(place), column))
    return table


def _tensor(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """One array column, flattened; arrays of another length are left as they are, for the engine to refuse."""
    size = 1
    for extent in column.shape or ():
        size *= extent
    flat: list[Any] = []
    for chunk in values.chunks:
        elements, lists = chunk, chunk
        while pa.types.is_list(elements.type) or pa.types.is_large_list(elements.type):
            elements = elements.flatten()
        if lists.null_count or len(elements) != size * len(lists):
            return values
        flat.append(pa.FixedSizeListArray.from_arrays(elements, size))
    element = values.type
    while pa.types.is_list(element) or pa.types.is_large_list(element):
        element = element.value_type
    return pa.chunked_array(flat, type=pa.list_(element, size))


def _plain_list(values: pa.ChunkedArray) -> pa.Array:
    """An answer as one array; Spark has no lists of fixed size. The values are not copied."""
    array = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if not pa.types.is_fixed_size_list(array.type):
        return array
    size = array.type.list_size
    offsets = pa.array(np.arange(0, (len(array) + 1) * size, size, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, array.flatten())
