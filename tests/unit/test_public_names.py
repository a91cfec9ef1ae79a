"""The public names are a promise: they change here first."""

import subprocess
import sys

import monorail

NAMES = [
    "Client",
    "Model",
    "Proof",
    "Registry",
    "Server",
    "Signature",
    "Version",
    "__version__",
    "errors",
    "fit",
    "load",
    "save",
    "score",
    "serve",
    "spark",
]


def test_the_names_are_these():
    assert monorail.__all__ == NAMES
    assert dir(monorail) == NAMES


def test_each_is_there():
    for name in NAMES:
        assert getattr(monorail, name) is not None


def test_each_has_a_docstring():
    for name in NAMES:
        assert getattr(monorail, name).__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(monorail, "no_such_name")


def run(code):
    """Run code in a fresh interpreter; what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_names_do_not_depend_on_the_order_of_their_use():
    run("import monorail as mr\nmr.Server\nassert callable(mr.serve)")
    run("import monorail as mr\nmr.serve\nassert callable(mr.serve)\nmr.Server\nassert callable(mr.serve)")
    run("import monorail.serve\nimport monorail as mr\nassert callable(mr.serve)")
    run("from monorail import load, serve, save, Client; assert callable(serve) and callable(save)")


HEAVY = {
    "catboost", "click", "daft", "duckdb", "httpx", "lightgbm", "numpy", "onnx", "onnxruntime", "pandas", "polars",
    "pyarrow", "pyspark", "ray", "rich", "sklearn", "torch", "xgboost",
}  # fmt: skip


def loaded_after(code):
    """Which heavy packages a fresh interpreter has after running code."""
    return set(run(f"{code}\nimport sys\nprint(*(set(sys.modules) & {HEAVY!r}))").split())


def test_importing_is_silent_and_loads_nothing_heavy():
    assert run("import monorail") == ""
    assert loaded_after("import monorail") == set()


def test_importing_is_quick():
    code = "import time; t = time.perf_counter(); import monorail; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.150


def test_serving_loads_nothing_heavy():
    assert loaded_after("import monorail; monorail.serve; monorail.Server; monorail.Registry") == set()
    assert loaded_after("import monorail.cli.serve") == {"click"}


def test_loading_a_model_needs_no_framework():
    assert not loaded_after("import monorail; monorail.load; import monorail.data") & {
        "sklearn",
        "pandas",
        "onnxruntime",
    }
