"""The process that opens a model file and saves what is in it, for ``monorail save``.

The request is JSON on stdin; the answer is the last line of stdout, ``{"saved": ...}`` or ``{"error": ...}``.
The model's own code may print: that goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MonorailError


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    if request["trust"]:
        # A pickle of one's own may name modules that lie beside it; they hide none that is installed.
        sys.path.append(str(Path.cwd()))
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = {"saved": _save(**request)}
        except MonorailError as error:
            parts = {"code": error.code, "message": error.message, "hint": error.hint, "details": error.details}
            answer = {"error": parts}
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    return 0


def _save(file: str, name: str, example: str | None, reference: str | None, **options: Any) -> dict[str, Any]:
    """Open the file and save the model."""
    from .. import save

    version = save(
        Path(file),
        name,
        example=None if example is None else _rows(example),
        reference=None if reference is None else _rows(reference),
        nullable=options.pop("nullable") or None,
        outputs=options.pop("outputs") or None,
        **options,
    )
    return {"name": version.name, "version": version.version, "path": str(version.path), "proof": str(version.proof)}


def _rows(path: str) -> Any:
    """Rows as most models were fitted on them: arrays as they are, else a pandas frame, where pandas is there."""
    from ..data.files import read_table

    if Path(path).suffix.lower() in (".npy", ".npz"):
        return _arrays(path)
    table = read_table(path)
    try:
        import pandas  # noqa: F401
    except ImportError:
        return table
    return table.to_pandas()


def _arrays(path: str) -> Any:
    """An array, or several by name."""
    try:
        held: Any = np.load(path, allow_pickle=False)
        return held if isinstance(held, np.ndarray) else {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read: {error}", code="malformed_request", hint="give an array that numpy.save wrote"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
