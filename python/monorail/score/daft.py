"""Predictions as a lazy Daft frame: a source of Daft's whose tasks are fragments, scored when Daft reads them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ..data.source import Fragment, Source
from ..errors import MissingExtraError
from .output import score_batch
from .scorer import Scorer

if TYPE_CHECKING:
    import daft


def lazy_frame(scorer: Scorer, source: Source) -> daft.DataFrame:
    """A frame of the rows with their predictions; nothing is scored before Daft is asked for rows.

    Args:
        scorer: What scores.
        source: The data. It must stay open as long as the frame is used.

    Raises:
        MissingExtraError: Daft is not installed.
    """
    if importlib.util.find_spec("daft") is None:
        raise MissingExtraError(
            "Daft is not installed", code="missing_extra", hint='install it: pip install "monorail[daft]"'
        )
    # Nothing leaves the machine, nor is asked.
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from daft.io.source import DataSource, DataSourceTask
    from daft.recordbatch import RecordBatch
    from daft.schema import Schema

    schema = Schema.from_pyarrow_schema(scorer.schema)

    class Task(DataSourceTask):
        """A fragment."""

        def __init__(self, fragment: Fragment) -> None:
            self._fragment = fragment

        @property
        def schema(self) -> Any:
            return schema

        async def read(self) -> AsyncIterator[Any]:
            first = 0
            for batch in scorer.batches(self._fragment):
                answers = score_batch(scorer, batch, self._fragment, first)
                first += batch.num_rows
                yield RecordBatch.from_arrow_record_batches([answers], scorer.schema)

    class Scores(DataSource):
        """All fragments, in order."""

        @property
        def name(self) -> str:
            return f"{scorer.model.version} over {source.name}"

        @property
        def schema(self) -> Any:
            return schema

        async def get_tasks(self, pushdowns: Any) -> AsyncIterator[DataSourceTask]:
            for fragment in source.fragments:
                yield Task(fragment)

    return Scores().read()
