"""Where callbacks may go: what names mean, a server that calls nobody, settings that mean nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundles import publish_slow
from tests.support.process import ServerProcess

import monorail as mr
from monorail import errors


def test_names_are_resolved_once_and_every_address_is_judged(tmp_path):
    """Whatever a name server says, and however it changes its mind."""
    alone = ["unshare", "-rmn"]
    if shutil.which(alone[0]) is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user and network namespaces: unshare -rmn does not run here")
    script = Path(__file__).parents[1] / "support" / "own_network.py"
    command = [*alone, sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    refused = "has no address that callback_networks allows"
    # A name is asked for once an attempt: what it means a moment later leads nowhere.
    assert json.loads(done.stdout) == {
        "found": [
            ["rebound.example", "delivered", None, 1],
            ["rebound.example", "dead", f"rebound.example {refused}", 1],
            ["mixed.example", "delivered", None, 1],
            ["inner.example", "dead", f"inner.example {refused}", 1],
        ],
        "allowed": 2,
        "forbidden": 0,
    }


def test_a_server_that_calls_nobody(tmp_path):
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    with ServerProcess(tmp_path / "here", "echo") as server, mr.Client(server.url) as client:
        with pytest.raises(errors.InputError) as caught:
            client.submit("echo", {"x": 1}, callback_url="https://example.com/")
        assert (caught.value.code, caught.value.message) == ("callback_refused", "this server calls nobody back")
        assert "monorail_callbacks" not in server.metrics().text
        assert not (tmp_path / "here" / "jobs" / "callback.secret").exists()


def test_settings_that_mean_nothing(tmp_path):
    publish_slow(tmp_path / "here", "echo", busy_ms=0)
    invalid: list[tuple[dict[str, Any], str]] = [
        ({"callback_hosts": "a.b/path"}, "callback_hosts holds a.b/path"),
        ({"callback_hosts": "a.b", "callback_networks": "all"}, "callback_networks holds all"),
        ({"callback_hosts": "a.b", "callback_secret_file": tmp_path / "none"}, "the callback secrets at"),
    ]
    for settings, text in invalid:
        with ServerProcess(tmp_path / "here", "echo", wait=False, **settings) as server:
            assert (server.wait(), text in server.stderr) == (1, True), server.stderr
