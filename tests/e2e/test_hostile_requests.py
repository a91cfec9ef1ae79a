"""What other servers were broken by, sent to this one's data port: nothing is run, fetched, loaded or told."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support.bundles import publish_scorer
from tests.support.process import ARROW, ServerProcess, to_stream
from tests.support.raw import Raw, is_right

ROW = {"a": 1.0, "b": 2.0, "c": 3.0, "amount": "4"}
BODY = json.dumps(ROW).encode()
PREDICT = "/models/scorer/predict"


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secret-place") / "here"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    publish_scorer(folder, "scorer")
    with ServerProcess(folder, "scorer", threads=1) as server:
        yield server


@pytest.fixture
def models(server: ServerProcess) -> Iterator[Any]:
    """What the server has loaded; at the end the same still, and it still answers."""
    before = server.get("/models").json()
    yield before
    assert server.get("/models").json() == before
    assert server.predict("scorer", ROW).status == 200


@pytest.mark.parametrize(
    "media",
    [
        "application/vnd.bentoml+pickle",
        "application/x-pickle",
        "application/python-pickle",
        "application/octet-stream",
        "application/x-joblib",
        "application/x-numpy",
        "application/json",
        ARROW,
    ],
)
def test_a_pickle_is_never_opened(raw: Raw, models: Any, tmp_path: Path, media: str):
    touched = tmp_path / "touched"
    for protocol in (0, 2, 5):
        body = pickle.dumps(Trap(touched), protocol)
        answer = raw.ask("POST", PREDICT, body, f"Content-Type: {media}", "Payload-Container: NdarrayContainer")
        assert answer.status in (400, 415), answer
        assert not touched.exists()
    pickle.loads(pickle.dumps(Trap(touched)))
    assert touched.exists(), "the trap must work, or the test shows nothing"


@pytest.mark.parametrize(
    "path",
    [
        "/models",
        "/models/scorer",
        "/models?url=http://127.0.0.1:1/evil.mar",
        "/models/scorer/load",
        "/models/scorer/unload",
        "/models/other/1",
        "/v2/repository/index",
        "/v2/repository/models/scorer/load",
        "/v2/repository/models/scorer/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/cudasharedmemory/region/x/register",
        "/v2/logging",
        "/v1/config/reload",
        "/reload",
        "/shutdown",
        "/workflows",
        "/api/jobs/",
        "/api/2.0/mlflow/model-versions/create",
    ],
)
def test_the_data_port_changes_nothing(raw: Raw, models: Any, path: str):
    config = b'{"parameters": {"config": "{}", "file:1/model.py": "aW1wb3J0IG9z"}, "path": "/", "url": "http://x/"}'
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = raw.ask(method, path, config)
        assert answer.status in (404, 405), (method, path, answer)


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "....//....//etc/passwd",
        "%2e%2e/%2e%2e/bundle.json",
        "scorer/../../bundle.json",
        "scorer%00.json",
        "file:%2f%2f%2fetc%2fpasswd",
        "scorer%23/../..",
        "http:%2f%2f127.0.0.1",
        "~root",
    ],
)
def test_a_models_name_is_no_path(raw: Raw, models: Any, name: str):
    for path in (f"/models/{name}", f"/models/{name}/predict"):
        answer = raw.ask("POST" if path.endswith("predict") else "GET", path, BODY)
        assert answer.status in (400, 404), answer
        assert b"root:" not in answer.body


def test_addresses_in_a_request_are_only_words(server: ServerProcess, models: Any):
    """Nothing that a request holds is looked up or connected to."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        address = f"http://127.0.0.1:{trap.getsockname()[1]}/"
        for text in (address, address + "x.csv", "file:///etc/passwd", "\\\\127.0.0.1\\x", "s3://bucket/key"):
            server.predict(
                "scorer", ROW | {"amount": text}, headers={"Host": "x", "Referer": address, "Origin": address}
            )
            server.predict("scorer", json.dumps(text).encode(), headers={"X-Forwarded-Host": "127.0.0.1"})
            server.predict(f"scorer?input={text.split('//')[-1]}", ROW)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_very_many_chunks(server: ServerProcess, models: Any):
    """Every byte a chunk of its own: one answer, no more memory than the body takes."""
    before = _memory_kib(server.pid)
    padded = BODY + b" " * 200_000
    with Raw(server.address) as raw:
        raw.request("POST", PREDICT, None, "Content-Type: application/json", "Transfer-Encoding: chunked")
        raw.send(b"".join(b"1\r\n%c\r\n" % byte for byte in padded) + b"0\r\n\r\n")
        is_right(raw.answer())
    assert _memory_kib(server.pid) - before < 64 * 1024


def _memory_kib(pid: int) -> int:
    """Memory of a process, where the system has a file that says it."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


@pytest.mark.parametrize("length", ["18446744073709551616", "9223372036854775807", "-1", "1e9", "0x10"])
def test_lengths_beyond_what_is_sent(server: ServerProcess, models: Any, length: str):
    """A size is compared before anything of that size is asked for."""
    for headers in ([f"Content-Length: {length}"], ["Transfer-Encoding: chunked", f"X: {length}"]):
        with Raw(server.address) as raw:
            raw.request("POST", PREDICT, None, "Content-Type: application/json", *headers)
            if len(headers) > 1:
                raw.send(f"{length}\r\n".encode() + BODY)
            raw.socket.shutdown(socket.SHUT_WR)
            head = raw.ends()[:12]
            assert not head or head in (b"HTTP/1.1 400", b"HTTP/1.1 413"), head


def test_tensors_whose_sizes_overflow(server: ServerProcess, models: Any):
    """A table that says it has more rows than it brings."""
    stream = bytearray(to_stream(pa.table({name: [value] for name, value in ROW.items()})))
    one, many = (1).to_bytes(8, "little"), (2**62 + 1).to_bytes(8, "little")
    places = [at for at in range(0, len(stream) - 8, 8) if stream[at : at + 8] == one]
    assert places
    for at in places:
        changed = bytes(stream[:at] + many + stream[at + 8 :])
        answer = server.predict("scorer", changed, headers={"content-type": ARROW})
        assert answer.status in (200, 400, 413, 422), answer
        if answer.status == 200:
            # It stood in the values: then the row is another one, and nothing more.
            assert from_rows(answer.json()) == 1


def from_rows(answer: Any) -> int:
    values = answer.get("predictions")
    return len(values) if isinstance(values, list) else len(next(iter(values.values())))


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"{", "application/json"),
        (b'{"a": "x"}', "application/json"),
        (b'{"__class__": "os.system", "a": 1}', "application/json"),
        (b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\x00" * 32, ARROW),
        (b"x", "text/plain"),
    ],
)
def test_errors_tell_nothing_of_the_machine(raw: Raw, models: Any, folder: Path, body: bytes, media: str):
    """Who made another server name its shared memory could write to it; ours says what was wrong with the request."""
    answer = raw.ask("POST", PREDICT, body, f"Content-Type: {media}")
    assert answer.status in (400, 415, 422)
    said = answer.body.decode() + json.dumps(answer.headers)
    for word in (
        str(folder),
        "secret-place",
        "/crates/",
        ".rs:",
        "onnxruntime",
        "/dev/shm",
        "memfd",
        "0x7f",
        "Traceback",
    ):
        assert word not in said
    assert answer.error["request_id"]
