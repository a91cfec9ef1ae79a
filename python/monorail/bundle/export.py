"""A version's graph as files for any ONNX runtime: the graph itself, and beside it a map of what goes in and out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BundleError, CompileError, InputError

if TYPE_CHECKING:
    from .version import Version

#: Number of the map's form; raised when a field changes its meaning.
MAP_FORMAT = 1
_UNITS = {"date32": "days since 1970-01-01", "timestamp": "microseconds since 1970-01-01"}
_TEXT = ("string", "dictionary")


def export_onnx(version: Version, path: Path) -> tuple[Path, Path]:
    """Write the graph of a native version, and its map beside it with the ending ``.json``.

    Args:
        version: The version.
        path: The graph's file; one that is there is replaced.

    Returns:
        The files of the graph and of the map.

    Raises:
        CompileError: ``cannot_compile``: the version needs a worker.
        BundleError: ``bundle_damaged``: the graph is not the one that was saved.
        InputError: ``malformed_request``: a file cannot be written.
    """
    if version.engine != "native":
        what = "runs" if version.engine == "worker" else "begins"
        raise CompileError(
            f"{version} {what} in a Python worker, so no graph answers for it: {version.reason}",
            code="cannot_compile",
            hint="put steps that compile in the place of those that do not, and save it again",
        )
    stage = version.manifest["stages"][0]
    graph = (version.path / stage["graph"]).read_bytes()
    if hashlib.sha256(graph).hexdigest() != version.manifest["files"][stage["graph"]]["sha256"]:
        raise BundleError(
            f"{version.path / stage['graph']} is not the file that was saved",
            code="bundle_damaged",
            hint="save the model again",
        )
    beside = path.with_suffix(".json")
    if beside == path:
        raise InputError(
            f"{path} would hold both the graph and its map",
            code="malformed_request",
            hint="give a name that ends in .onnx",
        )
    text = json.dumps(describe(version, path.name), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        path.write_bytes(graph)
        beside.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be written: {error.strerror}",
            code="malformed_request",
            hint="--output names a file in a folder that is there",
        ) from error
    return path, beside


def describe(version: Version, file: str) -> dict[str, Any]:
    """The map: every input of the graph with the columns it takes, and every output with what it means."""
    stage = version.manifest["stages"][0]
    columns = {column["name"]: column for column in version.manifest["signature"]["inputs"]}
    answers = {output["name"]: output for output in version.manifest["signature"]["outputs"]}
    return {
        "format": MAP_FORMAT,
        "model": version.name,
        "version": version.version,
        "graph": file,
        "sha256": version.manifest["files"][stage["graph"]]["sha256"],
        "opsets": stage["opsets"],
        "runtime": stage["runtime"],
        "inputs": [_input(entry, columns) for entry in stage["inputs"]],
        "outputs": [{"graph_output": entry["graph_output"], **answers[entry["name"]]} for entry in stage["outputs"]],
    }


def _input(entry: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One input of the graph: its shape without the rows, and the columns in their order."""
    if "valid" in entry:
        return {"name": entry["name"], "type": entry["type"], "shape": [1], "valid": entry["valid"]}
    taken = [_column(columns[name], entry["type"]) for name in entry["columns"]]
    alone = columns[entry["columns"][0]]
    shape = list(alone["shape"]) if alone["type"] == "tensor" else [len(taken)]
    return {"name": entry["name"], "type": entry["type"], "shape": shape, "columns": taken}


def _column(column: Mapping[str, Any], element: str) -> dict[str, Any]:
    """One column: what it holds, and what stands for a null."""
    kind, nullable = column["type"], bool(column.get("nullable", False))
    described: dict[str, Any] = {"name": column["name"], "type": kind, "nullable": nullable}
    if kind in _UNITS:
        described["unit"] = _UNITS[kind]
    if column.get("zone"):
        described["zone"] = column["zone"]
    if nullable:
        # What is written in the null's place; text and times say in their `valid` input that there is none.
        described["null"] = "" if kind in _TEXT else "NaN" if element.startswith("float") else 0
    return described


__all__ = ["describe", "export_onnx"]
