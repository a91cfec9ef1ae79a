"""A fitted model in a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InputError


def check_path(path: str) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        InputError: ``malformed_request``: it is no ``.joblib`` file, or its folder is not there.
    """
    if Path(path).suffix != ".joblib" or not Path(path).resolve().parent.is_dir():
        raise InputError(
            f"{path} cannot be written", code="malformed_request", hint="name a .joblib file in a folder that is there"
        )


def write_model(model: Any, path: str) -> None:
    """Write a fitted model, whole or not at all.

    Args:
        model: The model; its report goes with it.
        path: A ``.joblib`` file.
    """
    import joblib

    draft = f"{path}.part"
    joblib.dump(model, draft)
    os.replace(draft, path)
