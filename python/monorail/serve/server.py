"""A running HTTP server and how it is started: in this process, with threads of its own and no global state."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import _core
from ..bundle.registry import Registry
from ..bundle.version import Version
from ..engine import runtime_library
from ..errors import NotFoundError, RegistryError
from .configuration import resolve_settings
from .jobs import job_store
from .workers import trusted_worker


def serve(
    *models: str | os.PathLike[str] | Version,
    host: str | None = None,
    port: int | None = None,
    threads: int | None = None,
    registry: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    trust: bool = False,
    **settings: Any,
) -> Server:
    """Serve models over HTTP, in this process. Returns when they are loaded and their golden rows have matched.

    Args:
        models: Each ``name`` (its newest version), ``name@version``, ``name@alias``, a :class:`Version`, or the path of
            a bundle's folder. Several versions of a name are served side by side.
        host: Address to listen on; default ``127.0.0.1``.
        port: Port to listen on, 0 for a free one; default 8000.
        threads: Threads that serve and score; default: as many as there are cores.
        registry: The registry's folder; default: ``MONORAIL_REGISTRY``, else the nearest ``.monorail`` upwards.
        config: File of settings; default: ``monorail.toml`` in the working folder, if there is one.
        trust: Run the Python code that is part of models. Not needed for graphs, nor for models of a registry whose
            folder is this user's own, with mode 0700.
        settings: Any other of :data:`monorail.settings.SETTINGS`, by name.

    Returns:
        The server. Used as a context manager it stops at the end of the block.

    Raises:
        NotFoundError: ``unknown_model`` or ``unknown_version``.
        BundleError: a bundle is damaged or refused, or its golden rows do not match.
        RegistryError: ``version_exists``: two folders hold the same version of the same name.
        TrustError: ``untrusted``: code is part of a model, and nobody said that it may run.
        EngineError: ``environment_unavailable``: a package that a model needs cannot be had.
        SettingError: ``setting_invalid`` or ``address_in_use``.
        OverloadedError: ``jobs_unavailable``: the folder of ``jobs``, where one is named, is another server's.
    """
    said = resolve_settings({"host": host, "port": port, "threads": threads, **settings}, file=config)
    folder = Registry(registry)
    described = _described(models, folder, said, trust)
    said["jobs"] = job_store(said.get("jobs"), folder.path)
    core = _core.Server(json.dumps(described), json.dumps(said), runtime=runtime_library())
    try:
        core.wait_ready()
    except BaseException:
        core.stop()
        raise
    return Server(core)


def _described(
    models: Sequence[str | os.PathLike[str] | Version], registry: Registry, said: Mapping[str, Any], trust: bool
) -> list[dict[str, Any]]:
    """What Rust is told to load: each version once, with the aliases that point at it."""
    if not models:
        raise NotFoundError("no model was named", code="unknown_model", hint="name at least one: serve('flights')")
    aliases = {entry.name: entry.aliases for entry in registry.list()}
    described: dict[tuple[str, int], dict[str, Any]] = {}
    for reference in models:
        name, version, path = registry.resolve(reference)
        other = described.get((name, version))
        if other is not None and Path(other["path"]).resolve() != path.resolve():
            raise RegistryError(
                f"{name}@{version} was named twice, as {other['path']} and as {path}",
                code="version_exists",
                hint="serve one of them; save the other under a name of its own to serve both",
            )
        # A copy from elsewhere has a registry of its own, whose aliases are not known here.
        own = aliases.get(name, {}) if registry.holds(name, version, path) else {}
        pointing = sorted(alias for alias, target in own.items() if target == version)
        of_model = said.get("models", {}).get(name, {})
        isolated = of_model.get("worker_environment", said.get("worker_environment")) == "isolated"
        trusted, worker = trusted_worker(reference, registry, trust=trust, isolated=isolated)
        described[name, version] = {
            "name": name,
            "version": version,
            "path": str(path),
            "aliases": pointing,
            "trusted": trusted,
            "worker": worker,
        }
    return list(described.values())


class Server:
    """A running server. Made by :func:`serve`.

    Leaving its ``with`` block, or :meth:`stop`, drains it: readiness goes off, what was accepted is answered.
    """

    def __init__(self, core: _core.Server) -> None:
        self._core = core

    @property
    def url(self) -> str:
        """Where it listens: ``http://HOST:PORT``."""
        return self._core.address

    def begin_drain(self) -> None:
        """Begin to stop and return at once; :meth:`wait` returns when it has stopped."""
        self._core.begin_drain()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has stopped.

        Args:
            timeout_s: Longest wait in seconds; None for no limit.

        Returns:
            Whether it has stopped.
        """
        return self._core.join(timeout_s)

    def stop(self, *, drain: bool = True) -> None:
        """Stop and return when it has stopped. Safe to call twice.

        Args:
            drain: Answer what was accepted first, for at most ``drain_s``.
        """
        if drain:
            self._core.begin_drain()
        else:
            self._core.stop()
        self._core.join()

    def metrics(self) -> str:
        """What ``/metrics`` answers."""
        return self._core.metrics()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Server({self.url!r})"
