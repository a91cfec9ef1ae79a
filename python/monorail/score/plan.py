"""What a run is to write: units of data, a file each, and the text that tells it from another run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ..data.source import BATCH_ROWS, Fragment, Source
from ..data.sources.places import leads_to
from ..errors import InputError
from .folder import Folder
from .invalid import place_of
from .scorer import Scorer

#: Where a folder's plan is, in it.
PLAN = "_monorail/plan.json"
#: Where rows that break the signature go.
INVALID = "_monorail/invalid"
#: Empty; there once every part is.
SUCCESS = "_SUCCESS"


@dataclasses.dataclass(frozen=True)
class Unit:
    """What becomes one file.

    Attributes:
        number: Its place in the order of the rows.
        fragments: The data it is of, of one file.
        rows: How many rows, before filters; None where only reading tells.
    """

    number: int
    fragments: tuple[Fragment, ...]
    rows: int | None

    @property
    def part(self) -> str:
        """The name of its file."""
        return f"part-{self.number:06d}.parquet"

    @property
    def side(self) -> str:
        """The name of the file of its rows that break the signature."""
        return f"{INVALID}/{self.part}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Units, and what tells the run from another one.

    Attributes:
        units: What becomes a file each, in order.
        told: As it is written.
    """

    units: tuple[Unit, ...]
    told: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of all that makes it this run."""
        return hashlib.sha256(json.dumps(self.told, sort_keys=True).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """What is written."""
        return (json.dumps(self.told, indent=1, ensure_ascii=False) + "\n").encode()


def make_plan(source: Source, scorer: Scorer, *, part_rows: int, filters: Any, invalid: str) -> Plan:
    """Cut data into units.

    Args:
        source: The data.
        scorer: What is to be done with it.
        part_rows: Rows of a unit at most, as far as the file's row groups allow.
        filters: As the user gave them.
        invalid: ``refuse`` or ``quarantine``.
    """
    units = cut(source.fragments, part_rows)
    version = scorer.model.version
    told = {
        "format": 1,
        "model": {"name": version.name, "version": version.version, "digest": scorer.model.digest},
        "data": _identity(source),
        "columns": scorer.columns,
        "filters": None if filters is None else str(filters),
        "invalid": invalid,
        "schema": str(scorer.schema),
        "batch_rows": BATCH_ROWS,
        "parts": [[fragment.name for fragment in unit.fragments] for unit in units],
    }
    return Plan(units, told)


def cut(fragments: Sequence[Fragment], part_rows: int) -> tuple[Unit, ...]:
    """Fragments that follow each other in one file, together until they would be too many rows."""
    groups: list[list[Fragment]] = []
    held = 0
    for fragment in fragments:
        rows = fragment.rows
        is_next = groups and rows is not None and path_of(fragment) is not None
        if is_next and path_of(groups[-1][-1]) == path_of(fragment) and held + (rows or 0) <= part_rows:
            groups[-1].append(fragment)
            held += rows or 0
        else:
            groups.append([fragment])
            held = rows if rows is not None else part_rows
    return tuple(Unit(number, tuple(group), _sum([f.rows for f in group])) for number, group in enumerate(groups))


def path_of(fragment: Fragment) -> str | None:
    """The path or URL of the file that a fragment is of; None where it is of none of the user's."""
    place = place_of(fragment)
    return None if place is None else place.name


def _sum(rows: Sequence[int | None]) -> int | None:
    return None if any(count is None for count in rows) else sum(count or 0 for count in rows)


def _identity(source: Source) -> dict[str, Any]:
    """What tells data from other data: of files the paths, sizes and times; of data in memory nothing does."""
    places = list(dict.fromkeys(place_of(fragment) for fragment in source.fragments))
    if None in places:
        return {"name": source.name, "in_memory": uuid.uuid4().hex}
    # The time is when it was changed, in nanoseconds since 1970.
    return {"files": [[place.name, place.size, place.modified] for place in places if place is not None]}


def is_same(plan: Plan, found: bytes) -> bool:
    """Whether a plan that was written is this one."""
    return found == plan.to_bytes()


def another(plan: Plan, found: bytes, folder: Folder) -> InputError:
    """The error of a folder whose plan is another one: ``score_conflict``, with what differs."""
    try:
        other = json.loads(found)
    except ValueError:
        other = {}
    mine = json.loads(plan.to_bytes())
    names = [name for name in mine if not isinstance(other, dict) or other.get(name) != mine[name]]
    if names == ["data"] and "in_memory" in mine["data"]:
        why = "data in memory cannot be recognised as that of the run before"
    else:
        # Which part holds what follows from the others, unless it is all that differs.
        why = f"it differs in {', '.join([name for name in names if name != 'parts'] or names)}"
    return conflict(f"{folder.name} holds the predictions of another run: {why}")


def foreign(folder: Folder, name: str) -> InputError:
    """The error of a folder with files that no run wrote, which are never replaced."""
    return InputError(
        f"{folder.name} holds files that are not a run's, such as {name}",
        code="score_conflict",
        hint="name another folder: what no run wrote is not replaced, with overwrite=True either",
    )


def check_apart(data: Any, source: Source, folder: Folder) -> None:
    """Refuse a folder that is the data's own: predictions would replace it, or be read as data the next time.

    Args:
        data: As the user gave it.
        source: What it is.
        folder: Where predictions go.

    Raises:
        InputError: ``score_conflict``.
    """
    part = folder.path("part-000000.parquet") if folder.local else f"{folder.name.rstrip('/')}/part-000000.parquet"
    names = [data] if isinstance(data, str | os.PathLike) else data if isinstance(data, list | tuple) else []
    inside = [str(name) for name in names if isinstance(name, str | os.PathLike) and leads_to(os.fspath(name), part)]
    within = [place.name for each in source.fragments if (place := place_of(each)) is not None and folder.holds(place)]
    if inside or within:
        raise InputError(
            f"{folder.name} lies in the data that is scored, {(inside or within)[0]}",
            code="score_conflict",
            hint="name a folder apart from the data: predictions are not to be read as data",
        )


def conflict(message: str) -> InputError:
    """The error of a folder that is not this run's."""
    return InputError(
        message,
        code="score_conflict",
        hint="name another folder, or replace what is there with overwrite=True",
    )
