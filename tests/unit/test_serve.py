"""``mr.serve`` and ``mr.Client``: servers in this process, and typed answers and errors."""

import decimal
import http.server
import shutil
import socket
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import monorail as mr
from monorail import errors

RIGHT = {"carrier": "UA", "dep": 1.0, "distance": 100, "wind": "N"}


@pytest.fixture(scope="module")
def server(registry):
    with mr.serve("flights", "flights@champion", registry=registry, port=0) as server:
        yield server


@pytest.fixture
def client(server):
    with mr.Client(server.url) as client:
        yield client


def test_one_version_in_two_folders(registry, tmp_path):
    own = mr.Registry(registry).version("flights@champion").path
    copy = tmp_path / "copy"
    shutil.copytree(own, copy)
    with pytest.raises(errors.RegistryError) as caught:
        mr.serve(own, copy, registry=registry, port=0)
    assert (caught.value.code, bool(caught.value.hint)) == ("version_exists", True)
    with mr.serve(copy, registry=registry, port=0) as server, mr.Client(server.url) as client:
        assert client.predict("flights@1", RIGHT)["label"] in ("late", "ok")
        with pytest.raises(errors.NotFoundError):
            client.predict("flights@champion", RIGHT)
    with mr.serve(own, "flights@1", registry=registry, port=0) as server, mr.Client(server.url) as client:
        assert client.models()[0]["versions"] == [1]
        assert client.predict("flights@champion", RIGHT) == client.predict("flights@1", RIGHT)


def test_it_is_ready_when_it_is_there(server, client):
    assert client.ready()
    assert repr(server) == f"Server({server.url!r})"
    assert "monorail_" in server.metrics()


def test_models(client):
    assert [(m["name"], sorted(m["versions"])) for m in client.models()] == [("flights", [1, 2])]
    described = client.model("flights@champion")
    assert (described["version"], described["engine"]) == (1, "native")
    assert "seen" not in str(described["signature"])


def test_the_client_answers_as_the_model_does(client, registry, frame):
    flights, rows = mr.load("flights", registry=registry), frame.head(20)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    records = rows.to_dict("records")
    pd.testing.assert_frame_equal(client.predict("flights", rows), flights.predict(rows))
    assert client.predict("flights", table).equals(flights.predict(table))
    assert client.predict("flights", pl.from_arrow(table)).equals(flights.predict(pl.from_arrow(table)))
    assert client.predict("flights", records) == flights.predict(records)
    assert client.predict("flights", records[0]) == flights.predict(records[0])
    columns = rows.to_dict("list")
    assert client.predict("flights", columns) == flights.predict(columns)
    assert client.predict("flights@champion", RIGHT) == flights.predict(RIGHT)
    assert client.predict("flights", []) == []
    assert len(client.predict("flights", rows.head(0))) == 0


@pytest.mark.parametrize(
    ("name", "code"), [("none", "unknown_model"), ("flights@9", "unknown_version"), ("no/such name", "unknown_model")]
)
def test_unknown_models(client, name, code):
    with pytest.raises(errors.NotFoundError) as caught:
        client.predict(name, RIGHT)
    assert caught.value.code == code
    assert caught.value.request_id


def test_faults_are_typed(client):
    with pytest.raises(errors.InputError) as caught:
        client.predict("flights", [RIGHT, RIGHT | {"distance": "far"}])
    assert caught.value.code == "wrong_type"
    assert (caught.value.details[0]["row"], caught.value.details[0]["column"]) == (1, "distance")
    with pytest.raises(errors.InputError) as caught:
        client.predict("flights", pd.DataFrame({"carrier": [1, "x"]}))
    assert caught.value.code == "wrong_type"
    with pytest.raises(errors.InputError) as caught:
        client.predict("flights", RIGHT | {"dep": float("inf")})
    assert caught.value.code == "not_finite"


def test_nan_is_null_in_json(client):
    assert client.predict("flights", RIGHT | {"dep": float("nan")}) == client.predict("flights", RIGHT | {"dep": None})
    assert client.predict("flights", RIGHT | {"distance": np.int64(100)}) == client.predict("flights", RIGHT)


@pytest.mark.parametrize("nothing", [pd.NA, pd.NaT])
def test_nothing_of_pandas_is_null_in_json(client, nothing):
    absent = client.predict("flights", RIGHT | {"dep": None})
    assert client.predict("flights", RIGHT | {"dep": nothing}) == absent
    assert client.predict("flights", [RIGHT | {"dep": nothing}]) == [absent]


@pytest.mark.parametrize(
    ("value", "code"), [(decimal.Decimal(1), "wrong_type"), (b"UA", "wrong_type"), ("\ud800", "wrong_format")]
)
def test_what_json_has_no_form_for(client, value, code):
    for data in (RIGHT | {"carrier": value}, [RIGHT | {"carrier": value}], {"carrier": [value], "distance": [1]}):
        with pytest.raises(errors.InputError) as caught:
            client.predict("flights", data)
        assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_faults_found_here_keep_their_code(client):
    for data, code in (
        (pd.DataFrame([[1, 2]], columns=["carrier", "carrier"]), "duplicate_column"),
        ([5], "wrong_shape"),
        ({"carrier": np.array(["UA"]), "distance": np.array([1, 2])}, "wrong_shape"),
    ):
        with pytest.raises(errors.InputError) as caught:
            client.predict("flights", data)
        assert caught.value.code == code
    with pytest.raises(errors.InputError) as caught:
        client.predict("flights", pd.DataFrame({"carrier": [1, "x"]}))
    assert [detail["code"] for detail in caught.value.details] == ["wrong_type"]


def test_columns_of_polars_series(client, frame):
    rows = pl.from_pandas(frame.head(5))
    assert client.predict("flights", {s.name: s for s in rows}) == client.predict(
        "flights", rows.to_dict(as_series=False)
    )


def test_whole_numbers_that_pandas_made_floats(client):
    with pytest.raises(errors.InputError) as caught:
        client.predict("flights", pd.DataFrame([RIGHT | {"distance": 1.5}]))
    assert "frame['distance'].astype('Int64')" in str(caught.value.hint)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "5", None, True])
def test_a_timeout_that_is_no_time(client, seconds):
    with pytest.raises(errors.SettingError) as caught:
        mr.Client("http://127.0.0.1:1", timeout_s=seconds)
    assert caught.value.code == "setting_invalid"
    if seconds is not None:
        with pytest.raises(errors.SettingError):
            client.predict("flights", RIGHT, timeout_s=seconds)


def test_a_tensor_model_tells_a_record_from_columns(tmp_path):
    from sklearn.linear_model import LinearRegression

    X = np.arange(12.0).reshape(4, 3)
    mr.save(LinearRegression().fit(X, X[:, 0]), "m", example=X, registry=tmp_path, quiet=True)
    with mr.serve("m", registry=tmp_path, port=0) as server, mr.Client(server.url) as client:
        one, many = client.predict("m", {"input": [0.0, 1.0, 2.0]}), client.predict("m", {"input": X.tolist()})
        assert one["prediction"] == pytest.approx(0)
        assert many["prediction"] == pytest.approx([0, 3, 6, 9])
        assert client.predict("m", {"input": X[0]}) == one
        assert client.predict("m", {"input": X})["prediction"].tolist() == many["prediction"]
        assert client.predict("m", X) == pytest.approx(many["prediction"])


def test_two_servers_in_one_process(registry):
    with mr.serve("flights@1", registry=registry, port=0) as a, mr.serve("flights@2", registry=registry, port=0) as b:
        assert a.url != b.url
        with mr.Client(a.url) as first, mr.Client(b.url) as second:
            assert first.model("flights")["version"] == 1
            assert second.model("flights")["version"] == 2


def test_stopping_twice_and_waiting(registry):
    server = mr.serve("flights", registry=registry, port=0)
    assert not server.wait(timeout_s=0)
    server.stop()
    server.stop(drain=False)
    assert server.wait()
    with mr.Client(server.url) as client:
        assert not client.ready()
        with pytest.raises(errors.UnreachableError):
            client.predict("flights", RIGHT)


def test_settings_reach_the_server(registry, tmp_path):
    (tmp_path / "monorail.toml").write_text('[serve]\nunknown_columns = "ignore"\n[models.flights]\nlimit_rows = 2\n')
    with mr.serve("flights", registry=registry, port=0) as server, mr.Client(server.url) as client:
        client.predict("flights", RIGHT | {"more": 1})
        with pytest.raises(errors.InputError) as caught:
            client.predict("flights", [RIGHT] * 3)
        assert caught.value.code == "too_many_rows"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"prot": 1}, "setting_invalid"),
        ({"port": 65_536}, "setting_invalid"),
        ({"limit_rows": 0}, "setting_invalid"),
        ({"host": "no.such.host.invalid"}, "address_in_use"),
    ],
)
def test_wrong_settings(registry, options, code):
    with pytest.raises(errors.SettingError) as caught:
        mr.serve("flights", registry=registry, **({"port": 0} | options))
    assert caught.value.code == code


def test_a_port_that_is_taken(registry):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(errors.SettingError) as caught:
        mr.serve("flights", registry=registry, port=taken.getsockname()[1])
    assert caught.value.code == "address_in_use"


def test_what_cannot_be_served(registry):
    with pytest.raises(errors.NotFoundError):
        mr.serve("none", registry=registry, port=0)
    with pytest.raises(errors.NotFoundError):
        mr.serve(registry=registry, port=0)


def test_a_damaged_bundle_is_not_served(model, frame, tmp_path):
    version = mr.save(model, "m", example=frame, registry=tmp_path, quiet=True)
    graph = version.path / "graph.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.chmod(0o600)
    graph.write_bytes(content)
    with pytest.raises(errors.BundleError, match=r"graph\.onnx"):
        mr.serve("m", registry=tmp_path, port=0)
    with pytest.raises(errors.BundleError, match=r"graph\.onnx"):
        mr.load("m", registry=tmp_path)


def test_a_server_that_is_not_ours():
    class Other(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_error(500, "sorry")

        def log_message(self, format, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        with mr.Client(f"http://127.0.0.1:{other.server_port}") as client, pytest.raises(errors.InternalError):
            client.predict("m", RIGHT)
        thread.join()


def test_a_server_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with mr.Client(url, timeout_s=0.1) as client, pytest.raises(errors.DeadlineError) as caught:
            client.predict("m", RIGHT)
    assert isinstance(caught.value, errors.RetryableError)
