"""Hand-made bundles with a worker, and what tests ask of worker processes."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monorail import _core
from monorail.bundle.registry import Registry
from monorail.serve.environments import worker_command

from .bundles import PROOF, column, output
from .process import ServerProcess
from .waiting import wait_until

CODE = Path(__file__).with_name("worker_models.py")
X_DO = (column("x", "float64", nullable=True), column("do", "string"))
Y_PID = (output("y", "float64"), output("pid", "int64"), output("rows", "int64"))


def stage_inputs(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One input a column, and one for the nulls where they travel apart."""
    inputs = []
    for one in columns:
        kind = one["type"]
        if kind == "tensor":
            kind = one["dtype"]
        elif kind in ("date32", "timestamp"):
            kind = "int64"
        elif kind == "dictionary":
            kind = "string"
        elif one["nullable"] and kind not in ("float32", "float64", "string"):
            kind = "float64"
        inputs.append({"name": one["name"], "type": kind, "columns": [one["name"]]})
        if one["nullable"] and one["type"] in ("string", "dictionary", "date32", "timestamp"):
            inputs.append({"name": f"{one['name']}__valid", "type": "bool", "valid": one["name"]})
    return inputs


def publish_worker(
    registry: Path,
    name: str,
    kind: str,
    columns: Sequence[Mapping[str, Any]] = X_DO,
    outputs: Sequence[Mapping[str, Any]] = Y_PID,
    *,
    row_wise: bool = True,
    idempotent: bool = False,
    takes: str = "arrow",
) -> Path:
    """Publish a class of ``worker_models`` as the next version of ``name``, and give its folder."""
    draft = _core.Registry(str(registry)).draft(name)
    folder = Path(draft.path)
    (folder / "code.py").write_bytes(CODE.read_bytes())
    program = {
        "kind": "class",
        "file": None,
        "import": f"worker_models:{kind}",
        "folder": "files",
        "takes": takes,
        "form": {"kind": "pandas" if takes == "pandas" else "batch"},
    }
    (folder / "worker.json").write_text(json.dumps(program))
    stage = {
        "engine": "worker",
        "program": "worker.json",
        "inputs": stage_inputs(columns),
        "files": {"files/worker_models.py": "code.py"},
        "idempotent": idempotent,
        "lock": None,
        "reason": "it is made by hand",
    }
    manifest = {
        "format": 2,
        "created": "2026-01-01T00:00:00Z",
        "monorail": _core.__version__,
        "signature": {"inputs": list(columns), "outputs": list(outputs)},
        "row_wise": row_wise,
        "stages": [stage],
        "frameworks": {},
        "environment": {"python": platform.python_version(), "platform": "any", "packages": {}},
        "proof": PROOF,
        "golden": None,
        "metrics": {},
        "tags": {},
    }
    draft.publish(json.dumps(manifest))
    return folder


def launch(registry: Path, name: str) -> dict[str, Any]:
    """How the workers of a published model are started."""
    version = Registry(registry).version(name)
    command = worker_command(version.path, version.manifest)
    assert command is not None
    return json.loads(command)


def serve(registry: Path, *models: str, **settings: Any) -> ServerProcess:
    """A server that runs the code of these models."""
    return ServerProcess(registry, *models, trust=True, **settings)


def ask(server: ServerProcess, name: str, *words: str, headers: dict[str, str] | None = None) -> Any:
    """One request with a row for each word; ``x`` is the row's number."""
    rows = [{"x": float(number), "do": word} for number, word in enumerate(words)]
    return server.predict(name, rows, headers=headers)


def pid_of(server: ServerProcess, name: str) -> int:
    """The process that answers."""
    reply = ask(server, name, "")
    assert reply.status == 200, reply.text
    return reply.json()["predictions"][0]["pid"]


def proven(server: ServerProcess, name: str) -> int:
    """The process that answers, once it has answered so often that its death is not taken for one of a series."""
    return [pid_of(server, name) for _ in range(10)][-1]


def is_alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_gone(pid: int) -> None:
    """Wait until a process has ended."""
    wait_until(f"process {pid} ends", lambda: not is_alive(pid))


def restarts(server: ServerProcess, name: str, **labels: str) -> float:
    """How many of a model's workers were replaced."""
    return server.metrics().value("monorail_worker_restarts_total", model=name, **labels)


def wait_log(server: ServerProcess, *words: str) -> str:
    """Wait for a line of the log that holds all these words, and give it."""

    def found() -> str:
        return next((line for line in list(server.err) if all(word in line for word in words)), "")

    return wait_until(f"the log says {words}", found)
