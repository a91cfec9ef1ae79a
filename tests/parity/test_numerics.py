"""What converters compute with: sums in numpy's order, the error function, distances and kernels, digit for digit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from scipy import special as truth
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise as sklearn_pairwise

from monorail.compile import labels, pairwise, reductions, special
from monorail.compile.columns import Reader, UnreadableError
from monorail.compile.graph import Graph, Tensor
from monorail.compile.registry import Context


def computed(values: np.ndarray, make: Callable[[Context, Tensor], Tensor]) -> np.ndarray:
    """What the runtime gives for a graph over one matrix."""
    graph = Graph()
    context = Context(graph, Reader(graph, []), "model")
    x = graph.input("x", values.dtype, values.shape[1])
    model = graph.finish("test", {"y": make(context, x)}, [x])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": values})[0])


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9, 31, 64, 128, 129, 137, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_are_numpys_to_the_last_bit(width: int, dtype: Any) -> None:
    values = np.random.default_rng(width).normal(0, 1e6, (200, width)).astype(dtype)
    got = computed(values, reductions.numpy_sum)
    np.testing.assert_array_equal(got[:, 0], values.sum(axis=1))


def test_error_function() -> None:
    edges = np.asarray([0.0, -0.0, 0.46875, 4.0, 6.0, 27.0, np.inf, -np.inf, np.nan, 5e-324])
    values = np.concatenate([np.linspace(-8, 8, 20_001), 10.0 ** np.linspace(-300, 300, 601), edges])[:, None]
    np.testing.assert_allclose(computed(values, special.erf), truth.erf(values), rtol=1e-15, atol=0)


def test_sigmoid_keeps_its_tail() -> None:
    values = np.concatenate([np.linspace(-700, 700, 2001), [np.inf, -np.inf, np.nan, -709.0, -745.0]])[:, None]
    np.testing.assert_allclose(computed(values, labels.sigmoid), truth.expit(values), rtol=1e-15, atol=0)


def test_logarithms_of_sums() -> None:
    values = np.random.default_rng(0).normal(0, 300, (500, 5))
    values[:3] = [[-np.inf] * 5, [0.0] * 5, [-np.inf, 1, 2, 3, 4]]
    got = computed(values, reductions.log_of_sum)
    np.testing.assert_allclose(got[:, 0], truth.logsumexp(values, axis=1), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cityblock", "chebyshev"])
def test_distances_feature_by_feature_are_exact(metric: Any) -> None:
    random = np.random.default_rng(0)
    values, points = random.normal(0, 5, (50, 11)), random.normal(0, 5, (40, 11))
    ways = {
        "sqeuclidean": pairwise.squared_differences,
        "cityblock": pairwise.manhattan,
        "chebyshev": pairwise.chebyshev,
    }
    got = computed(values, lambda context, x: ways[metric](context, x, points))
    np.testing.assert_array_equal(got, cdist(values, points, metric))


def test_distances_of_any_power() -> None:
    random = np.random.default_rng(0)
    values, points, weights = random.normal(0, 5, (50, 4)), random.normal(0, 5, (40, 4)), np.asarray([1.0, 0, 2, 3])
    got = computed(values, lambda context, x: pairwise.powered(context, x, points, 3.0, weights))
    np.testing.assert_allclose(got, cdist(values, points, "minkowski", p=3, w=weights) ** 3, rtol=1e-12)


@pytest.mark.parametrize("name", pairwise.KERNELS)
@pytest.mark.parametrize("gamma", [None, 0.3])
def test_kernels(name: str, gamma: float | None) -> None:
    random = np.random.default_rng(0)
    values, points = abs(random.normal(0, 1, (60, 7))), abs(random.normal(0, 1, (40, 7)))
    values[:2], values[2:4] = points[:2], 0.0
    given = {} if gamma is None else {"gamma": gamma}
    wanted = sklearn_pairwise.pairwise_kernels(values, points, metric=name, filter_params=True, **given)
    got = computed(values, lambda context, x: pairwise.kernel(context, x, points, name, gamma=gamma))
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_kernels_nobody_knows() -> None:
    values = np.ones((2, 2))
    for name, reason in ((max, "function of its own"), ("precomputed", "precomputed")):
        with pytest.raises(UnreadableError, match=reason):
            computed(values, lambda context, x, name=name: pairwise.kernel(context, x, values, name))
