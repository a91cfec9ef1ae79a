"""Fixtures of tests that score: a registry with small models, and ``mr.score`` with it."""

from __future__ import annotations

import pytest

import monorail as mr

from ..support.bundles import publish_mean, publish_scorer


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A registry with ``scorer`` and ``mean``."""
    folder = tmp_path_factory.mktemp("scoring") / "registry"
    publish_scorer(folder, "scorer")
    publish_mean(folder, "mean")
    return folder


@pytest.fixture
def score(home):
    def call(data, out=None, model="scorer", **options):
        options = {"columns": ["id"], "registry": home, "quiet": True, **options}
        return mr.score(model, data, out=out, **options)

    return call
