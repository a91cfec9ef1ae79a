"""The models that are measured, and the folder where what is slow to make is kept between runs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import monorail as mr
from monorail.cli.demo import flights, rail


def cache() -> Path:
    """A folder outside the tree for what may be made again: environments of rivals, the flights bundle."""
    root = os.environ.get("XDG_CACHE_HOME")
    path = (Path(root) if root else Path.home() / ".cache") / "monorail" / "benchmarks"
    path.mkdir(parents=True, exist_ok=True)
    return path


def flights_bundle() -> mr.Version:
    """The demo's flights model, fitted and saved once for every form of the source that makes it."""
    import monorail

    package = Path(monorail.__file__).parent
    digest = hashlib.sha256()
    for part in ("cli/demo", "compile", "bundle"):
        for path in sorted((package / part).rglob("*.py")):
            digest.update(path.read_bytes())
    registry = cache() / f"flights-{digest.hexdigest()[:16]}"
    try:
        return mr.Registry(registry).version(rail.NAME)
    except mr.errors.NotFoundError:
        print("   fitting and saving the flights model (kept for the next run)", flush=True)
        table = flights.read_flights()
        model, auc = flights.fit(table)
        return rail.save(model, table, auc, registry, quiet=True)


def cancer() -> tuple[Any, Any]:
    """scikit-learn's breast cancer data: 569 rows of 30 named columns, and the classes."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer(as_frame=True)
    return bunch.data, bunch.target


def linear() -> Any:
    """A scaler and a logistic regression, not fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def trees() -> Any:
    """A scaler and 200 trees of at most 31 leaves, not fitted."""
    from lightgbm import LGBMClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    boosted = LGBMClassifier(n_estimators=200, num_leaves=31, n_jobs=1, verbose=-1)
    return make_pipeline(StandardScaler(), boosted)
