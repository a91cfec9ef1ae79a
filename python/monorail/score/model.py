"""A model as whoever scores has it: opened once in a process, and packed where it goes to another one."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from .. import _core
from ..bundle.registry import Registry
from ..bundle.version import Version
from ..engine import Model, runtime_library
from ..serve.workers import trusted_worker

#: Engines open in this process at once, at most: the least recently used is let go.
MOST_ENGINES = 4


class _Engines:
    """The engines of this process, by model; several threads may ask for the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[Any, ...], _core.Engine] = {}

    def get(self, key: tuple[Any, ...], make: Any) -> _core.Engine:
        """The engine of a key, made by the first who asks."""
        with self._lock:
            engine = self._open.pop(key, None) or make()
            self._open[key] = engine
            while len(self._open) > MOST_ENGINES:
                self._open.pop(next(iter(self._open)))
            return engine

    def drop(self, key: tuple[Any, ...]) -> None:
        """Let go of the engine of a key."""
        with self._lock:
            self._open.pop(key, None)


_ENGINES = _Engines()


class PackedModel:
    """A model that can be pickled: its bundle's bytes travel, and its engine is opened once in each process.

    Attributes:
        version: Which bundle it is.
        digest: SHA-256 of its manifest, which has the digest of every other file.
        row_wise: Whether a row's answer does not depend on the rows beside it.
    """

    def __init__(
        self,
        reference: str | os.PathLike[str] | Version | Model,
        *,
        registry: str | os.PathLike[str] | None = None,
        trust: bool = False,
        worker_environment: str = "auto",
        threads: int = 1,
    ) -> None:
        """Find a model, and decide whether code that is part of it may run.

        Args:
            reference: As for :func:`monorail.load`, or a loaded model.
            registry: The registry's folder.
            trust: Run the Python code that is part of the model.
            worker_environment: ``isolated`` always makes the environment of a model's workers.
            threads: Batches that one call scores at once; workers that a model with workers may have in a process.

        Raises:
            NotFoundError: ``unknown_model`` or ``unknown_version``.
            BundleError: the bundle is damaged.
            EngineError: ``environment_unavailable``.
        """
        if isinstance(reference, Model):
            # Who has loaded it has said already that its code may run.
            trust, reference = trust or reference.engine != "native", reference.version
        found = Registry(registry)
        self.version: Version = found.version(reference)
        self._isolated = worker_environment == "isolated"
        self._trusted, self._worker = trusted_worker(reference, found, trust=trust, isolated=self._isolated)
        self._path = self.version.path
        self._files: dict[str, bytes] | None = None
        self.threads = threads
        self.row_wise: bool = self.version.manifest["row_wise"]
        self.digest = hashlib.sha256((self._path / "bundle.json").read_bytes()).hexdigest()

    @property
    def inputs(self) -> list[str]:
        """The names of the columns it takes."""
        return [column.name for column in self.version.signature.inputs]

    def engine(self) -> _core.Engine:
        """Its engine in this process.

        Raises:
            BundleError: the bundle is damaged, of another format or refused.
            TrustError: ``untrusted``.
            EngineError: ``runtime_missing``, ``engine_failed`` or ``environment_unavailable``.
        """
        return _ENGINES.get(self._key, self._open)

    def close(self) -> None:
        """Let go of its engine in this process, and with it of its workers. Used again, it is opened again."""
        _ENGINES.drop(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.digest, self.threads, self._trusted, self._isolated

    def _open(self) -> _core.Engine:
        if self._files is None:
            return self._load(self._path, self._worker)
        # Nothing is read from the folder once the engine stands: graphs are in memory, workers have their own copy.
        with tempfile.TemporaryDirectory(prefix="monorail-model-") as folder:
            path = Path(folder) / self.version.name / str(self.version.version)
            for name, content in self._files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(content)
            # Trust was decided where the registry is; what starts a worker is this machine's.
            worker = trusted_worker(path, Registry(folder), trust=self._trusted, isolated=self._isolated)[1]
            return self._load(path, worker)

    def _load(self, path: Path, worker: str | None) -> _core.Engine:
        return _core.Engine(path, runtime=runtime_library(), threads=self.threads, trusted=self._trusted, worker=worker)

    def __getstate__(self) -> dict[str, Any]:
        """With the bytes of the bundle: where it is unpickled, its folder may not be."""
        files = self._files
        if files is None:
            paths = [path for path in sorted(self._path.rglob("*")) if path.is_file()]
            files = {path.relative_to(self._path).as_posix(): path.read_bytes() for path in paths}
        return {**self.__dict__, "_files": files, "_worker": None}
