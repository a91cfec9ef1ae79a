"""``python -m tests.conformance.estimators [NAME...] [--write]``: how estimators are served; all where none is named.

``--write`` puts what is found into ``outcomes.json``, from which ``docs/generate.py`` makes the page.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tests.conformance.estimators import harness, recipes


def main(arguments: list[str]) -> int:
    """Prints a line for each estimator; the exit status is 1 where one answers otherwise than its original."""
    chosen = [argument for argument in arguments if not argument.startswith("--")] or recipes.names()
    found, wrong = {}, 0
    with tempfile.TemporaryDirectory() as folder:  # private: what it holds may run
        for name in chosen:
            try:
                found[name] = harness.save(name, Path(folder) / "registry").outcome
            except Exception as error:
                wrong += 1
                text = (
                    "".join(traceback.format_exception(error))
                    if len(chosen) < 5
                    else f"{type(error).__name__}: {error}"
                )
                print(f"{name:32} WRONG    {text}")
                continue
            outcome = found[name]
            print(f"{name:32} {outcome.engine:8} {outcome.differs:<8.0e} {outcome.reason}", flush=True)
    print(dict(Counter(outcome.engine for outcome in found.values())) | {"wrong": wrong})
    if "--write" in arguments:
        harness.write(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
