"""The environment a bundle keeps: names and versions as installed."""

import importlib.metadata
import platform

from monorail.bundle.environment import environment, installed_versions


def test_dependencies_are_followed():
    versions = installed_versions(["scikit_learn"])
    assert versions["scikit-learn"] == importlib.metadata.version("scikit-learn")
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert "scipy" in versions
    assert list(versions) == sorted(versions)


def test_extras_and_strangers_are_left_out():
    assert "pytest" not in installed_versions(["scikit-learn"])
    assert installed_versions(["no-such-distribution-anywhere"]) == {}


def test_python_and_platform():
    described = environment([])
    assert described["python"] == platform.python_version()
    assert described["platform"].count("-") == 1
    assert described["packages"] == {}
