"""Items on threads of this process: order, bounds, failures, and one thread for each call of linear algebra."""

from __future__ import annotations

import sys
import threading
import types
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from monorail.errors import SettingError
from monorail.executors import open_executor
from monorail.executors.packing import packed


@hypothesis.settings(max_examples=30)
@hypothesis.given(workers=st.integers(1, 5), items=st.lists(st.integers(), max_size=40))
def test_results_are_in_the_order_of_the_items(workers, items):
    with open_executor("local", workers) as executor:
        assert executor.workers == workers
        assert list(executor.map(lambda shared, item: (shared, item), items, shared="x")) == [("x", i) for i in items]


@pytest.mark.parametrize("workers", [1, 3])
def test_items_are_taken_no_faster_than_results(workers):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with open_executor("local", workers) as executor:
        results = executor.map(lambda shared, item: item, items())
        assert next(results) == 0
        assert len(taken) <= 2 * workers + 1
        del results


def test_items_run_side_by_side():
    together = threading.Barrier(3)
    with open_executor("local", 3) as executor:
        assert len(list(executor.map(lambda shared, item: together.wait(20), range(3)))) == 3


def test_a_failure_is_raised_at_once_and_what_has_not_begun_does_not():
    release, begun = threading.Event(), []

    def work(shared, item):
        begun.append(item)
        if item == 0:
            release.wait(20)
        if item == 1:
            raise ZeroDivisionError("of item 1")

    with open_executor("local", 2) as executor:
        with pytest.raises(ZeroDivisionError, match="of item 1"):
            list(executor.map(work, range(50)))
        # Item 0 still runs: nobody waited for it.
        assert not release.is_set()
        release.set()
    assert len(begun) < 10


def test_a_failure_of_the_items_themselves_is_raised():
    def items():
        yield 1
        raise KeyError("no more")

    with open_executor("local", 2) as executor, pytest.raises(KeyError, match="no more"):
        list(executor.map(lambda shared, item: item, items()))


def test_maps_may_be_nested_and_left():
    with open_executor("local", 2) as executor:
        for outer in executor.map(lambda shared, item: item, range(4)):
            assert list(executor.map(lambda shared, item: shared + item, range(3), shared=outer)) == [
                outer,
                outer + 1,
                outer + 2,
            ]
            if outer == 2:
                break


def blas_threads() -> list[int]:
    """Threads of the linear algebra in use."""
    import threadpoolctl

    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("workers", [1, 2])
def test_linear_algebra_has_one_thread_while_items_run(workers):
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(2, user_api="blas"), open_executor("local", workers) as executor:
        assert set(blas_threads()) == {2}
        first = executor.map(lambda shared, item: blas_threads(), range(3))
        assert set(next(first)) == {1}
        second = executor.map(lambda shared, item: blas_threads(), range(3))
        assert set(next(second)) == {1}
        # In whatever order they end.
        assert all(set(found) == {1} for found in first)
        assert set(blas_threads()) == {1}
        assert all(set(found) == {1} for found in second)
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize(("on", "workers"), [("spark", None), ("ray:/x", None), ("local", 0), ("", None)])
def test_what_is_no_place_to_work_is_refused(on, workers):
    with pytest.raises(SettingError) as caught:
        open_executor(on, workers)
    assert caught.value.code == "setting_invalid"
    assert caught.value.hint


def test_the_users_own_modules_travel_by_value(tmp_path, monkeypatch):
    cloudpickle: Any = pytest.importorskip("cloudpickle")
    (tmp_path / "users_own.py").write_text("FACTOR = 3\n\ndef triple(shared, item):\n    return FACTOR * item\n")
    monkeypatch.syspath_prepend(tmp_path)
    import users_own  # type: ignore[import-not-found]

    data = packed(cloudpickle, (users_own.triple, np.mean))
    monkeypatch.delitem(sys.modules, "users_own")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    triple, mean = cloudpickle.loads(data)
    assert triple(None, 4) == 12
    assert mean is np.mean
    assert isinstance(sys.modules.get("users_own"), types.NoneType)
