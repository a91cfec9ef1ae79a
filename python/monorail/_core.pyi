"""The Rust core as Python sees it: few crossings, each coarse.

Texts that carry structure are JSON. Anything Arrow crosses through the PyCapsule interface. Every failure is raised as
the class of :mod:`monorail.errors` that belongs to its code, built by ``monorail.errors.error_from(code, message, hint,
details)``. Every call that does work releases the GIL; no thread of the core ever needs it.

This stub is written by hand and compared with the built module by ``tests/architecture/test_stub.py``.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, final

class ArrowStream(Protocol):
    """Anything that hands out a stream of record batches through the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

__version__: str
"""The crates' version; the package's is the same number."""

def error_table() -> str:
    """Every error code, as a JSON list of ``{"code", "status", "class", "exit", "summary"}``."""

def settings_table() -> str:
    """Every setting, as a JSON list of ``{"name", "type", "default", "minimum", "maximum", "help", "scope", "choices"}``.

    ``type`` is ``bool``, ``int``, ``float`` or ``string``. ``default`` may be null: decided at start-up, as ``help`` says.
    ``scope`` is ``serve`` or ``model``; a setting of scope ``model`` may also be given for one model alone.
    ``minimum``, ``maximum`` and ``choices`` are null where they do not apply.
    """

def find_registry(given: str | Path | None, variable: str | Path | None, here: str | Path) -> Path:
    """Where the registry is.

    Args:
        given: The folder the user named; wins over everything.
        variable: What ``MONORAIL_REGISTRY`` says, if anything.
        here: The working folder.

    Returns:
        ``given``, else ``variable``, else the nearest ``.monorail`` upwards from ``here``, else ``.monorail`` in it.
    """

def read_manifest(path: str | PathLike[str]) -> str:
    """The text of a published bundle's ``bundle.json``, checked; no other file is looked at.

    Args:
        path: The bundle's folder.

    Raises:
        BundleError: ``bundle_damaged`` or ``bundle_unsupported``.
        SignatureError: ``signature_invalid``.
    """

def check_name(name: str) -> None:
    """Check a model's name.

    Raises:
        RegistryError: ``name_invalid``.
    """

def check_signature(signature: str) -> str:
    """Check a signature's JSON and return it in its normal form.

    Raises:
        SignatureError: ``signature_invalid``, naming the column.
    """

def bench(
    url: str,
    name: str,
    bodies: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    content_type: str = "application/json",
) -> str:
    """Load a running server with predictions and measure it.

    Each connection sends one request after the other, taking the bodies in turn.

    Args:
        url: Address of the server, ``http://HOST:PORT``.
        name: Model, perhaps with ``@version`` or ``@alias``.
        bodies: Request bodies; more than one, so that requests differ.
        connections: Concurrent keep-alive connections, 1 to 10,000.
        seconds: How long to load, after a warm-up of a tenth of it.
        content_type: Of the bodies.

    Returns:
        JSON: ``{"requests", "errors", "errors_by_status", "seconds", "requests_per_s", "rows_per_s", "p50_ms", "p90_ms",
        "p99_ms", "p999_ms", "max_ms", "mean_batch_rows", "received_bytes"}``; ``rows_per_s`` and ``mean_batch_rows`` are
        null where ``/metrics`` does not tell, times where no request was answered.

    Raises:
        UnreachableError: ``unreachable``.
    """

@final
class Registry:
    """Bundles under ``name@version``, and aliases, in one folder.

    Args:
        path: The folder. It need not exist; the first draft makes it, with mode 0700.
    """

    def __new__(cls, path: str | PathLike[str]) -> Registry: ...
    @property
    def path(self) -> Path:
        """The folder."""

    def is_trusted(self) -> bool:
        """Whether the folder is this user's with mode 0700, so that code saved in it may run. A link is not."""

    def list(self) -> str:
        """JSON: ``[{"name", "versions": [{"version", "created"}], "aliases": {alias: version}}]``, sorted by name."""

    def resolve(self, reference: str) -> tuple[str, int, Path]:
        """Find a model: ``name`` (the newest version), ``name@version`` or ``name@alias``.

        Returns:
            Name, version and the bundle's folder.

        Raises:
            NotFoundError: ``unknown_model`` or ``unknown_version``, with what there is in the hint.
        """

    def draft(self, name: str) -> Draft:
        """Claim the next version number of ``name``, with a folder to write into. Safe between processes.

        Raises:
            RegistryError: ``name_invalid``, ``name_conflict`` or ``registry_unusable``.
        """

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point ``alias`` at ``version``, replacing what it pointed at."""

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove ``alias``; an error if it is not there."""

@final
class Draft:
    """A claimed version that is not published yet."""

    @property
    def path(self) -> Path:
        """The folder to write the bundle's files into."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> int:
        """The version claimed."""

    def publish(self, manifest: str) -> None:
        """Audit what was written and publish it.

        Fills in ``name``, ``version``, ``files``; writes ``bundle.json`` last and exclusively.

        Args:
            manifest: ``bundle.json`` without those.

        Raises:
            BundleError: ``bundle_damaged``, ``bundle_unsupported`` or ``graph_refused``.
        """

    def discard(self) -> None:
        """Give up: remove the folder. A number that was never published may be given out again."""

@final
class Bundle:
    """A published bundle, read and checked: digests and graph audited, nothing executed and nothing copied.

    Args:
        path: The bundle's folder.

    Raises:
        BundleError: ``bundle_damaged``, naming the file; ``bundle_unsupported``; ``graph_refused``.
    """

    def __new__(cls, path: str | PathLike[str]) -> Bundle: ...
    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def manifest(self) -> str:
        """The text of ``bundle.json``."""

@final
class Engine:
    """A model loaded into the serving engine, in this process.

    Args:
        path: The bundle's folder.
        runtime: Path of the ONNX Runtime library; the first one loaded serves the whole process.
        threads: Sessions that may run at once, each on one thread; 0 is as many as there are cores.
        manifest: Text of ``bundle.json`` for a draft that is not published yet; its digests are not checked.
        unknown_columns: ``refuse`` or ``ignore``.
        trusted: Whether code that came with the model may run.
        worker: What starts a worker's process, where the model needs one: JSON
            ``{"program", "arguments": [...], "environment": {...}}``; the environment is the whole one of the process.

    Raises:
        BundleError: the bundle is damaged, unsupported or refused.
        TrustError: ``untrusted``: it has a worker and ``trusted`` is false; nothing of it was copied or run.
        EngineError: ``runtime_missing`` or ``engine_failed``.
    """

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        runtime: str | PathLike[str],
        threads: int = 0,
        manifest: str | None = None,
        unknown_columns: str = "refuse",
        trusted: bool = False,
        worker: str | None = None,
    ) -> Engine: ...
    @property
    def manifest(self) -> str:
        """The text of ``bundle.json``."""

    def predict(self, data: object, *, max_batch_rows: int = 0) -> ArrowStream:
        """Score Arrow data, whole.

        Args:
            data: Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``. A tensor column is a fixed-size list of
                its values in row-major order (nested fixed-size lists are the same).
            max_batch_rows: Rows per call of the engine, cut and spread over the threads; 0 leaves it to the core.

        Returns:
            The output columns, in order, one row per input row.

        Raises:
            InputError: by the Values rules, with the first 100 faults in ``details``.
        """

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> ArrowStream:
        """Score records, one mapping a row, by the same rules as JSON rows.

        Values are ``None``, ``bool``, ``int``, ``float``, ``str``, ``datetime.date``, ``datetime.datetime``, (nested)
        lists, or anything with ``tolist()`` that gives one of these (NumPy scalars and arrays).
        """

    def predict_columns(self, columns: Mapping[str, Sequence[Any]]) -> ArrowStream:
        """Score columns of equal length, by the same rules as JSON columns. Values as in :meth:`predict_rows`."""

    def check_golden(self) -> str:
        """Score the golden rows again.

        Returns:
            JSON: ``{"rows", "label_mismatches", "worst_difference", "matched"}``.
        """

@final
class Server:
    """An HTTP server with threads of its own, and no state outside itself: two in one process are fine.

    The constructor binds and starts to load; :meth:`wait_ready` says when golden rows have matched.

    Args:
        models: JSON: ``[{"name", "version", "path", "aliases": [...], "trusted", "worker"}]``, several versions of a name
            allowed; ``trusted`` and ``worker`` (its JSON, as a text) as in :class:`Engine`, needed for models with a worker.
        settings: JSON object of settings by name; ``models`` in it is an object of settings by model name.
        runtime: Path of the ONNX Runtime library.

    Raises:
        SettingError: ``setting_invalid`` or ``address_in_use``.
    """

    def __new__(cls, models: str, settings: str, *, runtime: str | PathLike[str]) -> Server: ...
    @property
    def address(self) -> str:
        """Where it listens: ``http://HOST:PORT``, with the port that was found for 0."""

    def wait_ready(self) -> None:
        """Return when every model is loaded and its golden rows have matched.

        Raises:
            MonorailError: what kept a model from loading; the server has stopped then.
        """

    def begin_drain(self) -> None:
        """Turn readiness off, finish what is there, then stop. Returns at once; safe to call twice."""

    def stop(self) -> None:
        """Stop at once, without draining. Returns at once; safe to call twice."""

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until it has stopped; False if ``timeout_s`` passed first."""

    def metrics(self) -> str:
        """What ``/metrics`` answers."""

@final
class Numbers:
    """Count, extremes, mean and squared deviations of a column of numbers, bools, dates (days) or times (microseconds).

    Exact but for rounding, whatever the batches and parts it was gathered from. Not for two threads at once.
    """

    def __new__(cls) -> Numbers: ...
    def update(self, column: object) -> None:
        """Take the rows of a column: anything with ``__arrow_c_array__``.

        Raises:
            InputError: ``wrong_type``: it has no numbers.
        """

    def merge(self, later: Numbers) -> None:
        """Take what another has gathered from rows behind these."""

    @property
    def rows(self) -> int:
        """How many rows."""

    @property
    def nulls(self) -> int:
        """How many are null."""

    @property
    def nans(self) -> int:
        """How many are NaN and not null."""

    @property
    def infinities(self) -> int:
        """How many are infinite, either sign."""

    @property
    def count(self) -> int:
        """How many are finite."""

    @property
    def minimum(self) -> int | float | None:
        """The least finite value: an int unless the column is one of floats; None without any."""

    @property
    def maximum(self) -> int | float | None:
        """The greatest finite value."""

    @property
    def mean(self) -> float:
        """The mean of the finite values; NaN without any."""

    @property
    def m2(self) -> float:
        """The sum of squared deviations of the finite values from their mean."""

    def to_bytes(self) -> bytes:
        """The state."""

    @staticmethod
    def from_bytes(state: bytes) -> Numbers:
        """The state of :meth:`to_bytes`."""

@final
class Quantiles:
    """The finite values of a column in order, roughly: a deterministic sketch of bounded size whose bound is certain."""

    def __new__(cls) -> Quantiles: ...
    def update(self, column: object) -> None:
        """Take the rows of a column, as :meth:`Numbers.update` does."""

    def merge(self, later: Quantiles) -> None:
        """Take what another has gathered from rows behind these."""

    @property
    def count(self) -> int:
        """How many finite values."""

    @property
    def rank_error(self) -> int:
        """By how many ranks an answer may be wrong at most; 0 while all values are held."""

    def at(self, ranks: Sequence[int]) -> list[float]:
        """The values at these ranks, 0 the least; the first and the last are exact."""

    def brackets(self, ranks: Sequence[int]) -> list[tuple[float, float]]:
        """Ranges of values, in order and apart, in which the values at these ranks lie for certain."""

    def to_bytes(self) -> bytes:
        """The state."""

    @staticmethod
    def from_bytes(state: bytes) -> Quantiles:
        """The state of :meth:`to_bytes`."""

@final
class Counts:
    """How often each value of a column is there.

    Args:
        limit: Above twice so many different values, or 32 MiB of them, only the most frequent are kept, and counts are
            estimates; None keeps all.
    """

    def __new__(cls, limit: int | None = None) -> Counts: ...
    def update(self, column: object) -> None:
        """Take the rows of a column: text of any layout, numbers, bools, dates, times, or a dictionary of such.

        Raises:
            InputError: ``wrong_type``: values of its type are not counted, or it is of another type than before.
        """

    def merge(self, later: Counts) -> None:
        """Take what another has gathered from rows behind these."""

    @property
    def rows(self) -> int:
        """How many rows."""

    @property
    def nulls(self) -> int:
        """How many are null."""

    @property
    def nans(self) -> int:
        """How many are NaN and not null."""

    @property
    def exact(self) -> bool:
        """Whether no value was given up."""

    @property
    def distinct(self) -> int:
        """How many different values; an estimate if not exact."""

    def sorted(self) -> ArrowStream:
        """Columns ``value`` and ``count``, in the order of the values: large strings, int64, uint64 or float64.

        Dates and times are int64 in their own unit, bools 0 and 1; zero has no sign.
        """

    def top(self, most: int) -> ArrowStream:
        """The most frequent values; of equally frequent ones the lesser first."""

    def to_bytes(self) -> bytes:
        """The state."""

    @staticmethod
    def from_bytes(state: bytes) -> Counts:
        """The state of :meth:`to_bytes`."""
