"""Models in files: opened, saved, and answering as the model that was written; and files that mean harm."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import catboost
import cloudpickle
import joblib
import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
import xgboost
import yaml
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import monorail as mr
from monorail.adapters.files import example_of, open_model
from monorail.adapters.pickles import imports_of, unusual
from monorail.errors import CompileError, InputError, TrustError

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def iris() -> tuple[pd.DataFrame, pd.Series]:
    data: Any = load_iris(return_X_y=True, as_frame=True)
    X, y = data
    return X.rename(columns=lambda name: name.partition(" (")[0].replace(" ", "_")), y


@pytest.fixture(scope="module")
def pipeline(iris: Any) -> Any:
    return make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=4, random_state=0)).fit(*iris)


def network(
    rows: str | int | None = "rows", *, shape: tuple[int, ...] = (4,), weights: onnx.TensorProto | None = None
) -> onnx.ModelProto:
    """A matrix product and a ReLU."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, *shape[:-1], 3])],
        [weights or numpy_helper.from_array(WEIGHTS, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def classifier() -> onnx.ModelProto:
    """As skl2onnx writes one: labels, and probabilities as a list of dicts."""
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "numbers"],
            domain="ai.onnx.ml",
            coefficients=WEIGHTS.T.ravel().tolist(),
            intercepts=[0.0, 0.1, 0.2],
            classlabels_strings=["no", "perhaps", "yes"],
            post_transform="SOFTMAX",
        ),
        helper.make_node(
            "ZipMap",
            ["numbers"],
            ["probabilities"],
            domain="ai.onnx.ml",
            classlabels_strings=["no", "perhaps", "yes"],
        ),
    ]
    element = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
        helper.make_value_info("probabilities", helper.make_sequence_type_proto(element)),
    ]
    graph = helper.make_graph(
        nodes, "classifier", [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])], outputs
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(model: Any, example: Any, **options: Any) -> mr.Model:
    """Saved, proven, and loaded again."""
    version = mr.save(model, "m", example=example, registry="registry", quiet=True, **options)
    assert version.proof.passed
    assert version.engine == "native"
    return mr.load(f"m@{version.version}", registry="registry")


# ONNX files


@pytest.mark.parametrize("rows", ["rows", 1, 7, None])
def test_onnx_file_of_any_batch(rows):
    onnx.save(network(rows), "net.onnx")
    X = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    model = save("net.onnx", X)
    np.testing.assert_allclose(model.predict(X), np.maximum(X @ WEIGHTS, 0), rtol=1e-5, atol=1e-6)
    one = model.predict(X[:1])
    assert one.shape == (1, 3)


def test_onnx_file_takes_columns_of_a_frame_side_by_side(iris):
    X = iris[0].assign(sepal_width=lambda frame: (10 * frame.sepal_width).astype(np.int64))
    model = save(network(), X)
    expected = np.maximum(X.to_numpy().astype(np.float32) @ WEIGHTS, 0)
    np.testing.assert_allclose(np.stack(model.predict(X)["prediction"]), expected, rtol=1e-5, atol=1e-5)


def test_onnx_classifier_of_skl2onnx(iris):
    model = save(classifier(), iris[0])
    assert [(output.name, output.names) for output in model.signature.outputs] == [
        ("label", None),
        ("probability", ("no", "perhaps", "yes")),
    ]
    answers = model.predict(iris[0])
    assert set(answers["label"]) <= {"no", "perhaps", "yes"}
    best = np.stack(answers["probability"]).argmax(axis=1)
    assert list(answers["label"]) == [("no", "perhaps", "yes")[place] for place in best]


def test_onnx_file_with_named_inputs_of_several_types():
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["word"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["a", "b"],
            values_floats=[1.0, 2.0],
            default_float=-1.0,
        ),
        helper.make_node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["code", "number"], ["total"]),
    ]
    graph = helper.make_graph(
        nodes,
        "named",
        [
            helper.make_tensor_value_info("word", TensorProto.STRING, [None, 1]),
            helper.make_tensor_value_info("count", TensorProto.INT64, [None, 1]),
        ],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    frame = pd.DataFrame({"count": np.arange(6), "word": ["a", "b", "c", "a", "b", "c"]})
    model = save(helper.make_model(graph, opset_imports=opsets, ir_version=8), frame)
    assert list(model.predict(frame)["prediction"]) == [1, 3, 1, 4, 6, 4]
    with pytest.raises(CompileError, match="may be null"):
        save(helper.make_model(graph, opset_imports=opsets, ir_version=8), frame, nullable=["word"], engine="native")


def test_onnx_output_of_many_dimensions_becomes_a_list():
    X = np.random.default_rng(1).normal(size=(20, 5, 4)).astype(np.float32)
    model = save(network(shape=(5, 4)), X)
    assert model.signature.outputs[0].size == 15
    np.testing.assert_allclose(model.predict(X), np.maximum(X @ WEIGHTS, 0).reshape(20, 15), rtol=1e-5, atol=1e-6)


def test_onnx_file_of_old_versions():
    model = network()
    model.ir_version = 3
    model.opset_import[0].version = 9
    model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 3]))
    X = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_allclose(save(model, X).predict(X), np.maximum(X @ WEIGHTS, 0), rtol=1e-5, atol=1e-6)


def test_onnx_data_beside_the_file_is_brought_in(tmp_path):
    onnx.save(network(), "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    assert (tmp_path / "net.data").stat().st_size >= WEIGHTS.nbytes
    X = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_allclose(save("net.onnx", X).predict(X), np.maximum(X @ WEIGHTS, 0), rtol=1e-5, atol=1e-6)


def outside(location: str, **more: str) -> bytes:
    """A network whose weights lie somewhere else."""
    weights = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        weights.external_data.add(key=key, value=value)
    return network(weights=weights).SerializeToString()


def test_onnx_data_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    for location in ("../secret", str(tmp_path / "secret"), "link", "a/../../secret", "..\\secret"):
        (folder / "net.onnx").write_bytes(outside(location))
        with pytest.raises(TrustError, match="outside its folder"):
            open_model(folder / "net.onnx", trust=True)
    (folder / "data").write_bytes(WEIGHTS.tobytes())
    for more in ({"length": "1000000000000"}, {"offset": "-8"}, {"offset": "x"}, {"length": str(1 << 62)}):
        (folder / "net.onnx").write_bytes(outside("data", **more))
        with pytest.raises(InputError, match="cannot be opened"):
            open_model(folder / "net.onnx")


def test_onnx_graph_with_strange_operators_or_dimensions_is_refused():
    X = np.zeros((3, 4), np.float32)
    model = network()
    model.graph.node[0].domain = "evil"
    model.opset_import.append(helper.make_opsetid("evil", 1))
    with pytest.raises(CompileError, match="operators of evil"):
        save(model, X, engine="native")
    model = network()
    model.graph.initializer[0].dims[0] = 1 << 40
    with pytest.raises(CompileError, match="ONNX Runtime refuses the graph"):
        save(model, X, engine="native")
    model = network(shape=(1 << 30, 4))
    with pytest.raises(CompileError, match="has rows of shape"):
        save(model, X, engine="native")
    Path("net.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"net\.onnx cannot be opened"):
        open_model("net.onnx")


# What other frameworks write


def test_native_files_of_boosters(iris):
    X, y = iris
    models = {
        "lightgbm.txt": lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(X, y),
        "xgboost.json": xgboost.XGBClassifier(n_estimators=5).fit(X, y),
        "xgboost.ubj": xgboost.XGBRegressor(n_estimators=5).fit(X, y),
        "catboost.cbm": catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False).fit(X, y),
        "catboost.json": catboost.CatBoostRegressor(iterations=5, verbose=False, allow_writing_files=False).fit(X, y),
    }
    for name, model in models.items():
        if name.startswith("lightgbm"):
            model.booster_.save_model(name)
            expected = model.predict_proba(X)
        else:
            model.save_model(name, **({"format": "json"} if name == "catboost.json" else {}))
            expected = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
        answers = save(name, X).predict(X)
        found = answers["probability"] if "probability" in answers else answers["prediction"]
        np.testing.assert_allclose(np.stack(found), expected, rtol=1e-5, atol=1e-6, err_msg=name)
        if "label" in answers:
            assert list(answers["label"]) == list(np.ravel(model.predict(X))), name


def test_what_is_no_booster_is_refused():
    Path("notes.txt").write_text("remember the milk")
    with pytest.raises(InputError, match="is not a model of LightGBM"):
        open_model("notes.txt")
    Path("notes.json").write_text('{"remember": "the milk"}')
    with pytest.raises(InputError, match="cannot be opened"):
        open_model("notes.json")
    Path("notes.cbm").write_text("remember the milk")
    with pytest.raises(InputError, match="cannot be opened"):
        open_model("notes.cbm")


# skops


@pytest.mark.parametrize("kind", ["sklearn", "lightgbm", "xgboost", "catboost"])
def test_skops_file_of_a_known_framework_needs_no_trust(kind, iris, pipeline):
    X, y = iris
    model = {
        "sklearn": lambda: pipeline,
        "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, y),
        "xgboost": lambda: xgboost.XGBClassifier(n_estimators=3).fit(X, y),
        "catboost": lambda: catboost.CatBoostClassifier(3, verbose=False, allow_writing_files=False).fit(X, y),
    }[kind]()
    skops.io.dump(model, "model.skops")
    answers = save("model.skops", X).predict(X)
    assert list(answers["label"]) == list(np.ravel(model.predict(X)))


def test_skops_file_with_a_strange_type_is_refused_by_name(iris):
    model = make_pipeline(FunctionTransformer(os.path.join), LogisticRegression())
    skops.io.dump(model, "model.skops")
    with pytest.raises(TrustError, match=r"types that may run any code: posixpath\.join"):
        open_model("model.skops")
    assert open_model("model.skops", trust=True).steps[0][1].func is os.path.join


# Archives


def bomb(path: str, name: str = "schema.json") -> None:
    """An archive that says it unpacks to 8 GB: as written it would be a gigabyte of zeros a few times over."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, "{}")
    held = bytearray(Path(path).read_bytes())
    entry = held.index(b"PK\x01\x02")
    held[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    Path(path).write_bytes(held)


@pytest.mark.parametrize("path", ["model.skops", "model.keras", "model.pt2"])
def test_an_archive_that_unpacks_to_too_much_is_refused(path):
    bomb(path)
    with pytest.raises(TrustError, match="would unpack to 4,294,967,280"):
        open_model(path, trust=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside", "x")
    with pytest.raises(TrustError, match="would unpack a file outside its folder"):
        open_model(path, trust=True)
    Path(path).write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be opened"):
        open_model(path, trust=True)


# Pickles


class Evil:
    """What a hostile pickle does when it is opened."""

    def __reduce__(self) -> Any:
        return os.system, ("touch opened",)


@pytest.mark.parametrize("name", ["evil.pkl", "evil.joblib", "evil.gz.joblib", "evil.z.joblib"])
def test_a_pickle_is_listed_and_not_opened_without_trust(name, pipeline):
    held = {"model": pipeline, "words": np.array(["a", None], object), "matrix": np.ones((300, 4)), "evil": Evil()}
    if name.endswith(".pkl"):
        Path(name).write_bytes(pickle.dumps(held, protocol=2))
    else:
        compress: Any = ("gzip", 3) if ".gz." in name else 3 if ".z." in name else 0
        joblib.dump(held, name, compress=compress)
    with pytest.raises(TrustError) as caught:
        open_model(name)
    assert "posix.system" in caught.value.message
    assert "sklearn.tree._classes.DecisionTreeClassifier" in caught.value.message
    assert "numpy" not in caught.value.message
    assert not Path("opened").exists()
    open_model(name, trust=True)
    assert Path("opened").exists()


def test_a_pickle_is_listed_as_far_as_it_can_be_read(tmp_path):
    path = tmp_path / "cut.pkl"
    whole = pickle.dumps([Evil(), "x" * 100])
    path.write_bytes(whole[:-50])
    names, stopped = imports_of(path)
    assert unusual(names) == ["posix.system"]
    assert stopped
    with pytest.raises(TrustError, match="cannot be told to its end"):
        open_model(path)
    path.write_bytes(b"cposix\nsystem\n(S'touch opened'\ntR.")
    assert imports_of(path) == (["posix.system"], "")
    path.write_bytes(b"\x80\x02\x82\x01.")
    assert imports_of(path)[0] == ["copyreg extension 1"]
    assert not Path("opened").exists()


def test_pickles_are_saved_with_trust(iris, pipeline, capsys):
    joblib.dump(pipeline, "model.joblib")
    with pytest.raises(TrustError):
        mr.save("model.joblib", "m", example=iris[0])
    mr.save("model.joblib", "m", example=iris[0], trust=True)
    said = capsys.readouterr().err
    assert said.startswith("opening model.joblib, which imports sklearn.pipeline.Pipeline, ")
    assert list(mr.load("m").predict(iris[0])["label"]) == list(pipeline.predict(iris[0]))


# MLflow folders


def mlflow_folder(path: Path, flavours: dict[str, Any], **more: Any) -> Path:
    """A folder as MLflow writes it."""
    path.mkdir()
    (path / "MLmodel").write_text(yaml.safe_dump({"artifact_path": "model", "flavors": flavours, **more}))
    return path


def test_mlflow_folder_of_scikit_learn(tmp_path, iris, pipeline):
    X = iris[0]
    flavour = {"pickled_model": "model.skops", "serialization_format": "skops", "skops_trusted_types": ["os.system"]}
    signature = {"inputs": json.dumps([{"name": name, "type": "double", "required": True} for name in X])}
    folder = mlflow_folder(
        tmp_path / "model",
        {"sklearn": flavour, "python_function": {"loader_module": "mlflow.sklearn"}},
        signature=signature,
        saved_input_example_info={"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"},
    )
    skops.io.dump(pipeline, folder / "model.skops")
    (folder / "input_example.json").write_text(
        X.head(20).round().to_json(orient="split", index=False, double_precision=0)
    )
    model = save(folder, None)
    assert list(model.predict(X)["label"]) == list(pipeline.predict(X))
    assert [column.type for column in model.signature.inputs] == ["float64"] * 4


@pytest.mark.parametrize("kind", ["lightgbm", "xgboost", "catboost", "onnx"])
def test_mlflow_folder_of_other_frameworks(kind, tmp_path):
    data: Any = load_diabetes(return_X_y=True, as_frame=True)
    X, y = data
    fitted: Any = None
    file = {"lightgbm": "model.lgb", "xgboost": "model.ubj", "catboost": "model.cb", "onnx": "model.onnx"}[kind]
    folder = mlflow_folder(tmp_path / "model", {kind: {"data": file}})
    if kind == "lightgbm":
        fitted = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(X, y)
        fitted.booster_.save_model(folder / file)
    elif kind == "xgboost":
        fitted = xgboost.XGBRegressor(n_estimators=5).fit(X, y)
        fitted.save_model(folder / file)
    elif kind == "catboost":
        fitted = catboost.CatBoostRegressor(iterations=5, verbose=False, allow_writing_files=False).fit(X, y)
        fitted.save_model(str(folder / file))
    else:
        onnx.save(network(), folder / file)
        X = X.iloc[:, :4]
    answers = np.stack(save(folder, X).predict(X)["prediction"])
    expected = np.maximum(X.to_numpy(np.float32) @ WEIGHTS, 0) if kind == "onnx" else fitted.predict(X)
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-6)


def test_mlflow_pickle_needs_trust(tmp_path, iris, pipeline):
    folder = mlflow_folder(tmp_path / "model", {"sklearn": {"pickled_model": "model.pkl"}})
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(pipeline))
    with pytest.raises(TrustError, match=r"sklearn\.pipeline\.Pipeline"):
        open_model(folder)
    assert list(save(folder, iris[0], trust=True).predict(iris[0])["label"]) == list(pipeline.predict(iris[0]))


def test_mlflow_folder_that_points_outside_is_refused(tmp_path, pipeline):
    skops.io.dump(pipeline, tmp_path / "outside.skops")
    for number, name in enumerate(("../outside.skops", str(tmp_path / "outside.skops"), "link.skops")):
        folder = mlflow_folder(tmp_path / f"model{number}", {"sklearn": {"pickled_model": name}})
        (folder / "link.skops").symlink_to(tmp_path / "outside.skops")
        with pytest.raises(TrustError, match="outside its folder"):
            open_model(folder, trust=True)
    info = {"artifact_path": "../outside.skops"}
    folder = mlflow_folder(tmp_path / "example", {"sklearn": {}}, saved_input_example_info=info)
    with pytest.raises(TrustError, match="outside its folder"):
        example_of(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch opened']", "MLmodel is no YAML"),
        ("- a list", "MLmodel holds no fields"),
        ("flavors: {h2o: {}}", "has the MLflow flavours h2o"),
        ("flavors: {sklearn: {pickled_model: 3}}", "names no file where it should"),
        ("flavors: {sklearn: {pickled_model: gone.skops}}", "does not exist"),
        ("a: b", "has the MLflow flavours none"),
        ("x" * (1 << 23), "MLmodel has 8,388,608 bytes"),
    ],
)
def test_odd_mlflow_folders_are_refused(tmp_path, text, message):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(text)
    with pytest.raises(InputError, match=message):
        open_model(folder, trust=True)
    assert not Path("opened").exists()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_model("gone.onnx")
    Path("model.bin").touch()
    with pytest.raises(InputError, match="of a kind that is not read"):
        open_model("model.bin")
    with pytest.raises(InputError, match="of a kind that is not read"):
        open_model(tmp_path)
