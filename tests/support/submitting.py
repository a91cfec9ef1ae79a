"""Jobs submitted over a server's lives, and whether each that was acknowledged has its one right answer at the end."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import monorail as mr
from monorail import errors

from .waiting import wait_until

SUBMITTERS = 4


@dataclasses.dataclass
class Submitted:
    """What was submitted over all the server's lives, each ``x`` once; the job ``job-x`` must answer ``x``.

    Attributes:
        acknowledged: By ``x``: when the server says the job was created.
        unsure: Those whose submission failed: they may be there.
        seen: By ``x``: when the job ended, as told before some end of the server.
        wrong: What may not happen and did.
    """

    acknowledged: dict[int, float] = dataclasses.field(default_factory=dict)
    unsure: set[int] = dataclasses.field(default_factory=set)
    seen: dict[int, float] = dataclasses.field(default_factory=dict)
    wrong: list[Any] = dataclasses.field(default_factory=list)

    def submitters(self, url: str, numbers: Iterator[int], *, disk_fails: bool = False) -> list[threading.Thread]:
        """Threads that submit, and look at some of it, until the server is gone.

        Args:
            url: The server's.
            numbers: What is left to submit.
            disk_fails: Whether a submission may be refused because of that, and another follow.
        """

        def submit() -> None:
            try:
                self._submit(url, numbers, disk_fails)
            except Exception as error:
                self.wrong.append(error)

        return [threading.Thread(target=submit) for _ in range(SUBMITTERS)]

    def _submit(self, url: str, numbers: Iterator[int], disk_fails: bool) -> None:
        with mr.Client(url) as client:
            for x in numbers:
                try:
                    job = client.submit("echo", {"x": x}, id=f"job-{x}", priority=x % 3)
                    self.acknowledged[x] = job.known.created or 0.0
                    if x % 10 == 0:
                        answer = job.result()
                        if answer != {"y": float(x)}:
                            self.wrong.append((x, answer))
                        self.seen[x] = job.known.finished or 0.0
                except errors.RetryableError:
                    if x not in self.acknowledged:
                        self.unsure.add(x)
                    return
                except errors.InternalError as error:
                    if not (disk_fails and error.code == "job_store_failed" and x not in self.acknowledged):
                        raise
                    self.unsure.add(x)

    def until(self, more: int, threads: list[threading.Thread]) -> None:
        """Wait until as many more are acknowledged. The submitters run."""
        before = len(self.acknowledged)
        wait_until(
            "jobs are acknowledged",
            lambda: len(self.acknowledged) >= before + more or not any(thread.is_alive() for thread in threads),
            deadline_s=600,
        )
        assert len(self.acknowledged) > before

    def check(self, client: mr.Client) -> None:
        """Every acknowledged job has exactly one answer, the right one; none is missing, none came from nowhere."""
        assert self.wrong == []
        # What nobody knows of is submitted again, and is then one job like all others.
        for x in self.unsure:
            job = client.submit("echo", {"x": x}, id=f"job-{x}", priority=x % 3)
            self.acknowledged[x] = job.known.created or 0.0
        wait_until("all have ended", lambda: not any_left(client), deadline_s=300)
        listed = [job.known for job in client.jobs()]
        assert sorted(status.id for status in listed) == sorted(f"job-{x}" for x in self.acknowledged)
        for status in listed:
            x = int(status.id.removeprefix("job-"))
            assert status.state == "succeeded", status
            assert status.created == self.acknowledged[x]
            # An answer that somebody has seen is not made again.
            assert status.finished == self.seen.get(x, status.finished)
            assert client.job(status.id).result(60) == [{"y": float(x)}]


class Numbers:
    """0, 1, 2 …, for several threads."""

    def __init__(self, end: int) -> None:
        self._left = iter(range(end))
        self._lock = threading.Lock()

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._left)


def any_left(client: mr.Client) -> bool:
    """Whether a job has not ended."""
    return any(True for state in ("queued", "running") for _ in client.jobs(state=state, limit=1))
