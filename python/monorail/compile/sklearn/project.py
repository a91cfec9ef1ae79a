"""Linear projections: principal and other components, random ones, and sparse codes with a closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .. import labels
from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, kernel, kernel_parameters, points_of, row_sum, scaled
from ..registry import Context, converter
from .maths import floats, product
from .pursuit import coded
from .scale import elementwise

_DOUBLE = np.dtype(np.float64)
_DECOMPOSITION = "sklearn.decomposition"


@converter(f"{_DECOMPOSITION}._pca.PCA", f"{_DECOMPOSITION}._incremental_pca.IncrementalPCA")
def principal_components(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`X @ components.T - mean @ components.T`, divided by the deviations where it whitens."""
    components = np.asarray(model.components_)
    shift = np.asarray(model.mean_).reshape(1, -1) @ components.T
    scores = product(context, matrix, components.T, -shift)
    if model.whiten:
        scale = np.sqrt(np.asarray(model.explained_variance_))
        scores = scaled(context, "Div", scores, np.maximum(scale, np.finfo(scale.dtype).eps))
    return floats(context, matrix, scores, components)


@converter(
    f"{_DECOMPOSITION}._truncated_svd.TruncatedSVD",
    "sklearn.random_projection.GaussianRandomProjection",
    "sklearn.random_projection.SparseRandomProjection",
    "sklearn.neighbors._nca.NeighborhoodComponentsAnalysis",
)
def projection(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`X @ components.T`."""
    return floats(context, matrix, product(context, matrix, model.components_.T), model.components_)


def _centred(context: Context, matrix: Matrix, mean: Any) -> Matrix:
    values = np.asarray(mean)
    widened = replace(matrix, dtype=np.result_type(matrix.floating(), values.dtype))
    return elementwise(context, widened, [("Sub", values)])


@converter(f"{_DECOMPOSITION}._fastica.FastICA")
def independent_components(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """`(X - mean) @ components.T`; the mean only where it whitens."""
    centred = _centred(context, matrix, model.mean_) if model.whiten else matrix
    return floats(context, matrix, product(context, centred, model.components_.T), model.components_)


@converter(f"{_DECOMPOSITION}._factor_analysis.FactorAnalysis")
def factor_analysis(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The expected factors: two products, the second with a small matrix."""
    components = np.asarray(model.components_)
    weighted = components / model.noise_variance_
    covariance = np.linalg.inv(np.eye(len(components)) + weighted @ components.T)
    inner = product(context, _centred(context, matrix, model.mean_), weighted.T)
    graph = context.graph
    outer = graph.node("MatMul", [inner, graph.constant(covariance, inner.dtype)], inner.dtype, len(components))
    return floats(context, matrix, outer, components)


@converter(f"{_DECOMPOSITION}._sparse_pca.SparsePCA", f"{_DECOMPOSITION}._sparse_pca.MiniBatchSparsePCA")
def sparse_components(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """A ridge regression of the row on the components, which is a product with a fixed matrix."""
    components = np.asarray(model.components_, _DOUBLE)
    gram = components @ components.T + model.ridge_alpha * np.eye(len(components))
    try:
        weights = np.linalg.solve(gram, components)
    except np.linalg.LinAlgError as error:
        raise context.refuse(model, "its components are singular without a ridge (ridge_alpha)") from error
    return floats(context, matrix, product(context, _centred(context, matrix, model.mean_), weights.T), components)


@converter(
    f"{_DECOMPOSITION}._dict_learning.DictionaryLearning",
    f"{_DECOMPOSITION}._dict_learning.MiniBatchDictionaryLearning",
    f"{_DECOMPOSITION}._dict_learning.SparseCoder",
)
def sparse_code(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Soft thresholds of the products with the atoms, or a pursuit of few atoms; other codings are searches."""
    atoms = np.asarray(model.components_ if hasattr(model, "components_") else model.dictionary)
    code = coded(context, model, product(context, matrix, atoms.T), atoms)
    if model.split_sign:
        below = apply(context, "Neg", scaled(context, "Min", code, 0.0))
        code = context.graph.concat([scaled(context, "Max", code, 0.0), below])
        return floats(context, replace(matrix, dtype=_DOUBLE), code)
    return floats(context, matrix, code, atoms)


@converter("sklearn.neural_network._rbm.BernoulliRBM")
def hidden_units(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The probability of each hidden unit."""
    scores = product(context, matrix, model.components_.T, model.intercept_hidden_)
    return floats(context, matrix, labels.sigmoid(context, scores), model.components_)


@converter("sklearn.cluster._agglomerative.FeatureAgglomeration")
def feature_agglomeration(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The mean of each group of features, or their largest or smallest."""
    pooling, groups = model.pooling_func, np.asarray(model.labels_)
    count = int(groups.max()) + 1
    if pooling is np.mean:
        # The original counts in double precision whatever it is given.
        members = (groups[:, None] == np.arange(count)).astype(_DOUBLE)
        total = product(context, matrix, members)
        mean = scaled(context, "Div", total, members.sum(axis=0))
        return floats(context, replace(matrix, dtype=_DOUBLE), mean)
    operators = {np.max: "ReduceMax", np.min: "ReduceMin", np.sum: "ReduceSum"}
    operator = next((name for function, name in operators.items() if pooling is function), None)
    if operator is None:
        raise context.refuse(model, "it pools features with a function other than mean, sum, max and min")
    graph, parts = context.graph, []
    tensor = context.reader.ordered(matrix, _DOUBLE)
    axes = graph.constant([1], np.dtype(np.int64))
    for group in range(count):
        part = graph.gather(tensor, np.flatnonzero(groups == group).tolist())
        parts.append(graph.node(operator, [part, axes], _DOUBLE, 1, attributes={"keepdims": 1}))
    return floats(context, matrix, graph.concat(parts))


@converter(f"{_DECOMPOSITION}._kernel_pca.KernelPCA")
def kernel_components(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The centred kernel with the fitted rows, projected."""
    points = points_of(model.X_fit_)
    x = context.reader.ordered(matrix, _DOUBLE)
    parameters = dict(kernel_parameters(model)) | {"gamma": getattr(model, "gamma_", model.gamma)}
    values = kernel(context, x, points, model.kernel, **parameters)
    centred = centred_kernel(context, model._centerer, values)
    alphas, graph = scaled_vectors(model), context.graph
    result = graph.node("MatMul", [centred, graph.constant(alphas, _DOUBLE)], _DOUBLE, alphas.shape[1])
    return floats(context, matrix, result, alphas)


def scaled_vectors(model: Any) -> np.ndarray:
    """A kernel PCA's eigenvectors divided by the roots of their eigenvalues, zero where there is none."""
    vectors, sizes = np.asarray(model.eigenvectors_), np.asarray(model.eigenvalues_)
    kept = np.flatnonzero(sizes)
    alphas = np.zeros_like(vectors)
    alphas[:, kept] = vectors[:, kept] / np.sqrt(sizes[kept])
    return alphas


@converter("sklearn.preprocessing._data.KernelCenterer")
def kernel_centerer(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Rows of a kernel matrix, centred."""
    values = context.reader.ordered(matrix, _DOUBLE)
    return floats(context, matrix, centred_kernel(context, model, values))


def centred_kernel(context: Context, centerer: Any, values: Tensor) -> Tensor:
    """Rows of a kernel matrix centred in the space of the kernel."""
    graph, rows = context.graph, np.asarray(centerer.K_fit_rows_, _DOUBLE)
    mean = scaled(context, "Div", row_sum(context, values), float(len(rows)))
    apart = scaled(context, "Sub", values, rows)
    apart = graph.arithmetic("Sub", apart, mean, apart)
    return scaled(context, "Add", apart, float(centerer.K_fit_all_))


@converter("sklearn.feature_extraction.text.TfidfTransformer")
def tf_idf(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Counts, damped if asked, times the inverse document frequencies, to unit length."""
    graph, kept = context.graph, matrix.floating()
    x = context.reader.ordered(matrix, _DOUBLE)
    if model.sublinear_tf:
        none = graph.node("Equal", [x, graph.constant(0.0)], np.bool_, x.width)
        damped = scaled(context, "Add", apply(context, "Log", x), 1.0)
        x = graph.node("Where", [none, graph.constant(0.0), damped], _DOUBLE, x.width)
    if hasattr(model, "idf_"):
        x = scaled(context, "Mul", x, np.asarray(model.idf_, _DOUBLE))
    if model.norm is not None:
        x = _to_unit(context, x, model.norm)
    result = floats(context, matrix, x)
    return Matrix(result.features, kept, True)


def _to_unit(context: Context, x: Tensor, norm: str) -> Tensor:
    graph = context.graph
    if norm == "l1":
        length = row_sum(context, apply(context, "Abs", x))
    else:
        length = apply(context, "Sqrt", row_sum(context, graph.arithmetic("Mul", x, x, x)))
    none = graph.node("Equal", [length, graph.constant(0.0)], np.bool_, 1)
    length = graph.node("Where", [none, graph.constant(1.0), length], _DOUBLE, 1)
    return graph.arithmetic("Div", x, length, x)
