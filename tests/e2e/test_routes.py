"""Routes, content types, methods and the shape of every error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from tests.support.bundles import publish_scorer
from tests.support.process import ServerProcess
from tests.support.raw import is_right

ROW = b'{"a": 1, "b": 2, "c": 3, "amount": "4"}'
PREDICT = "/models/scorer/predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_scorer(folder, "scorer", golden=True)
    with ServerProcess(folder, "scorer", threads=2) as server:
        yield server


# ---------------------------------------------------------------- content


@pytest.mark.parametrize("media", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_gets_curls_header_as_a_hint(raw, media):
    answer = raw.ask("POST", PREDICT, ROW, f"Content-Type: {media}")
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert "-H 'Content-Type: application/json'" in answer.error["hint"]


@pytest.mark.parametrize(
    "header", ["Content-Type: text/csv", "Content-Type: application/octet-stream", "Content-Encoding: gzip"]
)
def test_content_that_is_not_read(raw, header):
    answer = raw.ask("POST", PREDICT, ROW, header)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    is_right(raw.ask("POST", PREDICT, ROW))


@pytest.mark.parametrize("header", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
def test_content_that_is_json(raw, header):
    is_right(raw.ask("POST", PREDICT, ROW, f"Content-Type: {header}"))


def test_no_content_type_is_json(raw):
    raw.send(f"POST {PREDICT} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(ROW)}\r\n\r\n".encode() + ROW)
    is_right(raw.answer())


@pytest.mark.parametrize("accept", ["text/html", "text/*", "application/xml, text/csv"])
def test_nothing_acceptable(raw, accept):
    answer = raw.ask("POST", PREDICT, ROW, f"Accept: {accept}")
    assert (answer.status, answer.error["code"]) == (406, "not_acceptable")


# ---------------------------------------------------------------- routes and errors


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/models/none/predict", "unknown_model"),
        ("/models/none@1/predict", "unknown_model"),
        ("/models/Scorer/predict", "unknown_model"),
        ("/models/..%2fscorer/predict", "unknown_model"),
        ("/models/scorer@2/predict", "unknown_version"),
        ("/models/scorer@0/predict", "unknown_version"),
        ("/models/scorer@99999999999999999999999/predict", "unknown_version"),
        ("/models/scorer@champion/predict", "unknown_version"),
        ("/models/scorer@/predict", "unknown_version"),
        ("/models/scorer@1@1/predict", "unknown_version"),
        ("/models//predict", "unknown_model"),
        ("/models/scorer/predict/", "unknown_route"),
        ("/models/scorer/", "unknown_route"),
        ("/models/scorer/explain", "unknown_route"),
        ("/models/a/b/predict", "unknown_route"),
        ("/models/%ff/predict", "unknown_route"),
        ("/models/%4/predict", "unknown_route"),
        ("/", "unknown_route"),
        ("/predict", "unknown_route"),
        ("*", "unknown_route"),
    ],
)
def test_what_is_not_there(raw, path, code):
    answer = raw.ask("POST", path, ROW)
    assert (answer.status, answer.error["code"]) == (404, code), answer.body
    assert answer.error["hint"]
    is_right(raw.ask("POST", PREDICT, ROW))


def test_names_and_versions_in_paths(raw):
    for path in (
        "/models/scorer@1/predict",
        "/models/scorer%401/predict",
        "/models/%73corer/predict",
        "/models/scorer/predict?x=1&y=/models/none",
        "http://elsewhere:80/models/scorer/predict",
    ):
        is_right(raw.ask("POST", path, ROW))


@pytest.mark.parametrize(
    ("path", "right", "allow"),
    [
        (PREDICT, "POST", "POST"),
        ("/models", "GET", "GET, HEAD"),
        ("/models/scorer", "GET", "GET, HEAD"),
        ("/metrics", "GET", "GET, HEAD"),
        ("/health/live", "GET", "GET, HEAD"),
        ("/v2/health/ready", "GET", "GET, HEAD"),
    ],
)
def test_wrong_methods(raw, path, right, allow):
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "MINE"):
        if method != right:
            answer = raw.ask(method, path, ROW)
            assert (answer.status, answer.error["code"]) == (405, "method_not_allowed"), (method, path)
            assert answer.headers["allow"] == allow
    assert raw.ask(right, path, ROW).status == 200


def test_the_request_id_is_the_clients_or_made(raw):
    assert raw.ask("POST", PREDICT, ROW, "X-Request-Id: abc-123.x").headers["x-request-id"] == "abc-123.x"
    answer = raw.ask("POST", PREDICT, b"bad", "x-request-id: mine")
    assert answer.headers["x-request-id"] == answer.error["request_id"] == "mine"
    made = {raw.ask("GET", "/none").error["request_id"] for _ in range(20)}
    assert len(made) == 20
    for hostile in ('a"b', "a b", "é", "a\\b", "x" * 129, "", "a\tb"):
        answer = raw.ask("GET", "/none", None, f"X-Request-Id: {hostile}")
        assert answer.headers["x-request-id"] not in ("", hostile)
        assert answer.error["request_id"] == answer.headers["x-request-id"]


def test_the_shape_of_every_error(raw):
    bad = json.dumps([{"a": "x", "b": 2, "c": 3, "amount": "4"}]).encode()
    for answer in (
        raw.ask("POST", PREDICT, bad),
        raw.ask("POST", PREDICT, b"nope"),
        raw.ask("POST", "/models/none/predict", ROW),
        raw.ask("PUT", PREDICT, ROW),
        raw.ask("POST", PREDICT, ROW, "Accept: text/html"),
        raw.ask("POST", PREDICT, ROW.replace(b'"4"', b'"abc"')),
        raw.ask("GET", "/none"),
    ):
        assert answer.headers["content-type"] == "application/json"
        assert list(answer.json()) == ["error"]
        error = answer.error
        assert list(error) == ["code", "message", "hint", "request_id", "details"]
        assert re.fullmatch(r"[a-z_]+", error["code"])
        assert error["message"]
        assert not error["message"].endswith(".")
        assert error["message"][0] == error["message"][0].lower()
        assert error["hint"] is None or error["hint"]
        for detail in error["details"]:
            assert list(detail) == ["code", "row", "column", "path", "expected", "got"]
    assert raw.ask("POST", PREDICT, bad).error["details"] == [
        {
            "code": "wrong_type",
            "row": 0,
            "column": "a",
            "path": "$[0].a",
            "expected": "float64",
            "got": 'the string "x"',
        }
    ]


def test_names_of_unknown_models_are_no_labels(raw, server):
    before = server.metrics().value("monorail_requests_total", model="_unknown", status="404")
    for number in range(20):
        raw.ask("POST", f"/models/secret{number}/predict", ROW)
        raw.ask("POST", "/models/secret%22%0a/predict", ROW)
        raw.ask("GET", f"/models/secret{number}")
    metrics = server.metrics()
    assert "secret" not in metrics.text
    assert metrics.value("monorail_requests_total", model="_unknown", status="404") == before + 40


def test_metrics_are_as_prometheus_reads_them(raw, server):
    is_right(raw.ask("POST", PREDICT, ROW))
    answer = raw.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    metrics, text = server.metrics(), answer.body.decode()
    for name in ("request_seconds", "queue_seconds", "engine_seconds", "batch_rows"):
        name = f"monorail_{name}"
        assert f"# TYPE {name} histogram" in text
        buckets = [v for n, labels, v in metrics.samples if n == f"{name}_bucket" and labels["model"] == "scorer"]
        assert buckets == sorted(buckets)
        assert buckets[-1] == metrics.value(f"{name}_count", model="scorer") > 0
    assert metrics.value("monorail_requests_total", model="scorer", version="1", road="http", status="200") > 0
    assert metrics.value("monorail_ready") == 1
    types = re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)
    assert len(types) == len(set(types))
    assert {re.sub(r"_(bucket|sum|count)$", "", n) for n, _, _ in metrics.samples} <= set(types)
