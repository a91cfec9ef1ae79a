"""What a model was saved with: Python, platform, and the versions of the packages it needs."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterable
from typing import Any

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def environment(packages: Iterable[str]) -> dict[str, Any]:
    """Describe this environment for a bundle.

    Args:
        packages: Distributions that the model comes from, such as ``scikit-learn``.

    Returns:
        ``python``, ``platform`` and ``packages``: the versions of those and of all they depend on, by name.
    """
    machine = platform.machine().lower()
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{_MACHINES.get(machine, machine)}",
        "packages": installed_versions(packages),
    }


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of distributions and of all they depend on, sorted by name; what is not installed is left out.

    Args:
        packages: Distributions to start from.
    """
    versions: dict[str, str] = {}
    waiting = [_normal(name) for name in packages]
    while waiting:
        name = waiting.pop()
        if name in versions:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        versions[name] = found.version
        waiting += [_normal(required) for line in found.requires or () if (required := _needed(line))]
    return dict(sorted(versions.items()))


def _normal(name: str) -> str:
    """A distribution's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(requirement: str) -> str | None:
    """The name of a requirement, unless it belongs to an extra.

    Markers for other platforms and versions are not judged: what they ask for is then not installed, and left out.
    """
    name, _, marker = requirement.partition(";")
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", name.strip())
    return None if match is None or re.search(r"\bextra\b", marker) else match.group()
