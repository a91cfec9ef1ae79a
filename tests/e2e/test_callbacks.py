"""Callbacks of a real server to real receivers: honest, slow, away, redirecting, lying, and not allowed."""

from __future__ import annotations

import base64
import datetime
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.authority import Authority
from tests.support.bundles import publish_scorer, publish_slow
from tests.support.process import ServerProcess
from tests.support.receiver import Held, Manner, Receiver, answering, endless, sending
from tests.support.waiting import wait_until

import monorail as mr
from monorail import errors

ATTEMPTS = 3
LATER_S = 3_600
#: The engine fails on it.
FAILING = {"a": 1, "b": 2, "c": 3, "amount": "much"}


class Room:
    """A server that calls back, and what receivers it may call.

    Attributes:
        spare: Receivers that nobody has taken yet; all are allowed.
    """

    def __init__(self, folder: Path) -> None:
        publish_slow(folder / "here", "echo", busy_ms=0)
        publish_scorer(folder / "here", "scorer")
        self.registry = folder / "here"
        self.authority = Authority(folder)
        names = ("localhost", "127.0.0.1")
        self.secured = Receiver(host="localhost", tls=self.authority.context(*names))
        self.misnamed = Receiver(host="localhost", tls=self.authority.context("example.com"))
        self.unknown = Receiver(host="localhost", tls=Authority(folder / "other").context(*names))
        self.elsewhere = Receiver(host="127.0.0.2")
        self.spare = [Receiver() for _ in range(48)]
        self.all = [self.secured, self.misnamed, self.unknown, self.elsewhere, *self.spare]
        self.settings: dict[str, Any] = {
            "callback_hosts": ",".join(each.origin for each in self.all),
            "callback_networks": "127.0.0.1/32",
            "callback_ca_file": self.authority.path,
            "callback_attempts": ATTEMPTS,
            "callback_timeout_s": 1,
            "threads": 1,
        }
        self.secret_file = self.registry / "jobs" / "callback.secret"

    def start(self, **settings: Any) -> ServerProcess:
        return ServerProcess(self.registry, "echo", "scorer", **(self.settings | settings))

    def receiver(self, *manners: Manner) -> Receiver:
        """A receiver that nobody has had yet, not listening."""
        receiver = self.spare.pop()
        receiver.manners = list(manners or (answering(204),))
        return receiver


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    room = Room(tmp_path_factory.mktemp("callbacks"))
    yield room
    for receiver in room.all:
        receiver.close()


@pytest.fixture(scope="module")
def server(room: Room) -> Iterator[ServerProcess]:
    with room.start() as server:
        yield server


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[mr.Client]:
    with mr.Client(server.url) as client:
        yield client


@pytest.fixture
def receive(room: Room) -> Iterator[Any]:
    """Receivers by what they do, listening, closed after the test."""
    made: list[Receiver] = []

    def make(*manners: Manner) -> Receiver:
        made.append(room.receiver(*manners).listen())
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


def settled(client: mr.Client, job: mr.Job) -> dict[str, Any]:
    """What is told of a job's callback once it is settled."""

    def told() -> dict[str, Any]:
        callback = dict(client.job(job.id).known.callback or {})
        return callback if callback["state"] in ("delivered", "dead") else {}

    return wait_until(f"the callback of {job.id} is settled", told)


def failed_once(client: mr.Client, job: mr.Job) -> str:
    """Why a job's first attempt failed."""
    status = wait_until("it failed once", lambda: (client.job(job.id).known.callback or {}).get("last_error"))
    assert isinstance(status, str)
    return status


# ---------------------------------------------------------------- honest receivers


def test_an_end_is_told_signed(room, client, receive):
    receiver = receive()
    secret = room.secret_file.read_text().strip()
    job = client.submit("echo", {"x": 2.5}, callback_url=receiver.url("/a%2Fb?c=d&e"))
    (told,) = receiver.of(job.id)
    assert told.line == "POST /a%2Fb?c=d&e HTTP/1.1"
    assert told.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert told.headers["content-type"] == "application/json"
    assert told.signed_with(secret)
    assert not told.signed_with("whsec_" + base64.b64encode(bytes(32)).decode())
    callback = settled(client, job)
    assert callback == {
        "url": receiver.url("/a%2Fb?c=d&e"),
        "state": "delivered",
        "event": told.id,
        "attempts": 1,
        "next": None,
        "settled": callback["settled"],
        "last_error": None,
    }
    record = httpx.get(f"{client.url}/jobs/{job.id}").json()
    assert told.event == {
        "type": "job.succeeded",
        "timestamp": told.event["timestamp"],
        "data": {name: value for name, value in record.items() if name != "callback"} | {"expires": None},
    }
    at = datetime.datetime.fromisoformat(told.event["timestamp"]).timestamp()
    assert at == pytest.approx(record["finished"], abs=0.001)
    assert record["expires"] == pytest.approx(callback["settled"] + 86_400)
    assert [len(receiver.of(job.id)), len(receiver.deliveries)] == [1, 1]


def test_every_end_is_told(client, receive):
    receiver = receive()
    failing = client.submit("scorer", FAILING, callback_url=receiver.url())
    overdue = client.submit("echo", {"x": 1}, not_before_s=LATER_S, deadline_s=0.001, callback_url=receiver.url())
    given_up = client.submit("echo", {"x": 1}, not_before_s=LATER_S, callback_url=receiver.url())
    assert given_up.known.callback is not None
    assert given_up.known.callback["state"] == "waiting"
    given_up.cancel()
    for job, state in ((failing, "failed"), (overdue, "expired"), (given_up, "cancelled")):
        (told,) = receiver.of(job.id)
        assert (told.event["type"], told.event["data"]["state"]) == (f"job.{state}", state)
    assert receiver.of(failing.id)[0].event["data"]["error"]["code"] == "engine_failed"
    # Another end is another event.
    again = client.submit("echo", {"x": 1}, id="again", not_before_s=LATER_S, callback_url=receiver.url())
    again.cancel()
    receiver.of("again")
    settled(client, again)
    again.retry()
    again.cancel()
    first, second = receiver.of("again", 2)
    assert first.id != second.id


def test_long_answers_are_fetched(client, receive):
    receiver = receive()
    job = client.submit("echo", {"x": [float(x) for x in range(20_000)]}, callback_url=receiver.url())
    data = receiver.of(job.id)[0].event["data"]
    assert (data["result_url"], "result" in data) == (f"/jobs/{job.id}/result", False)


def test_predict_may_ask_for_it(server, receive):
    receiver = receive()
    with httpx.Client(base_url=server.url) as http:
        answer = http.post(
            "/models/echo/predict",
            params={"callback_url": receiver.url(), "id": "preferred"},
            json={"x": 1},
            headers={"prefer": "respond-async"},
        )
    assert (answer.status_code, answer.json()["callback"]["url"]) == (202, receiver.url())
    assert receiver.of("preferred")[0].event["type"] == "job.succeeded"


def test_the_callback_is_part_of_the_job(client, receive):
    receiver = receive()
    for _ in range(2):
        client.submit("echo", {"x": 1}, id="same", callback_url=receiver.url("/a"))
    for other in (None, receiver.url("/b")):
        with pytest.raises(errors.InputError) as caught:
            client.submit("echo", {"x": 1}, id="same", callback_url=other)
        assert caught.value.code == "job_conflict"
    receiver.of("same")
    settled(client, client.job("same"))
    assert len(receiver.deliveries) == 1


def test_a_job_is_kept_until_its_end_is_told(client, receive):
    held = Held()
    receiver = receive(held)
    job = client.submit("echo", {"x": 1}, ttl_s=0, callback_url=receiver.url())
    # One that ends later is forgotten: the other one's time has been over as well.
    other = client.submit("echo", {"x": 1}, ttl_s=0)

    def is_forgotten(id: str) -> bool:
        try:
            return client.job(id) is None
        except errors.NotFoundError:
            return True

    receiver.of(job.id)
    wait_until("the other one is forgotten", lambda: is_forgotten(other.id))
    assert client.job(job.id).known.state == "succeeded"
    held.gone.set()
    wait_until("it is forgotten", lambda: is_forgotten(job.id))


def test_secrets_are_changed_while_the_server_runs(room, client, receive):
    receiver = receive()
    old = room.secret_file.read_text()
    new, own = ("whsec_" + base64.b64encode(secrets.token_bytes(24)).decode() for _ in range(2))
    changed = room.secret_file.with_suffix(".new")
    changed.write_text(f"{old}# from now on\n{new}\nhooks.example.com {own}\n")
    changed.replace(room.secret_file)
    (told,) = receiver.of(client.submit("echo", {"x": 1}, callback_url=receiver.url()).id)
    assert [told.signed_with(secret) for secret in (old.strip(), new, own)] == [True, True, False]
    changed.write_text(old)
    changed.replace(room.secret_file)


def test_over_tls(room, client):
    with room.secured as receiver, room.misnamed as misnamed, room.unknown as unknown:
        job = client.submit("echo", {"x": 1}, callback_url=receiver.url("/secure"))
        assert receiver.of(job.id)[0].line == "POST /secure HTTP/1.1"
        for other in (misnamed, unknown):
            job = client.submit("echo", {"x": 1}, callback_url=other.url())
            assert failed_once(client, job).startswith("no TLS: invalid peer certificate")
            assert other.deliveries == []


def test_the_receiver_of_the_guide(room, client, capfd):
    """It takes what this server signs, once, and refuses what it does not."""
    guide = Path(__file__).parents[2] / "docs" / "guides" / "jobs.md"
    (source,) = [text for text in guide.read_text().split("```") if "class Receiver(" in text]
    namespace: dict[str, Any] = {}
    exec(compile(source.removeprefix("python\n"), str(guide), "exec"), namespace)
    namespace["SECRETS"] = room.secret_file
    port = room.receiver().release()
    with namespace["ThreadingHTTPServer"](("127.0.0.1", port), namespace["Receiver"]) as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{port}/"
            job = client.submit("echo", {"x": 4}, callback_url=url)
            assert settled(client, job)["state"] == "delivered"
            job.call_back()
            assert settled(client, job)["state"] == "delivered"
            event = {"webhook-id": "x", "webhook-timestamp": f"{time.time():.0f}", "webhook-signature": "v1,x v1,y"}
            assert httpx.post(url, headers=event, json={}).status_code == 401
        finally:
            receiver.shutdown()
            thread.join(60)
    told = capfd.readouterr().out
    assert told.count(f"job.succeeded {job.id} {{'model': 'echo', 'version': 1, 'predictions': [{{'y': 4.0}}]}}") == 1


# ---------------------------------------------------------------- slow, away, redirecting, lying


def test_a_slow_one_holds_up_nobody_else(client, receive):
    held = Held()
    slow, quick = receive(held), receive()
    slow_jobs = [client.submit("echo", {"x": 1}, callback_url=slow.url()) for _ in range(20)]
    slow.wait(1)
    quick_jobs = [client.submit("echo", {"x": 1}, callback_url=quick.url()) for _ in range(20)]
    for job in quick_jobs:
        assert settled(client, job)["state"] == "delivered"
    assert all((client.job(job.id).known.callback or {})["state"] != "delivered" for job in slow_jobs)
    held.gone.set()
    assert {settled(client, job)["state"] for job in slow_jobs} <= {"delivered", "dead"}


def test_one_that_does_not_answer_is_left(client, receive):
    receiver = receive(Held(), answering(204))
    job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
    assert failed_once(client, job) == "no answer within 1 s"
    first, second = receiver.of(job.id, 2)
    # The same event with the same words, signed anew.
    assert (first.id, first.body) == (second.id, second.body)
    assert settled(client, job)["attempts"] == 2


def test_one_that_comes_up_is_told(room, client):
    receiver = room.receiver()
    job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
    assert failed_once(client, job).startswith("cannot connect: ")
    with receiver:
        receiver.of(job.id)
        callback = settled(client, job)
    assert callback["state"] == "delivered"
    assert callback["attempts"] > 1


def test_redirects_are_not_followed(client, receive):
    target = receive()
    for status in (301, 302, 303, 307, 308):
        receiver = receive(answering(status, f"location: {target.url()}"), answering(200))
        job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
        assert failed_once(client, job) == f"answered {status}: redirects are not followed"
        assert settled(client, job)["state"] == "delivered"
    assert target.deliveries == []


def test_lies(server, client, receive):
    head = b"HTTP/1.1 200 OK\r\n"
    lies: list[tuple[Manner, str]] = [
        (sending(), "the connection was closed before an answer"),
        (sending(b"HTTP/1.1 200"), "the connection was closed before an answer"),
        (sending(b"SSH-2.0-OpenSSH_9.6\r\n"), "the answer is not HTTP"),
        (endless(head, b"x: y\r\n"), "the answer is not HTTP"),
        (endless(head + b"x: ", b"y" * 1_000), "the answer's head is over 16 KiB"),
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "the answer's head is over 16 KiB"),
        (answering(500, body=b"<secret of the inner network>"), "answered 500"),
    ]
    jobs = []
    for lie, _ in lies:
        receiver = receive(lie, answering(204))
        jobs.append(client.submit("echo", {"x": 1}, callback_url=receiver.url()))
    for job, (_, why) in zip(jobs, lies, strict=True):
        assert failed_once(client, job) == why
        assert settled(client, job)["state"] == "delivered"
    # Whoever says 200 has taken it, whatever follows.
    head += b"content-length: 9\r\n\r\n"
    for rest in (endless(head, b"x" * 4_096), sending(head)):
        job = client.submit("echo", {"x": 1}, callback_url=receive(rest).url())
        assert settled(client, job)["attempts"] == 1
    assert server.get("/health/ready").status == 200


def test_given_up_and_told_again(monorail, server, client, receive):
    receiver = receive(*[answering(503)] * ATTEMPTS, answering(204))
    job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
    callback = settled(client, job)
    assert (callback["state"], callback["attempts"], callback["last_error"]) == ("dead", ATTEMPTS, "answered 503")
    shown = monorail("jobs", "show", job.id, "--url", server.url)
    assert f"dead as {callback['event']} after {ATTEMPTS} attempts, the last: answered 503" in shown
    monorail("jobs", "callback", job.id, "--url", server.url)
    assert {delivery.id for delivery in receiver.of(job.id, ATTEMPTS + 1)} == {callback["event"]}
    assert settled(client, job)["state"] == "delivered"


def test_who_is_gone_is_left_alone_at_once(client, receive):
    receiver = receive(answering(410))
    job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
    callback = settled(client, job)
    assert (callback["state"], callback["attempts"], callback["last_error"]) == ("dead", 1, "answered 410")


def test_who_asks_for_time_gets_it(client, receive):
    receiver = receive(answering(429, "Retry-After: 600"))
    job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
    assert failed_once(client, job) == "answered 429"
    status = client.job(job.id).known
    assert status.callback is not None
    assert status.callback["next"] == pytest.approx(status.finished + 600, abs=30)


# ---------------------------------------------------------------- what is not allowed


def test_what_is_refused_at_submission(room, client):
    port = room.spare[0].port
    for url in (
        "",
        "nonsense",
        f"https://127.0.0.1:{port}/",
        "http://127.0.0.1/",
        f"http://user@127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}/#x",
        f"http://2130706433:{port}/",
        f"http://0x7f000001:{port}/",
        f"http://127.1:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",
        f"http://127.0.0.1:{port}\r\nx: y/",
        f"http://127.0.0.1:{port}/\r\nx: y",
        f"http://127.0.0.1.:{port}/",
        f"http://bücher.example:{port}/",
        "http://example.com/",
        "ftp://127.0.0.1/",
    ):
        with pytest.raises(errors.InputError) as caught:
            client.submit("echo", {"x": 1}, id="refused", callback_url=url)
        assert caught.value.code == "callback_refused", url
    with pytest.raises(errors.NotFoundError):
        client.job("refused")


def test_a_network_that_is_not_allowed_is_not_reached(room, client):
    with room.elsewhere as receiver:
        job = client.submit("echo", {"x": 1}, callback_url=receiver.url())
        assert failed_once(client, job) == "127.0.0.2 has no address that callback_networks allows"
        assert receiver.deliveries == []


def test_what_cannot_be_told_again(client, server):
    done = client.submit("echo", {"x": 1})
    done.result(60)
    with pytest.raises(errors.InputError) as caught:
        done.call_back()
    assert (caught.value.code, caught.value.message) == ("job_conflict", "the job has no callback")
    for path, status in (("nobody/callback", 404), (f"{done.id}/callback?x=1", 400)):
        assert httpx.post(f"{server.url}/jobs/{path}").status_code == status
    assert httpx.get(f"{server.url}/jobs/{done.id}/callback").headers["allow"] == "POST"


def test_metrics(server):
    metrics = server.metrics()
    for outcome in ("delivered", "failed", "dead"):
        assert metrics.value("monorail_callbacks_total", outcome=outcome) >= 1
    assert "monorail_callbacks_pending" in metrics.text


# ---------------------------------------------------------------- killed


def test_an_end_outlives_a_killed_server(room, tmp_path):
    held = Held()
    receiver, away = room.receiver(held, answering(204)), room.receiver()
    with receiver:
        with room.start(jobs=tmp_path / "jobs", callback_timeout_s=30) as server, mr.Client(server.url) as client:
            job = client.submit("echo", {"x": 2}, callback_url=receiver.url())
            missed = client.submit("echo", {"x": 3}, callback_url=away.url())
            assert missed.result(60) == {"y": 3.0}
            (first,) = receiver.of(job.id)
            server.kill()
        with away, room.start(jobs=tmp_path / "jobs") as server, mr.Client(server.url) as client:
            again = receiver.of(job.id, 2)[1]
            assert (again.id, again.body) == (first.id, first.body)
            assert settled(client, job)["state"] == "delivered"
            assert away.of(missed.id)[0].event["data"]["result"]["predictions"] == [{"y": 3.0}]
