"""The proof can be seen to fail: small faults put into a graph by hand, each caught."""

from __future__ import annotations

from collections.abc import Callable

import lightgbm
import numpy as np
import onnx
import pytest
from judge import Case
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from test_models import CLASSES, classes
from test_steps import label, matrix, mixed, prepared

from monorail.errors import ProofError


def changed(case: Case, change: Callable[[onnx.ModelProto], None]) -> bytes:
    graph = onnx.ModelProto()
    graph.CopyFrom(case.compiled.graph)
    change(graph)
    return graph.SerializeToString()


def node(graph: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    return next(entry for entry in graph.graph.node if entry.op_type == operator)


def attribute(owner: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(entry for entry in owner.attribute if entry.name == name)


def edit(owner: onnx.NodeProto, name: str, place: int, change: Callable[[float], float]) -> None:
    tensor = attribute(owner, name).t
    values = numpy_helper.to_array(tensor).copy()
    values[place] = change(values[place])
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.fixture(scope="module")
def case() -> Case:
    frame = mixed(1200)
    model = make_pipeline(
        prepared(), lightgbm.LGBMClassifier(n_estimators=6, num_leaves=15, min_child_samples=10, verbose=-1)
    )
    return Case(model.fit(frame, label(frame)), frame)


def caught(case: Case, graph: bytes) -> ProofError:
    proof = case.compare(graph=graph)
    assert not proof.passed
    with pytest.raises(ProofError) as error:
        proof.check()
    assert error.value.code == "not_proven"
    assert error.value.details[0]["expected"] != error.value.details[0]["got"]
    return error.value


def test_the_untouched_graph_passes(case: Case) -> None:
    case.prove().check()


@pytest.mark.parametrize("leaf", [0, 7, 20, 41, 60, -1])
def test_one_leaf_off_by_a_thousandth(case: Case, leaf: int) -> None:
    def change(graph: onnx.ModelProto) -> None:
        edit(node(graph, "TreeEnsemble"), "leaf_weights", leaf, lambda value: value + 1e-3)

    caught(case, changed(case, change))


def test_thresholds_moved_by_one_step_of_the_float() -> None:
    X = matrix(400)
    model = lightgbm.LGBMRegressor(n_estimators=3, num_leaves=8, min_child_samples=10, verbose=-1)
    case = Case(model.fit(X, X @ np.arange(1, 7)), X)
    splits = numpy_helper.to_array(attribute(node(case.compiled.graph, "TreeEnsemble"), "nodes_splits").t)
    for place in range(len(splits)):
        for direction in (-np.inf, np.inf):

            def change(graph: onnx.ModelProto, place: int = place, direction: float = direction) -> None:
                edit(
                    node(graph, "TreeEnsemble"),
                    "nodes_splits",
                    place,
                    lambda value: float(np.nextafter(value, direction)),
                )

            proof = case.compare(graph=changed(case, change), least_rows=3000)
            assert not proof.passed, f"split {place} moved towards {direction} went unnoticed"


def test_two_classes_swapped(case: Case) -> None:
    def change(graph: onnx.ModelProto) -> None:
        inputs = next(entry for entry in graph.graph.node if "probability" in entry.output).input
        inputs[0], inputs[1] = inputs[1], inputs[0]

    error = caught(case, changed(case, change))
    assert "another label" in error.message


def test_two_of_three_classes_swapped() -> None:
    X = matrix(300)
    case = Case(LogisticRegression(max_iter=500).fit(X, classes(X, CLASSES["three texts"])), X)

    def change(graph: onnx.ModelProto) -> None:
        for entry in graph.graph.initializer:
            if entry.data_type == onnx.TensorProto.STRING:
                entry.string_data[0], entry.string_data[1] = entry.string_data[1], entry.string_data[0]

    proof = case.prove(graph=changed(case, change))
    assert proof.label_mismatches > 0
    assert proof.worst_difference < 1e-9


def test_one_category_dropped(case: Case) -> None:
    def change(graph: onnx.ModelProto) -> None:
        keys = attribute(node(graph, "LabelEncoder"), "keys_strings")
        keys.strings[list(keys.strings).index(b"red")] = b"something else"

    caught(case, changed(case, change))


def test_unproven_is_said_and_nothing_compared_does_not_pass() -> None:
    X = matrix(50)
    case = Case(LogisticRegression().fit(X, classes(X, CLASSES["two"])), X)
    holes = np.full((3, 6), np.nan)
    from monorail.compile.proof import prove
    from monorail.data import to_arrow

    proof = prove(case.original, case.engine(), to_arrow(holes))
    assert (proof.refused_by_original, proof.passed) == (3, False)
    with pytest.raises(ProofError, match="refused every row"):
        proof.check()
