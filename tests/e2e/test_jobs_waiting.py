"""Waiting for jobs, one or many, blocking or in an event loop, and listing them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess
from tests.support.raw import Stopwatch

import monorail as mr
from monorail import errors

#: Longer than any test takes.
LATER_S = 3_600


@pytest.fixture(scope="module")
def server(job_server: ServerProcess) -> ServerProcess:
    return job_server


def test_waiting_ends_with_the_job(client, http):
    job = client.submit("slow", {"x": 1})
    watch = Stopwatch()
    assert http.get(f"/jobs/{job.id}", params={"wait_s": 50}).json()["state"] == "succeeded"
    assert watch.seconds < 25


def test_waiting_ends_with_its_time(client, http):
    job = client.submit("echo", {"x": 1}, not_before_s=LATER_S)
    watch = Stopwatch()
    assert http.get(f"/jobs/{job.id}", params={"wait_s": 0.3}).json()["state"] == "queued"
    assert watch.seconds >= 0.3
    with pytest.raises(errors.DeadlineError, match="still queued after"):
        job.result(timeout_s=0.1)
    with pytest.raises(errors.SettingError):
        job.result(timeout_s=-1)
    for seconds in ("-1", "nan", "soon"):
        refused = http.get(f"/jobs/{job.id}", params={"wait_s": seconds})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "malformed_request")
    job.cancel()


def test_many_wait_for_one(client):
    async def all_of_them() -> list[Any]:
        job = client.submit("slow", {"x": 3})
        return await asyncio.gather(*(client.job(job.id) for _ in range(20)))

    assert asyncio.run(all_of_them()) == [[{"y": 3.0}]] * 20


def test_awaiting_does_not_block_the_loop(client):
    async def main() -> tuple[int, list[Any]]:
        jobs = [client.submit("slow", {"x": i}) for i in range(3)]
        waiting = asyncio.gather(*jobs)
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns, await waiting

    turns, answers = asyncio.run(main())
    assert answers == [{"y": 0.0}, {"y": 1.0}, {"y": 2.0}]
    assert turns > 5


def test_awaiting_more_jobs_than_there_are_connections(client):
    async def main() -> list[Any]:
        return await asyncio.gather(*(client.submit("echo", {"x": i}, not_before_s=1) for i in range(150)))

    assert asyncio.run(main()) == [{"y": float(i)} for i in range(150)]


def test_awaiting_is_cut_short(client):
    job = client.submit("echo", {"x": 1}, not_before_s=LATER_S)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job, 0.2)
        job.cancel()
        with pytest.raises(errors.InputError):
            await job

    asyncio.run(main())
    # Another loop has connections of its own.
    answered = client.submit("echo", {"x": 2})

    async def other() -> Any:
        return await answered

    assert asyncio.run(other()) == {"y": 2.0}


# ---------------------------------------------------------------- lists


def test_lists(tmp_path: Path):
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    publish_slow(tmp_path / "here", "other", busy_ms=0)
    with ServerProcess(tmp_path / "here", "echo", "other") as server, mr.Client(server.url) as client:
        assert list(client.jobs()) == []
        waiting = [client.submit("echo", {"x": i}, not_before_s=LATER_S) for i in range(7)]
        done = [client.submit("other", {"x": i}) for i in range(3)]
        for job in done:
            job.result(60)
        newest_first = [job.id for job in reversed(waiting + done)]
        assert [job.id for job in client.jobs()] == newest_first
        assert [job.id for job in client.jobs(state="queued")] == newest_first[3:]
        assert [job.id for job in client.jobs(model="other")] == newest_first[:3]
        assert list(client.jobs(model="other", state="queued")) == []
        assert list(client.jobs(model="nobody")) == []
        assert [job.id for job in client.jobs(limit=4)] == newest_first[:4]
        assert {job.known.result_url is not None for job in client.jobs(state="succeeded")} == {True}
        with httpx.Client(base_url=server.url) as http:
            pages, after = [], None
            while True:
                page = http.get("/jobs", params={"limit": 3} | ({"after": after} if after else {})).json()
                pages.append([job["id"] for job in page["jobs"]])
                assert all("result" not in job for job in page["jobs"])
                after = page["next"]
                if after is None:
                    break
            assert [id for page in pages for id in page] == newest_first
            assert [len(page) for page in pages if page] == [3, 3, 3, 1]
            # A page does not move when newer jobs come.
            first = http.get("/jobs", params={"limit": 3}).json()
            client.submit("echo", {"x": 1})
            second = http.get("/jobs", params={"limit": 3, "after": first["next"]}).json()
            assert [job["id"] for job in second["jobs"]] == newest_first[3:6]
