"""Brokers that are reached over TLS only, and that ask who we are: certificates, users, keys and credentials."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.authority import Authority
from tests.support.brokers import BrokerServer, NatsServer, RedisServer, free_port
from tests.support.bundles import publish_slow
from tests.support.nats_users import USER, Key, Operator
from tests.support.process import ServerProcess
from tests.support.queues import BROKERS, NatsCaller, RedisCaller, caller_of, wait_connected
from tests.support.waiting import wait_until
from tests.support.workers import wait_log

ROW = json.dumps({"x": 1.0}).encode()
#: What Redis must allow a server of ``flights.in`` with replies to ``flights.out``; the guide says the same.
RIGHTS = "~flights.* +@stream +@connection +type +set +time +evalsha +script|load"

#: What NATS must allow beside its subjects.
NATS_API = ("$JS.API.>", "$JS.ACK.>")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry") / "here"
    publish_slow(folder, "slow", busy_ms=0)
    return folder


def start(registry: Path, url: str, **settings: Any) -> ServerProcess:
    """A server of ``slow`` on the queue, whose URL is in the environment."""
    words = {"requests": "flights.in", "replies": "flights.out", "threads": 1}
    return ServerProcess(registry, "slow", environment={"MONORAIL_QUEUE": url}, **(words | settings))


# ---------------------------------------------------------------- TLS


class Secured:
    """A broker that is reached by ``url`` over TLS, and by its own URL without.

    Attributes:
        authority: Signs its certificate.
        url: Where it has the name that its certificate has.
        misnamed: Where it has not.
    """

    def __init__(self, kind: str, folder: Path, *, asks: bool = False) -> None:
        self.authority = Authority(folder / "authority")
        pem, known = str(self.authority.certificate("127.0.0.1")), str(self.authority.path)
        self.broker: BrokerServer
        if kind == "redis":
            port, scheme = free_port(), "rediss"
            words = [
                "--tls-port",
                str(port),
                "--tls-cert-file",
                pem,
                "--tls-key-file",
                pem,
                "--tls-ca-cert-file",
                known,
            ]
            self.broker = RedisServer(folder, *words, "--tls-auth-clients", "yes" if asks else "no")
        else:
            tls = {"cert_file": pem, "key_file": pem, "ca_file": known, "verify": asks}
            self.broker = NatsServer(folder, tls=tls, allow_non_tls=True)
            port, scheme = self.broker.port, "tls"
        self.url, self.misnamed = f"{scheme}://127.0.0.1:{port}", f"{scheme}://localhost:{port}"

    def __enter__(self) -> Secured:
        return self

    def __exit__(self, *_: object) -> None:
        self.broker.kill()


@pytest.fixture(scope="module", params=BROKERS)
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with Secured(request.param, tmp_path_factory.mktemp(request.param)) as secured:
        yield secured


def check_answer(broker: BrokerServer) -> None:
    with contextlib.closing(caller_of(broker)) as caller:
        headers, _ = caller.reply(caller.send(ROW))
        assert headers["status"] == "200"


def test_a_private_authority_is_trusted_where_it_is_named(registry, secured):
    with start(registry, secured.url, queue_ca_file=secured.authority.path) as server:
        wait_connected(server)
        check_answer(secured.broker)


def test_a_private_authority_is_trusted_where_the_system_does(registry, secured):
    words = {"MONORAIL_QUEUE": secured.url, "SSL_CERT_FILE": str(secured.authority.path)}
    with ServerProcess(registry, "slow", environment=words, requests="flights.in", threads=1) as server:
        wait_connected(server)


def test_what_is_not_trusted_is_told(registry, secured, tmp_path):
    """Unknown to the system, signed by another authority, and of another name."""
    other = Authority(tmp_path / "other").path
    for url, settings in (
        (secured.url, {}),
        (secured.url, {"queue_ca_file": other}),
        (secured.misnamed, {"queue_ca_file": secured.authority.path}),
    ):
        with start(registry, url, **settings) as server:
            wait_log(server, "queue of slow", "no TLS with", "certificate", "queue_ca_file")
            assert server.get("/health/ready").error["code"] == "queue_unavailable"


@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_that_asks_for_a_certificate(registry, tmp_path, kind):
    with Secured(kind, tmp_path / "broker", asks=True) as secured:
        known = secured.authority.path
        own = secured.authority.certificate("localhost")
        with start(registry, secured.url, queue_ca_file=known) as server:
            wait_log(server, "queue of slow", "no TLS with", "queue_certificate_file")
        key = tmp_path / "key.pem"
        key.write_text(own.read_text().partition("-----BEGIN CERTIFICATE-----")[0])
        with start(
            registry, secured.url, queue_ca_file=known, queue_certificate_file=own, queue_key_file=key
        ) as server:
            wait_connected(server)
        with start(registry, secured.url, queue_ca_file=known, queue_certificate_file=own) as server:
            wait_connected(server)
            check_answer(secured.broker)


def test_no_password_goes_to_a_broker_without_tls(registry, tmp_path):
    """Where TLS is asked for there is no connection without it, whatever the broker says."""
    with NatsServer(tmp_path / "broker") as broker:
        known = Authority(tmp_path / "authority").path
        for url, settings in (("tls", {}), ("nats", {"queue_ca_file": known})):
            with start(registry, f"{url}://me:secret@127.0.0.1:{broker.port}", **settings) as server:
                wait_log(server, "queue of slow", "queue_unavailable")
                assert server.get("/health/ready").status == 503


@pytest.mark.parametrize(
    ("url", "setting", "told"),
    [
        ("rediss://broker", "queue_ca_file", "nothing.pem"),
        ("tls://broker", "queue_certificate_file", "nothing.pem"),
        ("tls://broker", "queue_ca_file", "there is no certificate in it"),
        ("redis://broker", "queue_ca_file", "not one of TLS"),
    ],
)
def test_certificates_that_cannot_be_used_are_refused(registry, tmp_path, url, setting, told):
    file = tmp_path / "nothing.pem"
    if "no certificate" in told or "not one" in told:
        file.write_text("# nothing\n")
    command = [sys.executable, "-m", "monorail.cli", "serve", "slow", "--registry", str(registry), "--port", "0"]
    command += ["--queue", url, "--requests", "in", "--" + setting.replace("_", "-"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert told in done.stderr


# ---------------------------------------------------------------- users


def test_a_user_of_redis_has_the_rights_that_the_guide_says(registry, tmp_path):
    with RedisServer(tmp_path / "broker") as broker:
        with contextlib.closing(RedisCaller(broker.url)) as caller:
            caller.client.execute_command("ACL", "SETUSER", "ali", "on", ">sesame", *RIGHTS.split())
        with start(registry, f"redis://ali:sesame@127.0.0.1:{broker.port}") as server:
            wait_connected(server)
            check_answer(broker)
            with contextlib.closing(RedisCaller(broker.url)) as caller:
                caller.send(b"{", message_id="chosen")
                headers, _ = caller.reply("chosen")
                assert headers["code"] == "malformed_json"
                wait_until("the dead letter is there", lambda: caller.dead("unprocessable"))
            assert server.stop() == 0
            assert "NOPERM" not in server.stderr
        # One that it has not is told.
        with start(registry, f"redis://ali:sesame@127.0.0.1:{broker.port}", requests="others.in") as server:
            wait_log(server, "queue of slow", "queue_unavailable", "NoPerm")


def test_users_of_nats_by_key_and_by_credentials(registry, tmp_path):
    key, operator = Key(USER), Operator()
    (tmp_path / "user.nk").write_text(f"{key.seed}\n")
    (tmp_path / "user.creds").write_text(operator.credentials())
    own: dict[str, dict[str, Any]] = {
        "nkey=user.nk": {"authorization": {"users": [{"nkey": key.public}]}},
        "credentials=user.creds": operator.settings,
    }
    for number, (query, settings) in enumerate(own.items()):
        name, file = query.split("=")
        with NatsServer(tmp_path / str(number), **settings) as broker:
            with start(registry, f"{broker.url}?{name}={tmp_path / file}") as server:
                wait_connected(server)
            with start(registry, broker.url) as server:
                wait_log(server, "queue of slow", "refuses the user or the password")
            with start(registry, f"{broker.url}?{name}={tmp_path / 'away'}") as server:
                wait_log(server, "queue of slow", "cannot be read")
            assert key.seed not in server.stderr


def test_a_user_of_nats_has_the_rights_that_the_guide_says(registry, tmp_path):
    def user(name: str, *publish: str) -> dict[str, Any]:
        rights = {"publish": [*publish, *NATS_API], "subscribe": ["_INBOX.>"]}
        return {"user": name, "password": "sesame", "permissions": rights}

    users = [{"user": "all", "password": "all"}, user("ali", "flights.>"), user("eve", "flights.in.>")]
    with (
        NatsServer(tmp_path / "broker", authorization={"users": users}) as broker,
        contextlib.closing(NatsCaller(f"nats://all:all@127.0.0.1:{broker.port}")) as caller,
    ):
        with start(registry, f"nats://ali:sesame@127.0.0.1:{broker.port}", queue_ack_wait_s=1) as server:
            wait_connected(server)
            for sent, status in ((ROW, "200"), (b"{", "400")):
                assert caller.reply(caller.send(sent))[0]["status"] == status
            assert server.stop() == 0
            assert "Permissions" not in server.stderr
        # One that it has not is told, and what it could not answer waits for another.
        eve = f"nats://eve:sesame@127.0.0.1:{broker.port}"
        with start(registry, eve, queue_ack_wait_s=1, drain_s=0.1) as server:
            wait_connected(server)
            identity = caller.send(ROW)
            wait_log(server, "queue of slow", "queue_unavailable", "Permissions Violation", "flights.out")
            wait_until("readiness is off", lambda: server.get("/health/ready").status == 503)
        with start(registry, f"nats://ali:sesame@127.0.0.1:{broker.port}", queue_ack_wait_s=1):
            assert caller.reply(identity)[0]["status"] == "200"
