"""How data travels: a question as the body of a request, and an answer as the kind of data the question came in.

Frames and Arrow go as Arrow streams, dicts and lists as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ..errors import InputError, SignatureError
from ..signature import Signature
from .upload import LARGE_BYTES, Upload, upload_of, upload_of_reader

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class Question:
    """What is sent of a user's data, and what is needed to give the answer its kind.

    Attributes:
        content: The body, or what makes it as it is sent.
        headers: Its form, and that of the answer.
        like: What :func:`monorail.data.from_arrow` is told of the data; None for JSON.
        signature: Of the model, where it says whether a record or columns were meant.
        one: Whether one record was asked, which has one answer instead of a list.
    """

    content: bytes | Upload
    headers: Mapping[str, str]
    like: Any = None
    signature: Signature | None = None
    one: bool = False

    def explained(self, error: InputError) -> InputError:
        """A refusal with the hint that helps who holds this kind of data."""
        if self.like is None:
            return error
        from ..data import better_hint

        return better_hint(error, self.like)

    def kept(self) -> Question:
        """What the answer needs of it, without the body; a frame's index stays as it is now."""
        if self.like is None:
            return dataclasses.replace(self, content=b"")
        from ..data.incoming import is_pandas

        like = self.like.iloc[:, :0] if is_pandas(self.like) else self.like
        return dataclasses.replace(self, content=b"", like=like)


def question_of(data: Any, signature: Callable[[], Signature], *, large: bool = False) -> Question:
    """Data as a request's body.

    Args:
        data: As for :meth:`monorail.Model.predict`.
        signature: Fetches the model's; called only where it says what the data means.
        large: Whether the body may be one that is made as it is sent.

    Raises:
        InputError: ``wrong_type``, ``wrong_format`` or ``not_finite``: a value has no form in which it could be sent.
    """
    if isinstance(data, Mapping) and not any(hasattr(value, "__array__") for value in data.values()):
        return _of_dict(data, signature)
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        return _of_json({"rows": [plain(row) for row in data]})
    return _of_arrow(data, signature, large=large)


def answer_of(answer: httpx.Response, question: Question | None) -> Any:
    """What an answer predicts.

    Args:
        answer: As the server gave it.
        question: What it answers; None where nobody knows: then Arrow is a table, JSON a list of rows or columns.
    """
    if not answer.headers.get("content-type", "").startswith(ARROW):
        return predictions_of(answer.json(), question)
    import pyarrow as pa

    from ..data import from_arrow

    table = pa.ipc.open_stream(answer.content).read_all()
    return table if question is None else from_arrow(table, question.like, question.signature)


def predictions_of(answer: Mapping[str, Any], question: Question | None) -> Any:
    """What an answer in JSON predicts."""
    predictions = answer["predictions"]
    return predictions[0] if question is not None and question.one else predictions


def _of_dict(data: Mapping[str, Any], signature: Callable[[], Signature]) -> Question:
    """A record or columns. Where values are lists, the signature says which of the two it is."""
    if any(isinstance(value, list | tuple) for value in data.values()):
        from ..data import is_record

        if not is_record(data, signature()):
            return _of_json({"columns": {column: plain(values) for column, values in data.items()}})
    return _of_json({"rows": [plain(data)]}, one=True)


def _of_json(body: dict[str, Any], *, one: bool = False) -> Question:
    return Question(_encoded(body), {"content-type": JSON}, one=one)


def _of_arrow(data: Any, fetch_signature: Callable[[], Signature], *, large: bool) -> Question:
    """Anything else, as an Arrow stream both ways."""
    import pyarrow as pa

    from ..data import to_arrow

    headers = {"content-type": ARROW, "accept": ARROW}
    if large and isinstance(data, pa.RecordBatchReader):
        return Question(upload_of_reader(data), headers, data)
    # One vector a column may be the column, or one record's tensor: the signature says which.
    vectors = isinstance(data, Mapping) and any(getattr(value, "ndim", 0) == 1 for value in data.values())
    signature = fetch_signature() if vectors else None
    try:
        table = to_arrow(data, signature)
    except SignatureError as error:
        # What cannot be one Arrow type cannot be of the signature's type either.
        places = [{**detail, "code": "wrong_type"} for detail in error.details]
        raise InputError(error.message, code="wrong_type", hint=error.hint, details=places) from error
    if large and table.nbytes > LARGE_BYTES:
        return Question(upload_of(table), headers, data, signature)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Question(sink.getvalue().to_pybytes(), headers, data, signature)


def _encoded(body: dict[str, Any]) -> bytes:
    """A body of plain values as JSON."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"a string holds {error.object[error.start]!a}, half of a character",
            code="wrong_format",
            hint="decode the text again from its bytes, or leave the value out",
        ) from error
    except TypeError as error:
        raise InputError(
            f"a value has no form in JSON: {error}",
            code="wrong_type",
            hint="send numbers, bools, strings, dates, timestamps or None",
        ) from error


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and pandas' NA and NaT are null, dates and times are ISO 8601.

    Raises:
        InputError: ``not_finite``: JSON has no infinity.
    """
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError(
                "JSON has no infinity", code="not_finite", hint="send a frame or an Arrow table, which have it"
            )
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas is not imported for it
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy scalars
        return plain(value.tolist())
    return value
