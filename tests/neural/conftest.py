"""These tests run in the environment that has torch and TensorFlow (`make test-neural`); others leave them out."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["*"]
# TensorFlow's talk, which pytest would keep for every failure; read when it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: float32 arithmetic in another order.
CLOSE = 1e-5


@pytest.fixture
def saved(tmp_path: Any) -> Callable[..., Any]:
    """Saves a model as a graph, proven, and gives it loaded from the registry."""
    import monorail as mr

    def save(model: Any, example: Any, **options: Any) -> Any:
        registry = tmp_path / "registry"
        version = mr.save(model, "m", example=example, registry=registry, quiet=True, engine="native", **options)
        assert version.proof.passed
        assert version.proof.hard_rows > 0
        return mr.load(f"m@{version.version}", registry=registry)

    return save


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)
