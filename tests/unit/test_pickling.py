"""What goes into a worker's pickle by value, and which packages it is found to need without opening it."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from monorail import errors
from monorail.bundle.pickling import distributions_of, named_modules, pickle_model


class Own:
    """Of this test's module, which no package brings."""

    def predict(self, frame):
        import scipy.special

        return scipy.special.expit(frame)


def test_modules_are_read_without_running_anything():
    assert {name.partition(".")[0] for name in named_modules(pickle.dumps(np.arange(3)))} == {"numpy"}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert "pandas" in {
            name.partition(".")[0] for name in named_modules(pickle.dumps(pd.DataFrame({"a": [1]}), protocol))
        }

    class Bomb:
        def __reduce__(self):
            return (sys.exit, ("opened",))

    assert named_modules(pickle.dumps(Bomb())) == set()


def test_a_fitted_pipeline_names_its_packages():
    from sklearn.linear_model import LinearRegression

    found = pickle_model(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]))
    assert set(found.distributions) == {"scikit-learn", "numpy"}
    assert found.by_value == ()


def test_a_class_of_a_local_module_goes_by_value():
    found = pickle_model(Own())
    assert __name__ in found.by_value
    # What its code imports when it runs is needed, too.
    assert "scipy" in found.distributions
    assert "pytest" not in found.distributions


def test_what_a_local_module_imports_from_another_goes_with_it(tmp_path, monkeypatch):
    (tmp_path / "local_numbers.py").write_text("FACTOR = 3\ndef times(x):\n    return x * FACTOR\n")
    (tmp_path / "local_model.py").write_text(
        "import local_numbers\nclass Model:\n    def predict(self, x):\n        return local_numbers.times(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("local_model").Model()
    found = pickle_model(model)
    assert set(found.by_value) == {"local_model", "local_numbers"}
    for name in ("local_model", "local_numbers"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    assert pickle.loads(found.data).predict(2) == 6


def test_a_local_class_is_stored_itself():
    class Local:
        def predict(self, x):
            return np.asarray(x) + 1

    found = pickle_model(Local)
    assert "numpy" in found.distributions
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer)().predict([1]).tolist())"
    done = subprocess.run([sys.executable, "-I", "-c", script], input=found.data, capture_output=True, check=True)
    assert done.stdout == b"[2]\n"


def test_nothing_stays_registered():
    import cloudpickle

    before = set(cloudpickle.list_registry_pickle_by_value())
    pickle_model(Own())
    assert set(cloudpickle.list_registry_pickle_by_value()) == before


def test_what_cannot_be_pickled_is_refused_with_what_to_do():
    class Holding:
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(errors.CompileError, match="lock") as caught:
        pickle_model(Holding())
    assert caught.value.code == "cannot_compile"
    assert "load(self, path)" in str(caught.value.hint)


def test_without_cloudpickle_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(errors.MissingExtraError) as caught:
        pickle_model(1)
    assert caught.value.hint == "pip install 'monorail[worker]'"


def test_distributions_of_modules():
    assert distributions_of(["sklearn.linear_model._base", "pyarrow.lib"]) == {"scikit-learn", "pyarrow"}
    assert distributions_of(["no_such_module_anywhere"]) == set()
