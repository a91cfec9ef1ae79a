"""The queue road of a real server: requests from a broker, answered there as HTTP answers them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.support.brokers import BrokerServer
from tests.support.bundles import publish_scorer, publish_slow
from tests.support.process import ARROW, ServerProcess, from_stream, to_stream
from tests.support.proxies import Holding
from tests.support.queues import BROKERS, Caller, RedisCaller, caller_of, wait_connected
from tests.support.waiting import wait_until
from tests.support.workers import publish_worker

ROW = {"a": 1, "b": 2, "c": 3, "amount": "4"}
#: The engine fails on it: it is a string, so the signature does not refuse it.
FAILING = ROW | {"amount": "much"}
LIMIT_BODY_BYTES = 100_000
SETTINGS = """
[models.scorer]
requests = "scorer.in"
replies = "scorer.out"
[models.slow]
requests = "slow.in"
[models.worker]
requests = "worker.in"
"""

#: For what one broker has and the others have not.
ONLY_REDIS, ONLY_NATS = (pytest.mark.parametrize("broker", [name], indirect=True) for name in ("redis", "nats"))


@pytest.fixture(scope="module", params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    with BROKERS[request.param](tmp_path_factory.mktemp(request.param)) as broker:
        yield broker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, broker: BrokerServer) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer")
    publish_slow(folder, "slow", busy_ms=200)
    publish_worker(folder, "worker", "Obedient")
    config = folder.parent / "monorail.toml"
    config.write_text(SETTINGS)
    settings = {"queue": broker.url, "queue_attempts": 2, "queue_ack_wait_s": 1, "queue_reply_to": "mine."}
    with ServerProcess(
        folder,
        "scorer",
        "slow",
        "worker",
        trust=True,
        threads=1,
        config=config,
        limit_body_bytes=LIMIT_BODY_BYTES,
        **settings,
    ) as server:
        wait_connected(server)
        yield server


@pytest.fixture(scope="module")
def caller(broker: BrokerServer, server: ServerProcess) -> Iterator[Caller]:
    caller = caller_of(broker, "scorer.in", "scorer.out")
    yield caller
    caller.close()


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


# ---------------------------------------------------------------- answers


def test_the_answer_is_that_of_http(server, caller):
    columns = {name: [value, value] for name, value in ROW.items()}
    table = pa.table({"a": [1.0, 2.0], "b": [2.0, 2.0], "c": [3.0, 3.0], "amount": ["4", "5"]})
    bodies = [(encoded(body), "application/json") for body in (ROW, [ROW, ROW], {"columns": columns}, [])]
    for body, kind in [*bodies, (to_stream(table), ARROW)]:
        for accept in ("application/json", ARROW):
            identity = caller.send(body, content_type=kind, accept=accept)
            headers, reply = caller.reply(identity)
            online = server.predict("scorer", body, headers={"content-type": kind, "accept": accept})
            assert (headers["status"], headers["content-type"]) == ("200", online.headers["content-type"])
            assert headers["model"] == "scorer@1"
            assert reply == online.body


def test_headers_of_a_request_come_back(caller):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    caller.send(encoded(ROW), correlation_id="order 66", traceparent=trace, tracestate="a=b", accept="*/*")
    headers, _ = caller.reply("order 66")
    assert (headers["traceparent"], headers["tracestate"]) == (trace, "a=b")


def test_a_message_without_content_type_is_json(caller):
    headers, reply = caller.reply(caller.send(encoded([ROW])))
    assert headers["content-type"] == "application/json"
    assert json.loads(reply)["predictions"][0]["label"] is not None


def test_the_same_message_id_has_one_reply(caller):
    before = len(caller.messages("scorer.out"))
    for _ in range(5):
        caller.send(encoded(ROW), message_id="mine", correlation_id="the one")
    caller.reply(caller.send(encoded(ROW)))
    wait_until("all are taken", lambda: caller.waiting() == 0)
    told = [headers["correlation-id"] for headers, _ in caller.messages("scorer.out")[before:]]
    assert told.count("the one") == 1


def test_reply_to_follows_only_what_is_allowed(caller):
    caller.prepare("mine.too")
    identity = caller.send(encoded(ROW), reply_to="mine.too")
    wait_until("the reply is there", lambda: caller.messages("mine.too"))
    assert [headers["correlation-id"] for headers, _ in caller.messages("mine.too")] == [identity]
    refused, _ = caller.reply(caller.send(encoded(ROW), reply_to="yours"))
    assert (refused["status"], refused["code"]) == ("403", "reply_to_refused")
    assert caller.messages("yours") == []
    # A place that holds something else, or can have no name, is no place for replies.
    if isinstance(caller, RedisCaller):
        caller.client.set("mine.string", "x")
    wrong = "mine.string" if isinstance(caller, RedisCaller) else "mine.*"
    headers, _ = caller.reply(caller.send(encoded(ROW), reply_to=wrong))
    assert headers["status"] == "200"


@ONLY_NATS
def test_a_reply_is_heard_where_no_stream_keeps_it(caller):
    headers, reply = caller.heard("mine.inbox", encoded(ROW), correlation_id="heard")
    assert (headers["status"], headers["correlation-id"]) == ("200", "heard")
    assert json.loads(reply)["predictions"]


def test_messages_and_http_share_batches(server, broker):
    caller = caller_of(broker, "slow.in", "slow.in.replies")
    before = server.metrics().value("monorail_batch_rows_count", model="slow")
    # While the first is in the engine the others gather, whichever way they came.
    identities = [caller.send(encoded({"x": 0.0}))]
    identities += caller.send_all([encoded({"x": float(i)}) for i in range(1, 50)])
    assert server.predict("slow", [{"x": 0.5}]).status == 200
    replies = {headers["correlation-id"]: body for headers, body in caller.replies(50)}
    for i, identity in enumerate(identities):
        assert json.loads(replies[identity])["predictions"] == [{"y": float(i)}]
    assert server.metrics().value("monorail_batch_rows_count", model="slow") - before <= 4
    caller.close()


# ---------------------------------------------------------------- what cannot be answered


def refusal(server: ServerProcess, caller: Caller, body: bytes, **headers: str) -> tuple[str, str]:
    """The status and the code of an error reply, whose body is that of HTTP."""
    identity = caller.send(body, **headers)
    told, reply = caller.reply(identity)
    error = json.loads(reply)["error"]
    assert (error["code"], error["request_id"]) == (told["code"], identity)
    assert set(error) == {"code", "message", "hint", "request_id", "details"}
    return told["status"], told["code"]


def test_bad_input_is_refused_and_kept(server, caller):
    large = encoded([ROW] * (LIMIT_BODY_BYTES // len(encoded(ROW)) + 1))
    for body, headers, expected in [
        (encoded(ROW | {"a": "one"}), {}, ("422", "wrong_type")),
        (b"{", {}, ("400", "malformed_json")),
        (b"{", {"content_type": ARROW}, ("400", "malformed_arrow")),
        (large, {}, ("413", "body_too_large")),
        (encoded(ROW), {"content_type": "text/csv"}, ("415", "unsupported_media_type")),
        (encoded(ROW), {"accept": "text/html"}, ("406", "not_acceptable")),
        (encoded(ROW), {"deadline": "tomorrow"}, ("400", "malformed_request")),
    ]:
        assert refusal(server, caller, body, mine="kept", **headers) == expected
        letter, kept = caller.dead("unprocessable")[-1]
        assert kept == body
        assert (letter["mine"], letter["monorail-code"], letter["monorail-attempts"]) == ("kept", expected[1], "1")
        assert letter["monorail-reason"]
    assert caller.waiting() == 0


def test_an_expired_request_is_no_dead_letter(server, caller):
    before = len(caller.dead("failed")), len(caller.dead("unprocessable"))
    past, future = str(time.time() - 1), str(time.time() + 600)
    assert refusal(server, caller, encoded(ROW), deadline=past) == ("504", "deadline_exceeded")
    assert caller.reply(caller.send(encoded(ROW), deadline=future))[0]["status"] == "200"
    assert (len(caller.dead("failed")), len(caller.dead("unprocessable"))) == before


def test_what_the_engine_fails_on_is_a_dead_letter(server, caller):
    # Those that shared its batch are answered.
    identities = caller.send_all([encoded(ROW), encoded(FAILING), encoded(ROW)])
    statuses = [caller.reply(identity)[0]["status"] for identity in identities]
    assert statuses == ["200", "500", "200"]
    letter, body = caller.dead("failed")[-1]
    assert (letter["monorail-request-id"], letter["monorail-code"]) == (identities[1], "engine_failed")
    assert body == encoded(FAILING)


def test_a_lost_worker_is_tried_again_until_it_is_enough(server, broker):
    caller = caller_of(broker, "worker.in", "worker.in.replies")
    assert caller.reply(caller.send(encoded({"x": 1.0, "do": ""})))[0]["status"] == "200"
    headers, _ = caller.reply(caller.send(encoded({"x": 2.0, "do": "kill"})))
    assert headers["code"] == "worker_lost"
    assert caller.dead("failed")[0][0]["monorail-attempts"] == "2"
    assert server.metrics().value("monorail_broker_retries_total", model="worker") >= 1
    caller.close()


@ONLY_REDIS
def test_what_servers_ended_over_is_a_dead_letter(server, caller):
    client = caller.client
    # Another server of the group takes it as often as it may, and ends each time. Ours hears of it by its idle time.
    pipeline = client.pipeline(transaction=True)
    pipeline.xadd("scorer.in", {"body": encoded(ROW)})
    pipeline.xreadgroup("monorail", "monorail-gone", {"scorer.in": ">"}, count=1)
    identity, taken = pipeline.execute()
    assert taken
    client.xclaim("scorer.in", "monorail", "monorail-gone", 0, [identity], idle=60_000, retrycount=2, justid=True)
    headers, _ = caller.reply(identity.decode())
    assert (headers["status"], headers["code"]) == ("500", "engine_failed")
    letter, _ = caller.dead("failed")[-1]
    assert letter["monorail-attempts"] == "3"
    # Its name goes too, once nothing is to its account.

    def names() -> list[bytes]:
        return [one["name"] for one in client.xinfo_consumers("scorer.in", "monorail")]

    wait_until("the other server's name is gone", lambda: b"monorail-gone" not in names())


# ---------------------------------------------------------------- what waits


def test_metrics_say_what_waits(server, broker):
    caller = caller_of(broker, "slow.in", "slow.in.replies")
    caller.send_all([encoded([{"x": 0.0}] * 1_000) for _ in range(12)])

    def value(name: str, **labels: str) -> float:
        return server.metrics().value(f"monorail_broker_{name}", model="slow", **labels)

    wait_until("something is under way", lambda: value("pending_messages") > 0)
    assert value("connected") == 1
    wait_until("all is answered", lambda: caller.waiting() == 0)
    wait_until("and nothing waits", lambda: value("pending_messages") + value("lag_messages") == 0)
    assert value("oldest_age_seconds") == 0
    assert value("messages_total", outcome="answered") >= 12
    assert server.metrics().value("monorail_requests_total", model="slow", road="queue", status="200") >= 12
    caller.close()


@ONLY_REDIS
def test_what_has_come_does_not_wait_for_what_may_come(tmp_path, broker):
    """More than one fetch is under way, each on a connection: where one of these is held, the other's are answered."""
    publish_slow(tmp_path / "registry", "slow", busy_ms=0)
    caller = RedisCaller(broker.url, "held.in", "held.out")
    caller.send_all([encoded({"x": number}) for number in range(4_096)])
    with (
        Holding(("127.0.0.1", broker.port), word=b"XREADGROUP") as way,
        ServerProcess(
            tmp_path / "registry",
            "slow",
            queue=f"redis://127.0.0.1:{way.port}",
            requests=caller.requests,
            replies=caller.replies_to,
        ),
    ):
        # Sooner than the server gives the connection up. The first thousand is fetched before any is held.
        wait_until("most are answered", lambda: caller.length("held.out") > 2_048, deadline_s=5)
        assert way.holds
        way.let_go()
        wait_until("all are answered", lambda: caller.length("held.out") == 4_096)
    caller.close()


@ONLY_REDIS
def test_other_groups_keep_their_messages(server, caller):
    client = caller.client
    client.xgroup_create("scorer.in", "others", id="$")
    try:
        identity = caller.send(encoded(ROW))
        assert caller.reply(identity)[0]["status"] == "200"
        ((_, entries),) = client.xreadgroup("others", "one", {"scorer.in": ">"})
        assert [entry.decode() for entry, _ in entries] == [identity]
        # What is answered does not count as waiting, though it is still there.
        wait_until("nothing waits", lambda: server.metrics().value("monorail_broker_lag_messages", model="scorer") == 0)
    finally:
        client.xgroup_destroy("scorer.in", "others")
        client.xtrim("scorer.in", maxlen=0)


def test_a_request_by_arrow_is_answered_in_arrow(caller):
    table = pa.table({"a": [1.0], "b": [2.0], "c": [3.0], "amount": ["4"]})
    headers, reply = caller.reply(caller.send(to_stream(table), content_type=ARROW))
    assert headers["content-type"] == ARROW
    assert from_stream(reply).num_rows == 1
