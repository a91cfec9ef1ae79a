"""Projections, kernel maps, feature selection and embeddings against the original on held-out and hard rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judge import Case, assert_equal
from real_data import CANCER, DIGITS, IRIS, KINDS, SPECIES, WINE
from sklearn.cluster import FeatureAgglomeration
from sklearn.datasets import load_wine
from sklearn.decomposition import (
    NMF,
    PCA,
    DictionaryLearning,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    KernelPCA,
    LatentDirichletAllocation,
    MiniBatchDictionaryLearning,
    MiniBatchSparsePCA,
    SparseCoder,
    SparsePCA,
    TruncatedSVD,
)
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.impute import KNNImputer
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    PolynomialCountSketch,
    RBFSampler,
    SkewedChi2Sampler,
)
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.manifold import Isomap, LocallyLinearEmbedding
from sklearn.neighbors import KNeighborsTransformer, NeighborhoodComponentsAnalysis, RadiusNeighborsTransformer
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.tree import DecisionTreeClassifier

from monorail.errors import CompileError

SCALED: Any = StandardScaler().fit_transform(WINE)
POSITIVE: Any = MinMaxScaler().fit_transform(WINE)


def check(model: Any, X: np.ndarray, y: Any = None, **options: Any) -> Case:
    """Fits on two thirds and proves on the rest."""
    order = np.random.default_rng(0).permutation(len(X))
    fitted, held_out = np.sort(order[: len(X) * 2 // 3]), np.sort(order[len(X) * 2 // 3 :])
    model = make_pipeline(model).fit(X[fitted], None if y is None else y[fitted])
    return assert_equal(model, X[fitted], X[held_out], **options)


PROJECTIONS: dict[str, tuple[Any, np.ndarray]] = {
    "pca": (PCA(4), WINE),
    "pca whitened": (PCA(4, whiten=True), WINE),
    "pca share": (make_pipeline(StandardScaler(), PCA(0.95)), CANCER),
    "pca of digits": (PCA(20), DIGITS[:400]),
    "incremental pca": (IncrementalPCA(3), WINE),
    "incremental pca whitened": (IncrementalPCA(3, whiten=True), WINE),
    "svd": (TruncatedSVD(3), WINE),
    "factors": (FactorAnalysis(3), WINE),
    "factors rotated": (FactorAnalysis(3, rotation="varimax"), SCALED),
    "ica": (FastICA(3, random_state=0, max_iter=1000, tol=1e-3), WINE),
    "ica arbitrary": (FastICA(3, random_state=0, whiten="arbitrary-variance"), SCALED),
    "sparse pca": (SparsePCA(3, random_state=0, max_iter=20), SCALED),
    "sparse pca without a ridge": (SparsePCA(3, ridge_alpha=0, random_state=0, max_iter=20), SCALED),
    "mini-batch sparse pca": (MiniBatchSparsePCA(3, random_state=0, max_iter=20), SCALED),
    "dictionary": (
        DictionaryLearning(3, transform_algorithm="threshold", transform_alpha=0.3, max_iter=5, random_state=0),
        SCALED,
    ),
    "dictionary, signs apart": (
        DictionaryLearning(3, transform_algorithm="threshold", split_sign=True, max_iter=5, random_state=0),
        SCALED,
    ),
    "mini-batch dictionary": (
        MiniBatchDictionaryLearning(
            3, transform_algorithm="threshold", positive_code=True, fit_algorithm="cd", max_iter=5, random_state=0
        ),
        SCALED,
    ),
    "coder": (SparseCoder(SCALED[:4], transform_algorithm="threshold", transform_alpha=0.5), SCALED),
    "rbm": (BernoulliRBM(5, n_iter=2, random_state=0), POSITIVE),
    "gaussian": (GaussianRandomProjection(5, random_state=0), CANCER),  # pyright: ignore[reportArgumentType]
    "sparse": (SparseRandomProjection(5, random_state=0), CANCER),  # pyright: ignore[reportArgumentType]
    "sparse, dense output": (SparseRandomProjection(5, random_state=0, dense_output=True), CANCER),  # pyright: ignore[reportArgumentType]
    "tf-idf": (TfidfTransformer(), DIGITS[:400]),
    "tf-idf damped": (TfidfTransformer(norm="l1", sublinear_tf=True), DIGITS[:400]),
    "tf only": (TfidfTransformer(norm=None, use_idf=False), DIGITS[:400]),  # pyright: ignore[reportArgumentType]
    "agglomeration": (FeatureAgglomeration(3), WINE),
    "agglomeration, largest": (FeatureAgglomeration(3, pooling_func=np.max), WINE),
    "agglomeration, smallest": (FeatureAgglomeration(3, pooling_func=np.min), WINE),
    "agglomeration, sums": (FeatureAgglomeration(3, pooling_func=np.sum), WINE),
}


@pytest.mark.parametrize("name", PROJECTIONS)
def test_projection(name: str) -> None:
    model, X = PROJECTIONS[name]
    check(model, X)


@pytest.mark.parametrize("model", [PCA(3), TruncatedSVD(3), FactorAnalysis(2)], ids=["pca", "svd", "factors"])
def test_projection_in_single_precision(model: Any) -> None:
    check(model, SCALED.astype(np.float32), close=1e-5)


def test_components_by_class() -> None:
    check(NeighborhoodComponentsAnalysis(2, random_state=0, max_iter=5), SCALED, KINDS)


@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly", "sigmoid", "cosine"])
def test_kernel_pca(kernel: Any) -> None:
    check(make_pipeline(StandardScaler(), KernelPCA(3, kernel=kernel)), WINE)


KERNELS = ["rbf", "linear", "poly", "polynomial", "sigmoid", "cosine", "laplacian", "chi2", "additive_chi2"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_nystroem(kernel: Any) -> None:
    # What is negative is refused by the kernels of frequencies; half of the hard rows are.
    check(Nystroem(kernel, n_components=12, random_state=0), POSITIVE)


def test_nystroem_with_parameters() -> None:
    check(Nystroem("poly", gamma=0.3, coef0=0.5, degree=2, n_components=12, random_state=0), POSITIVE)
    check(Nystroem("rbf", kernel_params={"gamma": 0.1}, n_components=12, random_state=0), POSITIVE)


MAPS = {
    "rbf": RBFSampler(random_state=0, n_components=20),
    "rbf, scale": RBFSampler(gamma="scale", random_state=0, n_components=20),  # pyright: ignore[reportArgumentType]
    "skewed": SkewedChi2Sampler(random_state=0, n_components=20),
    "skewed by 0.1": SkewedChi2Sampler(skewedness=0.1, random_state=0, n_components=20),
    "sketch": PolynomialCountSketch(random_state=0, n_components=20),
    "sketch of degree 3": PolynomialCountSketch(degree=3, gamma=0.5, coef0=0.7, random_state=0, n_components=15),
    "sketch of degree 1": PolynomialCountSketch(degree=1, random_state=0, n_components=16),
    "additive, 1 step": AdditiveChi2Sampler(sample_steps=1),
    "additive, 2 steps": AdditiveChi2Sampler(sample_steps=2),
    "additive, 3 steps": AdditiveChi2Sampler(sample_steps=3),
    "additive, 5 steps": AdditiveChi2Sampler(sample_steps=5, sample_interval=0.3),
}


@pytest.mark.parametrize("name", MAPS)
def test_kernel_map(name: str) -> None:
    check(MAPS[name], POSITIVE)


def test_cosines_say_how_far_they_hold() -> None:
    case = check(make_pipeline(StandardScaler(), RBFSampler(random_state=0, n_components=10)), WINE)
    assert case.compiled.smooth
    assert any("rounding alone" in note for note in case.compiled.notes)
    assert not check(PCA(2), WINE).compiled.smooth


SELECTORS = {
    "best": SelectKBest(k=5),
    "share": SelectPercentile(percentile=40),
    "false positives": SelectFpr(),
    "false discoveries": SelectFdr(),
    "family": SelectFwe(),
    "generic": GenericUnivariateSelect(mode="k_best", param=3),
    "variance": VarianceThreshold(0.5),
    "importance": SelectFromModel(DecisionTreeClassifier(random_state=0)),
    "importance above": SelectFromModel(Lasso(0.01), threshold="1.5*mean", max_features=4),
    "in turn": SequentialFeatureSelector(Ridge(), n_features_to_select=3, cv=2),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("name", SELECTORS)
def test_selection_costs_no_more_than_a_gather(name: str) -> None:
    case = check(SELECTORS[name], WINE, KINDS)
    assert len(case.compiled.graph.graph.node) == 1
    check(make_pipeline(SELECTORS[name], StandardScaler(), LogisticRegression(max_iter=200)), WINE, KINDS)


def test_names_of_selected_features() -> None:
    wine: Any = load_wine(as_frame=True)
    frame = wine.data
    case = assert_equal(SelectKBest(k=2).fit(frame, KINDS), frame)
    assert case.compiled.outputs[0]["names"] == ["flavanoids", "proline"]


@pytest.mark.parametrize("kind", [RFE, RFECV])
def test_elimination_predicts_and_selects(kind: Any) -> None:
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    options = {"cv": 3} if kind is RFECV else {"n_features_to_select": 4}
    check(kind(tree, **options), WINE, KINDS)  # pyright: ignore[reportArgumentType]
    check(make_pipeline(kind(tree, **options), StandardScaler(), LogisticRegression(max_iter=200)), WINE, KINDS)  # pyright: ignore[reportArgumentType]
    case = Case(RFE(LogisticRegression(max_iter=3000), n_features_to_select=3).fit(IRIS, SPECIES), IRIS)
    assert [entry["name"] for entry in case.compiled.outputs] == ["label", "probability"]


GRAPHS = {
    "nearest distances": KNeighborsTransformer(n_neighbors=4),
    "nearest": KNeighborsTransformer(n_neighbors=4, mode="connectivity"),
    "radius distances": RadiusNeighborsTransformer(radius=0.7),
    "radius": RadiusNeighborsTransformer(radius=0.7, mode="connectivity"),
    "isomap": Isomap(n_neighbors=8, n_components=3),
    "locally linear": LocallyLinearEmbedding(n_neighbors=6, random_state=0),
    "locally linear, modified": LocallyLinearEmbedding(n_neighbors=6, method="modified", random_state=0),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.filterwarnings("ignore:The number of connected components", "ignore:Changing the sparsity structure")
def test_neighbours_of_rows_with_equals(name: str) -> None:
    # Iris holds equal rows, and lengths in tenths of a millimetre are often just as far apart.
    check(GRAPHS[name], IRIS)


def test_neighbours_by_products() -> None:
    # A search through all rows expands the square; which of two equals it takes is a matter of its rounding.
    check(KNeighborsTransformer(n_neighbors=3, algorithm="brute"), SCALED)


CODES: dict[str, tuple[Any, np.ndarray]] = {
    "three atoms": (SparseCoder(SCALED[:6], transform_n_nonzero_coefs=3), SCALED),
    "all atoms": (SparseCoder(SCALED[:4], transform_n_nonzero_coefs=4), SCALED),
    "learnt": (DictionaryLearning(5, transform_n_nonzero_coefs=2, max_iter=3, random_state=0, split_sign=True), SCALED),
    "by a tenth of the features": (MiniBatchDictionaryLearning(20, max_iter=3, random_state=0), DIGITS[:300]),
    "topics": (LatentDirichletAllocation(4, max_iter=2, random_state=0), DIGITS[:300, 24:40]),
    "topics until they rest": (
        LatentDirichletAllocation(3, max_iter=2, random_state=0, mean_change_tol=1e-8, max_doc_update_iter=40),
        DIGITS[:300, 24:40],
    ),
}


@pytest.mark.parametrize("name", CODES)
def test_rounds_of_a_row(name: str) -> None:
    check(*CODES[name])
    model, X = CODES[name]
    # Rows that end in different rounds do not disturb each other.
    assert_equal(make_pipeline(model).fit(X), X[:1], X[::-1])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (NMF(3, max_iter=300), "all rows of a batch"),  # pyright: ignore[reportArgumentType]
        (KNNImputer(), "partial sort"),
        (SparseCoder(SCALED[:4], transform_algorithm="lasso_lars"), "searches anew"),
        (FeatureAgglomeration(3, pooling_func=np.median), "other than mean"),
        (Nystroem(lambda a, b: float(a @ b), n_components=5), "function of its own"),  # pyright: ignore[reportArgumentType]
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_cannot_be_exact_is_refused_with_the_reason(model: Any, reason: str) -> None:
    with pytest.raises(CompileError, match=reason):
        Case(model.fit(POSITIVE), POSITIVE)
