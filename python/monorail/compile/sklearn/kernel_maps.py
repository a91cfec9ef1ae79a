"""Approximate feature maps of kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..columns import Matrix
from ..graph import Tensor
from ..pairwise import apply, kernel, points_of, scaled
from ..registry import Context, converter
from .maths import floats, product, where

_DOUBLE = np.dtype(np.float64)
_MODULE = "sklearn.kernel_approximation"
_KERNEL_PARAMETERS = ("gamma", "coef0", "degree")


@converter(f"{_MODULE}.Nystroem")
def nystroem(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """The kernel with the fitted basis rows, normalised."""
    if callable(model.kernel):
        raise context.refuse(model, "its kernel is a function of its own")
    given = dict(model.kernel_params or {})
    for name in _KERNEL_PARAMETERS:
        if getattr(model, name) is not None:
            given[name] = getattr(model, name)
    x = context.reader.ordered(matrix, _DOUBLE)
    known = {name: value for name, value in given.items() if name in _KERNEL_PARAMETERS}
    values = kernel(context, x, points_of(model.components_), model.kernel, **known)
    weights = np.asarray(model.normalization_, _DOUBLE).T
    graph = context.graph
    result = graph.node("MatMul", [values, graph.constant(np.ascontiguousarray(weights))], _DOUBLE, weights.shape[1])
    return floats(context, matrix, result, model.normalization_)


def _waves(context: Context, matrix: Matrix, model: Any, factor: float) -> Matrix:
    """`cos(X @ weights + offset) * factor`."""
    angle = product(context, matrix, model.random_weights_, model.random_offset_)
    waves = scaled(context, "Mul", apply(context, "Cos", angle), factor)
    return floats(context, matrix, waves, model.random_weights_)


@converter(f"{_MODULE}.RBFSampler")
def rbf_sampler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Cosines of random projections."""
    context.only_near("takes cosines: of numbers far outside its data (1e15, say) they are rounding alone")
    return _waves(context, matrix, model, (2.0 / model.n_components) ** 0.5)


@converter(f"{_MODULE}.SkewedChi2Sampler")
def skewed_chi2_sampler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Cosines of random projections of logarithms."""
    x = scaled(context, "Add", context.reader.ordered(matrix, _DOUBLE), float(model.skewedness))
    logarithm = floats(context, matrix, apply(context, "Log", x))
    return _waves(context, logarithm, model, float(np.sqrt(2.0) / np.sqrt(model.n_components)))


@converter(f"{_MODULE}.AdditiveChi2Sampler")
def additive_chi2_sampler(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Samples of the kernel's spectrum: a root, then cosines and sines of multiples of the logarithm."""
    graph = context.graph
    interval = (
        {1: 0.8, 2: 0.5, 3: 0.4}.get(model.sample_steps) if model.sample_interval is None else model.sample_interval
    )
    if interval is None:
        raise context.refuse(model, "sample_interval is not set")
    x = context.reader.ordered(matrix, _DOUBLE)
    none = graph.node("Equal", [x, graph.constant(0.0)], np.bool_, x.width)

    def kept(values: Tensor) -> Tensor:
        return where(context, none, 0.0, values, x)

    parts = [kept(apply(context, "Sqrt", scaled(context, "Mul", x, interval)))]
    logarithm = scaled(context, "Mul", apply(context, "Log", x), interval)
    step = scaled(context, "Mul", scaled(context, "Mul", x, 2.0), interval)
    for number in range(1, int(model.sample_steps)):
        factor = apply(context, "Sqrt", scaled(context, "Div", step, float(np.cosh(np.pi * number * interval))))
        angle = scaled(context, "Mul", logarithm, float(number))
        for wave in ("Cos", "Sin"):
            parts.append(kept(graph.arithmetic("Mul", factor, apply(context, wave, angle), x)))
    result = floats(context, matrix, graph.concat(parts))
    return Matrix(result.features, result.dtype, matrix.sparse)


@converter(f"{_MODULE}.PolynomialCountSketch")
def polynomial_count_sketch(context: Context, model: Any, matrix: Matrix) -> Matrix:
    """Convolved sketches of the features: products of their Fourier transforms, taken as matrix products."""
    context.only_near(
        "transforms products: what is small beside a row's largest feature is rounding far outside its data"
    )
    graph, count = context.graph, int(model.n_components)
    places, signs = np.asarray(model.indexHash_), np.asarray(model.bitHash_, _DOUBLE)
    angles = 2 * np.pi * (np.outer(np.arange(count), np.arange(count // 2 + 1)) % count) / count
    forward = (np.cos(angles), -np.sin(angles))
    real, imaginary = None, None
    for place, sign in zip(places, signs, strict=True):
        sketch = _sketch(context, model, matrix, place, sign)
        parts = [graph.node("MatMul", [sketch, graph.constant(wave)], _DOUBLE, wave.shape[1]) for wave in forward]
        if real is None or imaginary is None:
            real, imaginary = parts
            continue
        crossed = [graph.arithmetic("Mul", left, right, left) for left in (real, imaginary) for right in parts]
        real = graph.arithmetic("Sub", crossed[0], crossed[3], real)
        imaginary = graph.arithmetic("Add", crossed[1], crossed[2], imaginary)
    if real is None or imaginary is None:
        raise context.refuse(model, "its degree is 0")
    # Of a real signal the upper half of the transform mirrors the lower, except at both ends.
    twice = np.full(count // 2 + 1, 2.0 / count)
    twice[0] = 1.0 / count
    if count % 2 == 0:
        twice[-1] = 1.0 / count
    both = graph.concat([real, imaginary])
    back = np.ascontiguousarray(np.concatenate([wave * twice for wave in forward], axis=1).T)
    result = graph.node("MatMul", [both, graph.constant(back)], _DOUBLE, count)
    return floats(context, replace(matrix, dtype=_DOUBLE), result)


def _sketch(context: Context, model: Any, matrix: Matrix, place: np.ndarray, sign: np.ndarray) -> Tensor:
    """Each feature added, with its sign, to its place among the components."""
    weights = np.zeros((matrix.width, int(model.n_components)))
    weights[np.arange(matrix.width), place[: matrix.width]] = sign[: matrix.width]
    bias = np.zeros(int(model.n_components))
    if model.coef0 != 0:
        bias[place[-1]] = sign[-1] * np.sqrt(model.coef0)
    return product(context, replace(matrix, dtype=_DOUBLE), weights * np.sqrt(model.gamma), bias)
