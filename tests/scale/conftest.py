"""Real systems that tests share: a Ray cluster of two nodes, a server that speaks S3."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ..support.waiting import wait_until

#: Noise of the systems themselves: they leave sockets and processes to the garbage collector.
NOISE = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    r"ignore::DeprecationWarning:ray\..*",
    "ignore:.*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO.*:FutureWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings stay errors, but for those that the systems cannot help."""
    for item in items:
        if "/scale/" in item.path.as_posix():
            for noise in NOISE:
                item.add_marker(pytest.mark.filterwarnings(noise))


class RayCluster:
    """A head of one core and a node of one core, on this machine.

    Attributes:
        address: For ``RAY_ADDRESS``.
        client_address: ``ray://…``, for those who are not on the machine.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # As often asked in vain as by default before a node counts as lost, but at shorter distances.
        health = {"health_check_period_ms": 500}
        head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port, "_system_config": health}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)
        self.client_address = f"ray://127.0.0.1:{port}"
        self.fill()

    def fill(self) -> None:
        """Have the second node again."""
        if not self._cluster.worker_nodes:
            self._cluster.add_node(num_cpus=1)

    def remove_node(self) -> None:
        """Kill the second node, with all that runs on it."""
        for node in list(self._cluster.worker_nodes):
            self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """End both."""
        self._cluster.shutdown()


@pytest.fixture(scope="session")
def _ray_cluster() -> Iterator[RayCluster]:
    # Both sides agree not to ask for a token; otherwise Ray would write one into the home folder.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        cluster = RayCluster()
        ray.init(address=cluster.address, log_to_driver=False, logging_level=40)
        yield cluster
        ray.shutdown()
        cluster.close()


@pytest.fixture
def cluster(_ray_cluster: RayCluster) -> RayCluster:
    """A Ray cluster of two nodes with one core each, which this process is connected to: ``on="ray"`` is it."""
    import ray

    _ray_cluster.fill()
    # A node that an earlier test removed is counted until the head has missed it.
    wait_until("the cluster has two cores", lambda: ray.cluster_resources().get("CPU") == 2, deadline_s=60)
    return _ray_cluster


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    server.stop()


@pytest.fixture
def s3(_s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """An empty bucket of a server that speaks S3, as ``s3://BUCKET``; the environment leads to it."""
    import uuid

    from pyarrow import fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = f"rows-{uuid.uuid4().hex[:12]}"
    store = fs.S3FileSystem(
        endpoint_override=_s3_server, access_key="key", secret_key="secret", allow_bucket_creation=True
    )
    store.create_dir(bucket)
    return f"s3://{bucket}"
