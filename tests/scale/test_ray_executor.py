"""Items on Ray: order, bounds, failures, lost workers and nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from monorail.data.source import open_source
from monorail.errors import InputError, SettingError
from monorail.executors import open_executor

#: What functions of this module see, on workers that cannot import it.
OFFSET = 10


def double(shared, item):
    """An item of a test, with something of this module."""
    return shared * item + OFFSET


def test_results_are_in_order_and_the_function_of_a_test_travels(cluster):
    with open_executor("ray") as executor:
        assert executor.name == "ray"
        assert executor.workers == 2
        assert list(executor.map(double, range(50), shared=2)) == [2 * item + OFFSET for item in range(50)]
        assert list(executor.map(double, [], shared=2)) == []


def test_items_are_taken_no_faster_than_results(cluster):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with open_executor("ray") as executor:
        results = executor.map(lambda shared, item: item, items())
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert len(taken) < 15
        del results


def test_what_is_shared_is_sent_once(cluster, tmp_path):
    class Counted:
        """Writes a line when it is unpickled."""

        def __init__(self, path):
            self.path = path

        def __reduce__(self):
            def arrive(path):
                with path.open("a") as file:
                    file.write("x")
                return Counted(path)

            return arrive, (self.path,)

    path = tmp_path / "arrivals"
    with open_executor("ray") as executor:
        pids = set(executor.map(lambda shared, item: os.getpid(), range(20), shared=Counted(path)))
    assert len(path.read_text()) == len(pids)


def test_an_exception_comes_as_it_was_raised_and_at_once(cluster):
    def fail(shared, item):
        if item == 0:
            time.sleep(30)
        if item == 1:
            raise InputError("no such thing", code="wrong_type", details=[{"column": "a"}])
        return item

    with open_executor("ray") as executor:
        begun = time.monotonic()
        with pytest.raises(InputError, match="no such thing") as caught:
            list(executor.map(fail, range(4)))
        assert caught.value.details == [{"column": "a"}]
        assert time.monotonic() - begun < 20
        # The cluster is free again: what still ran was cancelled.
        assert list(executor.map(lambda shared, item: item, range(4))) == [0, 1, 2, 3]


def test_a_killed_worker_is_replaced(cluster, tmp_path):
    def die_once(folder, item):
        mark = folder / str(item)
        if item == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with open_executor("ray") as executor:
        assert list(executor.map(die_once, range(4), shared=tmp_path)) == list(range(4))


def test_a_node_may_leave_in_the_middle(cluster, tmp_path):
    def step(folder, item):
        (folder / str(item)).touch()
        time.sleep(0.2)
        return item, os.environ.get("RAY_NODE_ID")

    with open_executor("ray") as executor:
        results = executor.map(step, range(16), shared=tmp_path)
        first = [next(results) for _ in range(4)]
        cluster.remove_node()
        assert [item for item, _ in [*first, *results]] == list(range(16))


def test_rows_in_memory_go_through_the_object_store_once(cluster):
    import ray

    table = pa.table({"x": np.arange(600_000), "s": pa.array(["a", "b"] * 300_000).dictionary_encode()})

    def total(shared, fragment):
        return sum(batch.column(0).to_numpy().sum() for batch in fragment.batches(["x"]))

    puts = []
    with open_executor("ray") as executor, open_source(table) as source:
        kept = ray.put
        ray.put = lambda *given, **named: puts.append(1) or kept(*given, **named)
        try:
            for _ in range(3):
                assert sum(executor.map(total, source.fragments)) == table["x"].to_numpy().sum()
        finally:
            ray.put = kept
    assert len(puts) == len(source.fragments) + 3


def test_another_cluster_than_the_one_connected_to_is_refused(cluster):
    with pytest.raises(SettingError, match="connected to a Ray cluster already"):
        open_executor("ray://127.0.0.1:1")


def test_without_a_cluster_one_is_started_and_ended(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from monorail.executors import open_executor\n"
        "if __name__ == '__main__':\n"
        "    with open_executor('ray', 1) as executor:\n"
        "        assert executor.workers == 1\n"
        "        print(list(executor.map(lambda shared, item: item + shared, range(3), shared=1)))\n"
        "    import ray\n"
        "    assert not ray.is_initialized()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[1, 2, 3]\n"
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_a_run_at_once(cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from monorail.executors import open_executor\n"
        "if __name__ == '__main__':\n"
        "    with open_executor('ray') as executor:\n"
        "        for result in executor.map(lambda shared, item: time.sleep(60 if item else 0), range(9)):\n"
        "            print('first', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    assert "KeyboardInterrupt" in errors
    with open_executor("ray") as executor:
        assert list(executor.map(lambda shared, item: item, range(2))) == [0, 1]
