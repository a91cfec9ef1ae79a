"""``monorail jobs``."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, get_args

import click

from ..client.job import State
from .options import Decorator, json_option
from .predict import give_answers
from .printer import Printer

if TYPE_CHECKING:
    import pyarrow as pa

    from ..client import Client, JobStatus

#: How long one look at states takes, in seconds.
LOOK_S = 1.0

url_option: Decorator = click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, metavar="URL", help="The server's address."
)
state_option: Decorator = click.option("--state", type=click.Choice(get_args(State)), help="Only jobs in this state.")
model_option: Decorator = click.option("--model", help="Only jobs of this model, named as at their submission.")
limit_option: Decorator = click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="The newest so many."
)
ids_argument: Decorator = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@click.group("jobs")
def command() -> None:
    """List, show, fetch, cancel, retry and follow the jobs of a server."""


@command.command("list")
@state_option
@model_option
@limit_option
@url_option
@json_option
def list_command(state: str | None, model: str | None, limit: int, url: str, as_json: bool) -> None:
    """List the server's jobs, newest first."""
    printer = Printer()
    with _client(url) as client:
        # One more than is shown tells whether there are more.
        found = [job.known for job in client.jobs(state=state, model=model, limit=limit + 1)]
    shown = found[:limit]
    if as_json:
        printer.json([dataclasses.asdict(status) for status in shown])
    elif shown:
        printer.table(("id", "model", "state", "rows", "done", "created", "took"), [_row(status) for status in shown])
    else:
        printer.say(f"no such jobs at {url}" if state or model else f"no jobs at {url}")
    if len(found) > limit:
        printer.say(f"there are more: --limit {limit * 10}")


@command.command("show")
@click.argument("id")
@url_option
@json_option
def show_command(id: str, url: str, as_json: bool) -> None:
    """Show what the server says of the job ID."""
    printer = Printer()
    with _client(url) as client:
        status = client.job(id).known
    if as_json:
        printer.json(dataclasses.asdict(status))
    else:
        printer.data("\n".join(f"{word.ljust(10)}  {text}" for word, text in _described(status)))


@command.command("result")
@click.argument("id")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write here, by extension, instead of stdout.")
@url_option
def result_command(id: str, output: str | None, url: str) -> None:
    """Wait for the result of the job ID; predictions are lines of JSON on stdout."""
    from ..data.files import check_written

    printer = Printer()
    if output is not None:
        check_written(output)
    with _client(url) as client:
        job = client.job(id)
        with printer.progress(f"waiting for {id}", 1.0) if not job.known.ended else nullcontext() as advance:
            done = 0.0
            for status in job.watch():
                if advance is not None:
                    advance(status.progress - done)
                done = status.progress
        answers = _table(job.result())
    give_answers(printer, answers, output)


@command.command("cancel")
@ids_argument
@url_option
@json_option
def cancel_command(ids: Sequence[str], url: str, as_json: bool) -> None:
    """Cancel the jobs with these IDs. One that has ended stays as it is."""
    with _client(url) as client:
        for id in ids:
            _told(client.job(id).cancel(), as_json)


@command.command("retry")
@ids_argument
@url_option
@json_option
def retry_command(ids: Sequence[str], url: str, as_json: bool) -> None:
    """Queue jobs again that failed, expired or were cancelled."""
    with _client(url) as client:
        for id in ids:
            _told(client.job(id).retry(), as_json)


@command.command("callback")
@ids_argument
@url_option
@json_option
def callback_command(ids: Sequence[str], url: str, as_json: bool) -> None:
    """Tell the ends of jobs to their callback URLs again, also where that was given up."""
    with _client(url) as client:
        for id in ids:
            _told(client.job(id).call_back(), as_json)


@command.command("tail")
@click.argument("id", required=False)
@model_option
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="Of the newest so many jobs."
)
@url_option
@json_option
def tail_command(id: str | None, model: str | None, limit: int, url: str, as_json: bool) -> int:
    """Print changes of state, a line each.

    Without ID those of the newest jobs, until it is interrupted; with ID those of one job and how far it is, until it
    ends.

    With ID the exit status is 0 if the job succeeded, else 1.
    """
    printer = Printer()
    with _client(url) as client, contextlib.suppress(KeyboardInterrupt):
        if id is None:
            for status in _changes(client, model, limit):
                _print_change(printer, status, as_json)
        else:
            job = client.job(id)
            for status in job.watch() if as_json else _news(job.watch()):
                _print_change(printer, status, as_json)
            return 0 if job.known.state == "succeeded" else 1
    return 0


def _client(url: str) -> Client:
    from .. import Client

    return Client(url)


def _table(result: Any) -> pa.Table:
    """A result as a table, whatever form was asked for."""
    import pyarrow as pa

    if isinstance(result, list):
        return pa.Table.from_pylist(result)
    return pa.table(result) if isinstance(result, dict) else result


def _news(watched: Iterable[JobStatus]) -> Iterator[JobStatus]:
    """Of what becomes of a job what a person reads: its states, and every tenth of its rows."""
    before = None
    for status in watched:
        news = (status.state, status.attempts, int(status.progress * 10))
        if news != before:
            yield status
        before = news


def _changes(client: Client, model: str | None, limit: int) -> Iterator[JobStatus]:
    """Changes of state among the newest jobs, oldest job first, without an end."""
    seen: dict[str, tuple[str, int]] = {}
    while True:
        newest = [job.known for job in client.jobs(model=model, limit=limit)]
        for status in reversed(newest):
            if seen.get(status.id) != (status.state, status.attempts):
                yield status
        # Those that newer ones have pushed off the list are not followed any more.
        seen = {status.id: (status.state, status.attempts) for status in newest}
        time.sleep(LOOK_S)


def _print_change(printer: Printer, status: JobStatus, as_json: bool) -> None:
    """A line for a state."""
    if as_json:
        printer.json_line(dataclasses.asdict(status))
        return
    at = status.finished or status.started or status.created
    more = f"  {status.error['message']}" if status.error else ""
    if status.state == "running" and status.rows_done:
        more = f"  {status.rows_done:,} of {status.rows:,} rows"
    printer.data(f"{_time(at)}  {status.id}  {status.model}  {status.state}{more}")


def _told(status: JobStatus, as_json: bool) -> None:
    """What became of a job."""
    if as_json:
        Printer().json_line(dataclasses.asdict(status))
    else:
        Printer().say(f"{status.id} is {status.state}")


def _row(status: JobStatus) -> tuple[object, ...]:
    """A job's line in the table."""
    return (status.id, status.model, status.state, status.rows, _share(status), _time(status.created), _took(status))


def _described(status: JobStatus) -> list[tuple[str, str]]:
    """A job in words."""
    version = f", answered by version {status.version}" if status.version else ""
    scored = f", of which {status.rows_done:,} are scored" if status.state == "running" else ""
    lines = [
        ("id", status.id),
        ("model", f"{status.model}{version}"),
        ("state", status.state),
        ("rows", f"{status.rows:,}{scored}"),
        ("priority", str(status.priority)),
        ("attempts", str(status.attempts)),
    ]
    for word in ("created", "not_before", "deadline", "started", "finished", "expires"):
        value = getattr(status, word)
        if value is not None:
            lines.append((word.replace("_", " "), _time(value)))
    if status.finished is not None:
        lines.append(("took", _took(status)))
    if status.result_url:
        lines.append(("result", status.result_url))
    if status.error:
        lines.append(("error", f"{status.error['code']}: {status.error['message']}"))
        if status.error.get("hint"):
            lines.append(("hint", status.error["hint"]))
    if status.callback:
        lines.append(("callback", status.callback["url"]))
        lines.append(("told", _how_told(status.callback)))
    return lines


def _how_told(callback: Mapping[str, Any]) -> str:
    """How far the telling of a job's end has come."""
    attempts = callback["attempts"]
    tries = f" after {attempts} attempt{'' if attempts == 1 else 's'}" if attempts else ""
    event = f" as {callback['event']}" if callback["event"] else ""
    why = f", the last: {callback['last_error']}" if callback["last_error"] else ""
    return f"{callback['state']}{event}{tries}{why}"


def _time(seconds: float | None) -> str:
    """A time as ISO 8601, to the second."""
    if seconds is None:
        return "-"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _share(status: JobStatus) -> str:
    """How much of it is scored."""
    return f"{int(status.progress * 100)} %" if status.state in ("running", "succeeded") else "-"


def _took(status: JobStatus) -> str:
    """From submission to the end."""
    if status.finished is None or status.created is None:
        return "-"
    return f"{max(0.0, status.finished - status.created):.3f} s"
