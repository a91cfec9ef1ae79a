"""What a model needs to run: Python, platform, packages; for a worker the lock that makes them again elsewhere."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import CompileError
from .pickling import is_editable

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
#: What every worker needs, whatever the model is.
WORKER_PACKAGES = ("cloudpickle", "numpy", "pyarrow")
#: Longest that the index of packages is waited for, in seconds.
_INDEX_TIMEOUT_S = 120
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^\]]*)\])?")


@dataclass(frozen=True)
class Lock:
    """The packages of a worker.

    Attributes:
        versions: Version of each distribution, by normal name.
        text: A requirement file of exactly those, with hashes where the index gave them.
        hashed: Whether it has them. Without, the model runs only where exactly these versions are installed.
        note: Why it has none, for people; "" where it has them.
    """

    versions: dict[str, str]
    text: str
    hashed: bool
    note: str = ""


def environment(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Describe this environment for a bundle.

    Args:
        packages: Distributions that the model needs to run; none for a graph.

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
        packages: Distributions to start from, perhaps with extras in brackets.
    """
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [pair for name in packages for pair in _named(name)]
    while waiting:
        name, extra = waiting.pop()
        # A worker brings Monorail's own code; what depends on it needs nothing more of it.
        if (name, extra) in seen or name == "monorail":
            continue
        seen.add((name, extra))
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        versions[name] = found.version
        waiting += [pair for line in found.requires or () for pair in _needed(line, extra)]
    return dict(sorted(versions.items()))


def lock(packages: Iterable[str]) -> Lock:
    """Lock distributions, all they depend on, and what every worker needs, at the versions installed here.

    Raises:
        CompileError: ``cannot_compile``: one of them is installed from a folder, so that nobody else can install it.
    """
    versions = installed_versions([*packages, *WORKER_PACKAGES])
    editable = [name for name in versions if is_editable(name)]
    if editable:
        raise CompileError(
            f"the model needs the package {editable[0]}, which is installed from a folder",
            code="cannot_compile",
            hint="install it as a wheel from an index, so that another machine can have the same",
        )
    try:
        return Lock(versions, _hashed(tuple(versions.items())), True)
    except _NoHashesError as why:
        pins = "".join(f"{name}=={version}\n" for name, version in versions.items())
        return Lock(versions, pins, False, str(why))


class _NoHashesError(Exception):
    """Why the index gave no hashes of these versions."""


@functools.cache  # What it raises is not kept: an index that is away may be back for the next model.
def _hashed(versions: tuple[tuple[str, str], ...]) -> str:
    """The requirement file of these versions, with the hashes that the index has."""
    uv = find_uv()
    if uv is None:
        raise _NoHashesError("uv is not installed: pip install 'monorail[worker]'")
    pins = "".join(f"{name}=={version}\n" for name, version in versions)
    command = [uv, "pip", "compile", "--quiet", "--generate-hashes", "--no-deps", "--no-header", "--no-annotate"]
    command += ["--python", sys.executable, "-"]
    try:
        made = subprocess.run(
            command, input=pins, capture_output=True, text=True, check=False, timeout=_INDEX_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise _NoHashesError(f"the index of packages did not answer in {_INDEX_TIMEOUT_S} s") from None
    if made.returncode:
        raise _NoHashesError(plain_words(made.stderr) or "uv failed")
    found = locked_versions(made.stdout)
    differ = [f"{name} {version}" for name, version in versions if found.get(name) != version]
    if differ:
        # As where a project's settings for uv override a version.
        raise _NoHashesError(
            f"uv gives another version than {differ[0]}, which is installed: look at the settings of uv here"
        )
    return made.stdout


def find_uv() -> str | None:
    """The program uv: of the package installed here, else the one on the path."""
    if importlib.util.find_spec("uv") is not None:
        import uv

        try:
            return str(uv.find_uv_bin())
        except FileNotFoundError:
            pass
    return shutil.which("uv")


def locked_versions(text: str) -> dict[str, str]:
    """Version by normal name, of the text of a lock."""
    pins = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", text, re.MULTILINE)
    return {normal(name): version for name, version in pins}


def normal(name: str) -> str:
    """A distribution's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plain_words(text: str) -> str:
    """What a program said, on one line, without what it draws."""
    return " ".join(re.sub(r"[^\x21-\x7e]+", " ", text).split())[:500]


def _named(requirement: str) -> Iterator[tuple[str, str]]:
    """Name and extra, "" for none, of the beginning of a requirement."""
    match = _REQUIREMENT.match(requirement.strip())
    if match is None:
        return
    yield normal(match["name"]), ""
    for extra in (match["extras"] or "").split(","):
        if extra.strip():
            yield normal(match["name"]), normal(extra.strip())


def _needed(requirement: str, extra: str) -> Iterator[tuple[str, str]]:
    """What a requirement of a distribution names, if it holds without an extra or for this one.

    Markers for other platforms and versions are not judged: what they ask for is then not installed, and left out.
    """
    line, _, marker = requirement.partition(";")
    extras = [normal(name) for name in re.findall(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)]
    if not extras or extra in extras:
        yield from _named(line)
