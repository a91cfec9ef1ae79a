"""Starts a worker: the server runs this file by its path, with the channel as standard input.

The package ``monorail`` is made known by hand, from the folder this file is in, so that nothing else of the server's
environment can be imported. Its ``__init__`` is not run: it would ask for what a model's environment does not have.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path


def _know_monorail() -> None:
    folder = Path(__file__).resolve().parents[1]
    spec = importlib.machinery.ModuleSpec("monorail", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules["monorail"] = importlib.util.module_from_spec(spec)


if __name__ == "__main__":
    _know_monorail()
    from monorail.worker.loop import main

    main()
