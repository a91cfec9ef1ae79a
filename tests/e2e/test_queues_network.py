"""The network between a server and its broker is cut, in a namespace, and heals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.queues import BROKERS

ALONE = ["unshare", "-rn"]


@pytest.mark.parametrize("kind", BROKERS)
def test_the_cable_is_pulled_and_plugged_in(tmp_path, kind):
    missing = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"a network of its own needs {', '.join(missing)}")
    try_it = [*ALONE, "ip", "link", "add", "one", "type", "veth", "peer", "name", "other"]
    tried = subprocess.run(try_it, check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no network may be made here, not even in a namespace: {tried.stderr.strip()}")
    script = Path(__file__).parents[1] / "support" / "cut_network.py"
    command = [*ALONE, sys.executable, str(script), str(tmp_path), kind]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
