"""What the user names or holds, as a source."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from ..errors import InputError
from .incoming import to_arrow
from .source import Source
from .sources.base import filter_expression


def opened(data: Any, filters: Any = None) -> Source:
    """Open data of any kind as a source; see :func:`monorail.data.source.open_source`."""
    kept = filter_expression(filters)
    if isinstance(data, str | Path):
        return _files([str(data)], kept)
    if isinstance(data, list | tuple) and data and all(isinstance(item, str | Path) for item in data):
        return _files([str(item) for item in data], kept)
    from .sources.tables import table_source

    return table_source(to_arrow(data), kept)


def _files(named: list[str], kept: Any) -> Source:
    from .sources.parquet import parquet_source

    paths = [path for name in named for path in (sorted(glob.glob(name)) or [name])]
    paths = [
        str(file)
        for path in paths
        for file in (sorted(Path(path).glob("**/*.parquet")) if Path(path).is_dir() else [path])
    ]
    if not paths:
        raise InputError(f"{named[0]} holds no file that is read", code="malformed_request")
    return parquet_source(paths, kept)
