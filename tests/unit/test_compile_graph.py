"""The builder of graphs: deterministic, nothing twice, nothing unused, and names that cannot collide."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from monorail.compile import compile_model
from monorail.compile.graph import OPSETS, Graph
from monorail.compile.trees import largest_left

FLOAT = np.dtype(np.float64)


def frame(rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(0)
    columns = {name: random.normal(0, 1, rows) for name in ("label", "probability", "float64", "Sub")}
    return pd.DataFrame(columns).assign(word=random.choice(["a", "b"], rows))


def inputs(data: pd.DataFrame, nullable: bool = False) -> list[dict[str, object]]:
    kinds = {"float64": "float64", "int64": "int64"}
    return [
        {"name": name, "type": kinds.get(str(data[name].dtype), "string"), "nullable": nullable}
        for name in data.columns
    ]


def test_same_model_same_bytes() -> None:
    data = frame()
    prepare = ColumnTransformer([("w", OneHotEncoder(), ["word"]), ("n", StandardScaler(), ["label", "Sub"])])
    model = make_pipeline(prepare, LogisticRegression()).fit(data, data["label"] > 0)
    first, second = (compile_model(model, inputs(data)) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    assert first.stage == second.stage


def test_columns_named_like_outputs_and_inputs() -> None:
    data = frame()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(data.drop(columns="word"), data["label"] > 0)
    compiled = compile_model(model, inputs(data)[:4])
    outputs = {entry["name"]: entry["graph_output"] for entry in compiled.stage["outputs"]}
    assert list(outputs) == ["label", "probability"]
    assert not set(outputs.values()) & set(data.columns)
    assert compiled.stage["inputs"][0]["columns"] == ["label", "probability", "float64", "Sub"]
    assert compiled.stage["inputs"][0]["name"] not in data.columns


def test_versions_and_domains() -> None:
    data: pd.DataFrame = frame().drop(columns=["probability", "float64", "word"])
    compiled = compile_model(DecisionTreeClassifier().fit(data, data["label"] > 0), inputs(data))
    assert {entry.domain or "ai.onnx": entry.version for entry in compiled.graph.opset_import} == OPSETS
    assert compiled.graph.ir_version == 10
    onnx.checker.check_model(compiled.graph, full_check=True)


def test_unused_columns_have_no_input_and_a_nullable_text_has_two() -> None:
    data = frame()
    prepare = ColumnTransformer([("w", OneHotEncoder(handle_unknown="ignore"), ["word"])])
    model = make_pipeline(prepare, LogisticRegression()).fit(data, data["label"] > 0)
    assert compile_model(model, inputs(data)).stage["inputs"] == [
        {"name": "word", "type": "string", "columns": ["word"]}
    ]
    assert compile_model(model, inputs(data, nullable=True)).stage["inputs"] == [
        {"name": "word", "type": "string", "columns": ["word"]},
        {"name": "word__valid", "type": "bool", "valid": "word"},
    ]


def test_groups_of_columns_get_inputs_of_their_own() -> None:
    data = frame()
    prepare = ColumnTransformer([("a", StandardScaler(), ["label", "Sub"]), ("b", MinMaxScaler(), ["float64"])])
    model = make_pipeline(prepare, LogisticRegression()).fit(data, data["label"] > 0)
    groups = [entry["columns"] for entry in compile_model(model, inputs(data)).stage["inputs"]]
    assert groups == [["label", "Sub"], ["float64"]]


def test_nothing_twice_and_nothing_unused() -> None:
    graph = Graph(["x"])
    x = graph.input("x", FLOAT, 2)
    two = graph.constant(2.0)
    assert graph.constant(2.0) == two
    assert graph.constant(-0.0) != graph.constant(0.0)
    doubled = graph.arithmetic("Mul", x, two, x)
    assert graph.arithmetic("Mul", x, two, x) is doubled
    graph.arithmetic("Add", x, graph.constant(3.0), x)
    model = graph.finish("test", {"y": doubled, "same": doubled, "copy": x}, [x])
    assert [node.op_type for node in model.graph.node] == ["Mul", "Identity", "Identity"]
    assert len(model.graph.initializer) == 1


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int8", "uint64", "bool"])
def test_largest_value_that_goes_left(dtype: str) -> None:
    kind = np.dtype(dtype)
    thresholds = np.asarray([-1e9, -3.25, -1.0, 0.0, 1e-300, 0.1, 1.0, 2.5, 1e9])

    def forward(raw: np.ndarray) -> np.ndarray:
        return (raw.astype(np.float64) - 0.3) / 1.7

    left = largest_left(kind, forward, thresholds)
    for threshold, value in zip(thresholds, left, strict=True):
        if not np.isfinite(value):
            lowest = (
                kind.type(False) if kind.kind == "b" else np.finfo(kind).min if kind.kind == "f" else np.iinfo(kind).min
            )
            assert forward(np.asarray([lowest]))[0] > threshold
            continue
        assert forward(np.asarray([value], kind))[0] <= threshold
        if kind.kind == "f":
            assert forward(np.nextafter(np.asarray([value], kind), kind.type(np.inf)))[0] > threshold
        elif kind.kind in "iu" and value < np.iinfo(kind).max:
            assert forward(np.asarray([int(value) + 1], kind))[0] > threshold


def test_compiling_imports_no_framework() -> None:
    code = (
        "import sys, monorail.compile, monorail.adapters, monorail.compile.proof\n"
        "from monorail.compile.registry import find_converter\n"
        "Fake = type('StandardScaler', (), {'__module__': 'sklearn.preprocessing._data'})\n"
        "Other = type('Booster', (), {'__module__': 'lightgbm.basic'})\n"
        "found = find_converter(Fake()) and find_converter(Other())\n"
        "bad = {'sklearn', 'lightgbm', 'pandas', 'polars', 'scipy'} & set(sys.modules)\n"
        "sys.exit(0 if found and not bad else str(bad))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
