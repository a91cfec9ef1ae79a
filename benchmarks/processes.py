"""Processes under measurement: pinned to a core, waited for, and asked what they used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

#: How long a server may take to answer at first.
START_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
#: A program that uses a core for a second, and says which share of it it had.
_SPIN = """
import time
until = time.perf_counter() + 1.0
used = time.process_time()
while time.perf_counter() < until:
    pass
print(time.process_time() - used)
"""


def monorail(*arguments: str) -> list[str]:
    """The command line of this very installation."""
    return [sys.executable, "-m", "monorail.cli", *arguments]


def two_cores(what_for: str) -> list[int]:
    """The cores that this process may use.

    Raises:
        SystemExit: There is only one, and two are needed ``what_for``.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit(f"two cores are needed: {what_for}")
    return cores


def granted(cores: Sequence[int]) -> float:
    """How many cores these are worth where all are busy at once: a virtual machine may have less than it shows."""
    spinning = [
        subprocess.Popen(pinned(core, [sys.executable, "-c", _SPIN]), stdout=subprocess.PIPE, text=True)
        for core in cores
    ]
    return sum(float(process.communicate()[0]) for process in spinning)


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """A command kept to one core."""
    return ["taskset", "-c", str(core), *command]


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that is stopped at the end of the block. Its stderr is thrown away, its stdout can be read."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout:
            process.stdout.close()


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line of a process's stdout, once it is there."""
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise SystemExit(f"did not start: {process.args}")
    return line


def wait_answer(url: str, body: bytes, process: subprocess.Popen[str]) -> bytes:
    """The first successful answer of a server that is starting."""
    until = time.monotonic() + START_S
    while True:
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"no answer from {url}: {error}: {process.args}") from error
            time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds."""
    return sum(_own_cpu_seconds(one) for one in _tree(pid))


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB of a million bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def _own_cpu_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # The name in parentheses may hold anything, so fields are counted from behind it.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text(encoding="ascii").split()]
            except OSError:
                continue
    return found
