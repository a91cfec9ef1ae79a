"""Which adapter is asked: ours, another package's by entry point, and what a broken one says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from monorail.adapters import OURS, adapters, find_adapter
from monorail.adapters.base import framework
from monorail.errors import CompileError, MissingExtraError

ROOT = Path(__file__).parents[2]

OTHERS = '''
from monorail.adapters import Adapter, Description

class Dice:
    """Somebody's model."""

class DiceAdapter(Adapter):
    framework = "dice"

    def recognises(self, model):
        return isinstance(model, Dice)

    def describe(self, model):
        return Description("regressor", ("prediction",), ("prediction",))

    def answers(self, model, frame, outputs):
        return {"prediction": [4.0]}
'''


def install(folder: Path, value: str) -> None:
    """What pip leaves behind of a package `dice` with one entry point."""
    (folder / "dice.py").write_text(OTHERS)
    info = folder / "dice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dice\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[monorail.adapters]\ndice = {value}\n")


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)


def test_ours_are_those_of_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    assert declared["monorail.adapters"] == OURS


def test_another_package_brings_an_adapter(tmp_path):
    install(tmp_path, "dice:DiceAdapter")
    program = """
import dice
from monorail.adapters import find_adapter
print(find_adapter(dice.Dice()).framework, find_adapter(dice.Dice()).answers(None, None, ()))
"""
    ran = run(tmp_path, program)
    assert ran.stdout == "dice {'prediction': [4.0]}\n", ran.stderr


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nowhere:DiceAdapter", "ModuleNotFoundError: No module named 'nowhere'"),
        ("dice:Dice", "it is not a monorail.adapters.Adapter"),
    ],
)
def test_a_broken_one_is_named(tmp_path, value, reason):
    install(tmp_path, value)
    program = """
from monorail.adapters import find_adapter
from monorail.errors import CompileError
try:
    find_adapter(object())
except CompileError as error:
    print(error)
"""
    ran = run(tmp_path, program)
    assert ran.stdout == (
        f"the adapter `dice` of the package dice cannot be used: {reason}\nhint: update dice, or uninstall it\n"
    ), ran.stderr


def test_ours_are_found_where_the_package_is_not_installed():
    # As in a worker: the sources alone, registered under the package's name.
    program = f"""
import importlib.util
where = {str(ROOT / "python" / "monorail")!r}
spec = importlib.util.spec_from_file_location("monorail", where + "/__init__.py", submodule_search_locations=[where])
sys.modules["monorail"] = importlib.util.module_from_spec(spec)
sys.path[:] = [place for place in sys.path if not place.endswith("/python")]
import importlib.metadata
importlib.metadata.entry_points = lambda **_: ()
from monorail.adapters import adapters
print(len(adapters()))
"""
    ran = run(ROOT, program)
    assert ran.stdout == f"{len(OURS)}\n", ran.stderr


def test_finding_an_adapter_imports_no_framework():
    program = """
from monorail.adapters import find_adapter
find_adapter(type("Model", (), {"predict": lambda self, batch: batch})())
heavy = {"catboost", "keras", "lightgbm", "mlflow", "onnx", "onnxruntime", "sklearn", "skops", "tensorflow", "torch"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(ROOT, program).stdout == "[]\n"


def test_each_framework_has_its_own():
    names = [adapter.framework for adapter in adapters()]
    assert names == list(OURS)
    with pytest.raises(CompileError, match=r"no adapter knows a builtins\.object"):
        find_adapter(object())


def test_a_missing_framework_says_which_extra_installs_it():
    with pytest.raises(MissingExtraError) as caught:
        framework("no_such_package", "torch", "to open a PyTorch file")
    assert caught.value.message == "no_such_package is needed to open a PyTorch file and is not installed"
    assert caught.value.hint == "pip install 'monorail[torch]'"


def test_every_extra_that_is_named_is_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {"catboost", "keras", "lightgbm", "mlflow", "skops", "tensorflow", "torch", "worker", "xgboost", "sklearn"}
    assert named <= set(extras)


def test_arrays_are_fed_by_name_by_place_or_side_by_side():
    from monorail.adapters.tensors import Port, feed

    a, b = np.arange(3), np.arange(3) / 2
    single = np.dtype(np.float32)
    packed = feed([Port("x", single, (2,))], {"a": a, "b": b})["x"]
    assert packed.dtype == single
    assert packed.tolist() == [[0, 0], [1, 0.5], [2, 1]]
    by_name = feed([Port("b", None, ()), Port("a", single, (1,))], {"a": a, "b": b})
    assert {name: values.shape for name, values in by_name.items()} == {"b": (3,), "a": (3, 1)}
    by_place = feed([Port("first"), Port("second")], {"a": a, "b": b})
    assert by_place["second"].tolist() == [0, 0.5, 1]
    image = feed([Port("x", None, (None, 2, 2))], {"input": np.zeros((5, 8))})["x"]
    assert image.shape == (5, 2, 2, 2)
    with pytest.raises(CompileError, match="takes 3 inputs"):
        feed([Port("x"), Port("y"), Port("z")], {"a": a, "b": b})
    with pytest.raises(CompileError, match=r"takes rows of shape \[4\]"):
        feed([Port("x", None, (4,))], {"input": np.zeros((5, 3))})


def test_outputs_are_called_what_they_are():
    from monorail.adapters.tensors import output_names

    assert output_names(["Identity:0"]) == ["prediction"]
    assert output_names(["output_label", "output_probability"]) == ["label", "probability"]
    assert output_names(["dense", "other"]) == ["prediction", "other"]
    assert output_names(["dense", "other"], chosen=True) == ["dense", "other"]
    assert output_names(["label", "label:0"]) == ["label", "label_"]
