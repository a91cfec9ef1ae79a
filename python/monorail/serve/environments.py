"""The interpreter a worker runs in: this one where it has exactly the locked packages, else one that uv makes.

Environments lie in a cache folder under the digest of their lock. One is made aside and moved there whole, by one
process at a time, so that what is there is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..bundle.environment import find_uv, locked_versions, plain_words
from ..errors import EngineError
from ..progress import progress

#: Names the folder of environments and other things that can be made again.
VARIABLE = "MONORAIL_CACHE"
#: What keeps the math libraries of several workers from fighting over the cores.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Longest that making an environment may take, in seconds.
_TIMEOUT_S = 1_800
_PROGRAM = Path(__file__).parents[1] / "worker" / "__main__.py"


def worker_command(folder: Path, manifest: Mapping[str, Any], *, isolated: bool = False) -> str | None:
    """How the workers of a model are started.

    Args:
        folder: The bundle's.
        manifest: ``bundle.json``, parsed.
        isolated: Whether the environment is always one that uv makes.

    Returns:
        JSON of ``program``, ``arguments`` and ``environment``, as the core takes it; None for a model without a worker.

    Raises:
        EngineError: ``environment_unavailable``, naming the package.
    """
    stage = next((stage for stage in manifest["stages"] if stage["engine"] == "worker"), None)
    if stage is None:
        return None
    python = str(manifest.get("environment", {}).get("python", platform.python_version()))
    text = _lock_text(folder, manifest, stage.get("lock"))
    program = interpreter(text, python, isolated=isolated, name=manifest.get("name", "the model"))
    return command_of(program)


def command_of(program: str) -> str:
    """How workers are started with an interpreter, as JSON; the environment is the child's whole one."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for name in _THREADS:
        variables.setdefault(name, "1")
    # -I: no variable, no user's packages, no working folder decide what is imported.
    arguments = ["-I", "-X", "faulthandler", str(_PROGRAM)]
    return json.dumps({"program": program, "arguments": arguments, "environment": variables})


def interpreter(lock: str, python: str, *, isolated: bool = False, name: str = "the model") -> str:
    """The interpreter that has what a lock says.

    Args:
        lock: Text of the lock.
        python: Version of Python it was made with.
        isolated: Whether this interpreter is out of the question.
        name: Whom it is for, to be said.

    Raises:
        EngineError: ``environment_unavailable``.
    """
    differs = _difference(lock, python)
    if differs is None and not isolated:
        return sys.executable
    if "--hash=" not in lock:
        raise _unavailable(
            f"{name} needs exactly the packages it was saved with: {differs or 'its lock has no hashes'}",
            "install those versions here, or save the model again where uv can reach the index of packages",
        )
    minor = ".".join(python.split(".")[:2])
    place = cache_folder() / _key(lock, minor)
    program = place / "bin" / "python"
    _check_owner(place.parent)
    if not program.exists():
        with _only_one(place):
            _check_owner(place.parent)
            if not program.exists():
                with progress(f"making the environment of {name}", None):
                    _make(place, lock, minor)
    return str(program)


def cache_folder() -> Path:
    """Where environments are kept: below ``MONORAIL_CACHE``, else ``~/.cache/monorail``."""
    named = os.environ.get(VARIABLE)
    root = Path(named).expanduser() if named else Path.home() / ".cache" / "monorail"
    return root / "environments"


def _lock_text(folder: Path, manifest: Mapping[str, Any], file: str | None) -> str:
    """The lock of a bundle; the core compares it with its digest when the model is loaded, but it is used before."""
    if file is None:
        return ""
    data = (folder / file).read_bytes()
    listed = manifest.get("files", {}).get(file)
    if listed is not None and hashlib.sha256(data).hexdigest() != listed["sha256"]:
        raise _unavailable(f"{folder / file} was changed after the model was saved", "save the model again")
    return data.decode("utf-8")


def _difference(lock: str, python: str) -> str | None:
    """The first thing that this interpreter lacks of a lock, in words; None if it has all."""
    here = platform.python_version_tuple()[:2]
    if tuple(python.split(".")[:2]) != tuple(here):
        return f"Python {python} is needed and this is {platform.python_version()}"
    for name, version in locked_versions(lock).items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} {version} is needed and not installed"
        if found != version:
            return f"{name} {version} is needed and {found} is installed"
    return None


def _key(lock: str, minor: str) -> str:
    """The name of an environment: the same lock on the same Python and platform gives the same."""
    return hashlib.sha256("\0".join((lock, minor, sysconfig.get_platform())).encode()).hexdigest()


def _check_owner(folder: Path) -> None:
    """Refuse a folder that others can write to: the interpreter in it is run as it is.

    One of root's will do, so that environments can be made beforehand for everybody.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found = folder.stat()
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise _unavailable(
                f"{folder} can be written by others, and the environments in it would be run",
                f"set {VARIABLE} to a folder of your own, or take the right to write from others: chmod go-w",
            )


@contextlib.contextmanager
def _only_one(place: Path) -> Iterator[None]:
    """Hold the lock of an environment that is to be made."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unavailable(
            f"{place.parent} cannot be written: {error}", f"set {VARIABLE} to a folder that can"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(place: Path, lock: str, minor: str) -> None:
    """Make an environment aside and move it to its place."""
    uv = find_uv()
    if uv is None:
        raise _unavailable(
            "an environment has to be made and uv is not installed", "install it: pip install 'monorail[worker]'"
        )
    half = f".making-{place.name}-"
    for left in place.parent.glob(f"{half}*"):
        # Of one that was killed: nobody else makes this environment now.
        shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=half, dir=place.parent))
    try:
        file = aside / "requirements.txt"
        file.write_text(lock, encoding="utf-8")
        here = ".".join(platform.python_version_tuple()[:2]) == minor
        python = sys.executable if here else minor
        _run([uv, "venv", "--quiet", "--no-project", "--python", python, aside / "made"], {"Python": minor})
        program = aside / "made" / "bin" / "python"
        _run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", program, file], locked_versions(lock))
        if place.exists():
            # Its Python is gone, as after an upgrade.
            place.rename(aside / "old")
        (aside / "made").rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run(command: list[Any], wanted: Mapping[str, str]) -> None:
    """Run uv; its failure names the package among those that were wanted."""
    try:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise _unavailable(f"uv did not come to an end: {error}", "try again") from error
    if done.returncode == 0:
        return
    said = plain_words(done.stderr)
    guilty = [f"{name} {version}" for name, version in wanted.items() if len(wanted) == 1 or _names(said, name)]
    raise _unavailable(
        f"{guilty[0] if guilty else 'a package of the lock'} cannot be had: {said}",
        "see whether the index of packages is reachable and still has it, or save the model again",
    )


def _names(text: str, package: str) -> bool:
    """Whether a text names a package, not only a longer word."""
    words = text.replace("`", " ").replace("'", " ").replace("==", " ").replace("@", " ").replace(",", " ").split()
    return package in {word.strip(".:;()").lower().replace("_", "-") for word in words}


def _unavailable(message: str, hint: str) -> EngineError:
    return EngineError(message, code="environment_unavailable", hint=hint)
