"""A bundle's description for people and programs: :class:`Version`, and the :class:`Proof` in it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..signature import Signature

if TYPE_CHECKING:
    import pyarrow as pa

#: Before the names of the golden rows' input columns, and of the original's answers.
INPUT = "input/"
OUTPUT = "output/"


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was compared between graph and original, and how it came out.

    Attributes:
        passed: Whether every answer agreed.
        unproven: Whether it was stored although it did not pass (or could not be tried), because the user said so.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        rows: Rows of the example compared.
        hard_rows: Generated rows compared.
        label_mismatches: Rows with another label.
        worst_difference: The largest absolute difference of any number; None where one side alone was not finite.
        refused_by_original: Generated rows that the original itself refuses; not compared.
        generators: Hard rows by the generator that made them.
    """

    passed: bool
    unproven: bool
    rtol: float
    atol: float
    rows: int
    hard_rows: int
    label_mismatches: int
    worst_difference: float | None
    refused_by_original: int
    generators: Mapping[str, int]

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Proof:
        """Read the manifest's ``proof``."""
        optional = {"refused_by_original": 0, "generators": {}}
        return cls(**{field.name: form.get(field.name, optional.get(field.name)) for field in dataclasses.fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """The manifest's ``proof``."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        outcome = "proven" if self.passed else "NOT PROVEN"
        worst = "not finite" if self.worst_difference is None else f"{self.worst_difference:.2g}"
        return (
            f"{outcome}: {self.rows:,} rows and {self.hard_rows:,} hard rows, "
            f"{self.label_mismatches:,} label mismatches, worst difference {worst}"
        )


@dataclasses.dataclass(frozen=True)
class Version:
    """A version of a model: a published bundle.

    Attributes:
        name: The model's name.
        version: Its number.
        path: The bundle's folder.
        manifest: ``bundle.json``, parsed.
    """

    name: str
    version: int
    path: Path
    manifest: Mapping[str, Any] = dataclasses.field(repr=False, hash=False, compare=False)

    @classmethod
    def from_manifest(cls, manifest: str, path: Path) -> Version:
        """Describe a bundle by the text of its ``bundle.json``."""
        parsed = json.loads(manifest)
        return cls(parsed["name"], parsed["version"], path, parsed)

    @property
    def signature(self) -> Signature:
        """Input and output columns, and what training saw of them."""
        return Signature.from_json(self.manifest["signature"])

    @property
    def proof(self) -> Proof:
        """What was compared, and the worst difference."""
        return Proof.from_json(self.manifest["proof"])

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What the author measured."""
        return self.manifest["metrics"]

    @property
    def tags(self) -> Mapping[str, Any]:
        """What the author noted."""
        return self.manifest["tags"]

    @property
    def created(self) -> str:
        """When it was saved, ISO 8601 in UTC."""
        return self.manifest["created"]

    @property
    def engine(self) -> str:
        """What runs it: ``native`` (a graph), ``worker`` (a Python process) or ``mixed`` (the one after the other)."""
        engines = {stage["engine"] for stage in self.manifest["stages"]}
        return "mixed" if len(engines) > 1 else engines.pop()

    @property
    def reason(self) -> str:
        """Why it is not a graph as a whole, one line; "" where it is."""
        return next((stage.get("reason", "") for stage in self.manifest["stages"] if stage["engine"] == "worker"), "")

    @property
    def coverage(self) -> Mapping[str, list[str]]:
        """Names of the steps that run in the graph, ``native``, and in Python processes, ``worker``."""
        usual = {"native": ["model"] if self.engine == "native" else [], "worker": []}
        return {**usual, **self.manifest.get("coverage", {})}

    def export(self, path: str | os.PathLike[str], *, format: str = "onnx") -> tuple[Path, Path]:
        """Write the graph for other runtimes, and beside it a map of its inputs and outputs as JSON.

        Args:
            path: The graph's file.
            format: ``onnx``.

        Returns:
            The files of the graph and of the map.

        Raises:
            CompileError: ``cannot_compile``: the version needs a worker, so there is no graph.
            InputError: another format, or a file that cannot be written.
        """
        from .export import export_onnx

        if format != "onnx":
            raise InputError(f"there is no format {format!r}", code="malformed_request", hint='format="onnx"')
        return export_onnx(self, Path(path))

    def golden_inputs(self) -> pa.Table:
        """The golden rows' input columns; no rows where none were kept."""
        import pyarrow as pa

        from ..data import arrow_type

        golden = self.manifest["golden"]
        if golden is None:
            return pa.schema([(column.name, arrow_type(column)) for column in self.signature.inputs]).empty_table()
        return self._golden(INPUT)

    def golden_outputs(self) -> pa.Table:
        """The original's answers to the golden rows; no rows where none were kept."""
        import pyarrow as pa

        return pa.table({}) if self.manifest["golden"] is None else self._golden(OUTPUT)

    def _golden(self, prefix: str) -> pa.Table:
        """The columns of the golden rows whose names begin so."""
        import pyarrow as pa

        with pa.memory_map(str(self.path / self.manifest["golden"]["file"])) as source:
            table = pa.ipc.open_stream(source).read_all()
        names = [name for name in table.column_names if name.startswith(prefix)]
        return table.select(names).rename_columns([name.removeprefix(prefix) for name in names])

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
