"""Loads the model that a worker is for, as ``worker.json`` in its bundle says."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

#: What answers a batch: anything that `convert.conform` takes.
Answer = Callable[[pa.RecordBatch], Any]


def load(program: Path, folder: Path, given: pa.Schema) -> Answer:
    """Loads the model.

    Args:
        program: ``worker.json``.
        folder: where the bundle's files for the worker lie.
        given: what the answers are to be.

    Raises:
        Exception: whatever the model's files and code raise.
    """
    words = json.loads(program.read_text(encoding="utf-8"))
    kind = words["kind"]
    if kind == "class":
        return _class(words, folder, given.names)
    if kind == "estimator":
        return _estimator(words, folder)
    if kind == "prefix":
        return _prefix(words, folder)
    raise ValueError(f"worker.json has the kind {kind!r}, which this version does not know")


def _class(words: dict[str, Any], folder: Path, names: list[str]) -> Answer:
    from ..adapters.python import start

    files = folder / (words.get("folder") or "files")
    # `load` gets an empty folder where the model was saved without files.
    files.mkdir(exist_ok=True)
    instance = start(_object(words, folder, files), files)
    predict = instance.predict
    if words.get("takes") == "pandas" or words.get("form", {}).get("kind") == "pandas":
        form = _form(words)
        return lambda batch: _named(predict(form(batch)), names)
    return lambda batch: _named(predict(batch), names)


def _estimator(words: dict[str, Any], folder: Path) -> Answer:
    from ..adapters import find_adapter

    model = _pickled(folder / words["file"])
    form, adapter, outputs = _form(words), find_adapter(model), words["outputs"]
    if words.get("folder"):
        model = adapter.moved(model, folder / words["folder"])
    return lambda batch: adapter.answers(model, form(batch), outputs)


def _prefix(words: dict[str, Any], folder: Path) -> Answer:
    from ..adapters.base import quietly
    from ..adapters.between import columns_between

    model = _pickled(folder / words["file"])
    form, columns = _form(words), words["columns"]
    return lambda batch: columns_between(quietly(model.transform, form(batch)), columns)


def _object(words: dict[str, Any], folder: Path, files: Path) -> Any:
    """The class or instance: by its name in a module, or by value."""
    if words.get("import"):
        # The files may bring the module.
        sys.path.insert(0, str(files))
        module, _, name = words["import"].partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found
    return _pickled(folder / words["file"])


def _pickled(path: Path) -> Any:
    """An object stored by value. This process is the only one that ever opens it."""
    import cloudpickle

    with path.open("rb") as file:
        return cloudpickle.load(file)


def _form(words: dict[str, Any]) -> Callable[[pa.RecordBatch], Any]:
    """From a batch to what the model was fitted with."""
    from ..adapters.frames import Form

    form = Form.from_json(words.get("form") or {"kind": "pandas"})
    return lambda batch: form.frame(pa.Table.from_batches([batch]))


def _named(answer: Any, names: list[str]) -> Any:
    """An answer of a class; one column alone has the name of the only output."""
    is_column = isinstance(answer, pa.Array | pa.ChunkedArray) or not (
        isinstance(answer, dict | pa.RecordBatch | pa.Table) or hasattr(answer, "columns")
    )
    if is_column:
        if len(names) != 1:
            raise TypeError(f"predict gave one column, a {type(answer).__name__}; the outputs are {', '.join(names)}")
        return {names[0]: answer}
    return answer
