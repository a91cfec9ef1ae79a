"""A loaded model: the serving engine in this process. Also where its runtime library is."""

from __future__ import annotations

import functools
import importlib.util
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from .bundle.registry import Registry
from .bundle.version import Version
from .errors import EngineError, InputError, SettingError

if TYPE_CHECKING:
    import pyarrow as pa

    from .bundle.golden import GoldenRow
    from .signature import Signature


@functools.cache
def runtime_library() -> str:
    """Path of the ONNX Runtime library that the installed wheel brings, found without importing it.

    Its telemetry, which the wheel has on, is switched off first: nothing leaves the machine, and no file is written.

    Raises:
        EngineError: ``runtime_missing``.
    """
    # Read when the library starts; its own API would switch telemetry off only after that.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    spec = importlib.util.find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = sorted(
            path
            for pattern in ("libonnxruntime.so*", "libonnxruntime.*dylib")
            for path in (Path(folder) / "capi").glob(pattern)
        )
        if found:
            return str(found[0])
    raise EngineError(
        "the ONNX Runtime library was not found",
        code="runtime_missing",
        hint="install it: pip install onnxruntime",
    )


def load(
    reference: str | os.PathLike[str] | Version,
    *,
    registry: str | os.PathLike[str] | None = None,
    threads: int = 0,
    unknown_columns: str = "refuse",
    trust: bool = False,
    worker_environment: str = "auto",
) -> Model:
    """Load a model into the serving engine, in this process. The framework it came from is not needed.

    A model that does not run as a graph alone runs in Python processes of its own, in the environment it was saved
    with: this one where it is the same, else one that uv makes.

    Args:
        reference: ``name`` (its newest version), ``name@version``, ``name@alias``, a :class:`Version`, or the path of a
            bundle's folder.
        registry: The registry's folder; default: ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards.
        threads: Batches scored at once, each on one thread; 0 is as many as there are cores.
        unknown_columns: ``refuse`` or ``ignore`` columns the signature does not have.
        trust: Run the Python code that is part of the model. Not needed for a graph, nor for a model of a registry
            whose folder is this user's own, with mode 0700.
        worker_environment: ``isolated`` runs it in an environment that uv makes even where this one would do.

    Returns:
        The model, ready to predict.

    Raises:
        NotFoundError: ``unknown_model`` or ``unknown_version``.
        BundleError: the bundle is damaged, of another format or refused.
        TrustError: ``untrusted``: code is part of the model, and nobody said that it may run.
        EngineError: ``runtime_missing``, ``engine_failed``, or ``environment_unavailable``: a package cannot be had.
        SettingError: ``setting_invalid``.
    """
    if not _is_count(threads):
        raise SettingError(
            f"threads is {threads!r}",
            code="setting_invalid",
            hint="give a whole number; 0 is as many as there are cores",
        )
    if worker_environment not in ("auto", "isolated"):
        raise SettingError(
            f"worker_environment is {worker_environment!r}", code="setting_invalid", hint="auto or isolated"
        )
    from .serve.workers import trusted_worker

    found = Registry(registry)
    path = found.resolve(reference)[2]
    trusted, worker = trusted_worker(reference, found, trust=trust, isolated=worker_environment == "isolated")
    core = _core.Engine(
        path,
        runtime=runtime_library(),
        threads=threads,
        unknown_columns=unknown_columns,
        trusted=trusted,
        worker=worker,
    )
    return Model(core, Version.from_manifest(core.manifest, path))


def _is_count(value: object) -> bool:
    """Whether it is a whole number that Rust can take."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and 0 <= int(value) < 2**31


class Model:
    """A loaded model. Made by :func:`load`; safe to use from several threads.

    Attributes:
        version: Which bundle it is.
        signature: Its input and output columns.
    """

    def __init__(self, core: _core.Engine, version: Version) -> None:
        self._core = core
        self.version = version
        self.signature: Signature = version.signature

    @property
    def name(self) -> str:
        """The model's name."""
        return self.version.name

    @property
    def engine(self) -> str:
        """What runs it: ``native`` (a graph), ``worker`` (Python processes) or ``mixed`` (one after the other)."""
        return self.version.engine

    def __repr__(self) -> str:
        return f"Model({str(self.version)!r}, engine={self.engine!r})"

    def predict(self, data: Any, *, max_batch_rows: int = 0) -> Any:
        """Score data of any kind; the answer is of the same kind.

        Args:
            data: A pandas or Polars frame, an Arrow table, batch or reader, anything with the Arrow PyCapsule
                interface, a NumPy matrix (for a model fitted on one), a dict of scalars (one record), a dict of lists
                or arrays (columns), or a list of dicts (records).
            max_batch_rows: Rows per call of the engine; 0 leaves it to the engine.

        Returns:
            The output columns, a row per row of ``data``. pandas keeps its index; list outputs are NumPy views there.

        Raises:
            InputError: the data does not go with the signature; ``details`` has row, column, expected and got.
        """
        from .data import from_arrow

        if not _is_count(max_batch_rows):
            raise InputError(
                f"max_batch_rows is {max_batch_rows!r}",
                code="wrong_type" if not isinstance(max_batch_rows, numbers.Integral) else "out_of_range",
                hint="give a whole number of rows; 0 leaves it to the engine",
            )
        return from_arrow(self._score(data, max_batch_rows), data, self.signature)

    def check_golden(self) -> dict[str, Any]:
        """Score the golden rows again: ``rows``, ``label_mismatches``, ``worst_difference``, ``matched``."""
        import json

        return json.loads(self._core.check_golden())

    def worst_golden(self, rows: int = 5) -> list[GoldenRow]:
        """The golden rows whose answers differ most here from the original's.

        Args:
            rows: How many at most.
        """
        from .bundle.golden import worst_rows

        return worst_rows(self.version, self._score, rows)

    def _score(self, data: Any, max_batch_rows: int = 0) -> pa.Table:
        """The answers as a table. Python values go to Rust as they are, so that its rules alone judge them."""
        import numpy as np

        from .data import better_hint, is_arrow_column, is_record, read_stream, to_arrow

        if isinstance(data, Mapping) and not (
            all(isinstance(value, np.ndarray) for value in data.values()) or any(map(is_arrow_column, data.values()))
        ):
            if is_record(data, self.signature):
                return read_stream(self._core.predict_rows([dict(data)]))
            return read_stream(self._core.predict_columns(dict(data)))
        if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
            return read_stream(self._core.predict_rows([row if isinstance(row, dict) else dict(row) for row in data]))
        table = to_arrow(data, self.signature)
        try:
            return read_stream(self._core.predict(table, max_batch_rows=max_batch_rows))
        except InputError as error:
            raise better_hint(error, data) from None
