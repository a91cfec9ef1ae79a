"""Decompositions: principal components and truncated singular values, of moments that one pass gathers.

Products of centred features give what scikit-learn finds from a covariance. Where it would decompose the rows
themselves they are folded into a triangle, which keeps the digits that products lose. Where there are too many features
for either, the range finder of the randomized SVD runs over the data, a product with it in each pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FitError
from ..learning import Block, Inputs, Statistic
from .moments import Few, Products, Triangle
from .numeric import Features, NumericLearner, check_values, float_type, is_sparse, know_features

#: Features of which a triangle is kept; of more, products are.
MOST_FOLDED = 2_000
#: Values of a dense piece whose products are taken at once: 8 MB.
PIECE_VALUES = 1_000_000
#: Features of which products are kept: 200 MB for each worker.
MOST_SQUARED = 5_000
#: Numbers of the range that is found over several passes where there are more: 256 MB.
MOST_RANGE = 32_000_000


@dataclass(frozen=True)
class Moments(Statistic):
    """Means of all features, and the inner products of what is left of them.

    Attributes:
        width: How many features.
        sparse: Whether the rows are sparse.
        folded: Whether dense rows are folded into a triangle.
    """

    width: int
    sparse: bool
    folded: bool = False

    def start(self) -> Triangle | Products | Squares:
        """An empty state."""
        if self.sparse:
            return Products(True, self.width, ())
        return Triangle(True, self.width, ()) if self.folded and self.width <= MOST_FOLDED else Squares(self.width)

    def update(self, state: Any, block: Block) -> Any:
        """The state with a block's rows."""
        if block.rows:
            matrix: Any = block.matrix.astype(np.float64) if self.sparse else block.dense
            # Missing values are refused from what the same pass counts; here they only must not break the algebra.
            values = matrix.data if self.sparse else matrix
            if np.isfinite(values).all():
                arguments = () if isinstance(state, Squares) else (np.zeros(block.rows), None)
                state.add(matrix, *arguments)
        return state

    def merge(self, state: Any, later: Any) -> Any:
        """One state of two."""
        if isinstance(state, Squares):
            return state.merge(later)
        return state.folded().merge(later.folded())


class Squares:
    """Means, and products of dense features that were centred before they were multiplied.

    Args:
        width: How many features.
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self._means = np.zeros(width)
        self._products = np.zeros((width, width))

    def add(self, matrix: np.ndarray) -> None:
        """Take rows in."""
        most = max(1, PIECE_VALUES // max(1, matrix.shape[1]))
        for first in range(0, len(matrix), most):
            piece = matrix[first : first + most]
            means = piece.mean(axis=0)
            centred = piece - means
            # The means are rounded; what is left of them is taken out by the join.
            rest = centred.mean(axis=0)
            self._join(len(piece), means + rest, centred.T @ centred - len(piece) * np.outer(rest, rest))

    def merge(self, later: Squares) -> Squares:
        """Itself, with what was gathered of later rows."""
        self._join(later.rows, later._means, later._products)
        return self

    def few(self) -> Few:
        """A few rows with the same means and products."""
        values, vectors = np.linalg.eigh(self._products)
        matrix = np.sqrt(np.maximum(values[::-1], 0.0))[:, None] * vectors.T[::-1]
        return Few(matrix, np.zeros(len(matrix)), self._means, 0.0, self.rows, float(self.rows))

    def _join(self, rows: int, means: np.ndarray, products: np.ndarray) -> None:
        together = self.rows + rows
        if not together:
            return
        apart = means - self._means
        self._products += products
        if self.rows:
            self._products += self.rows * (rows / together) * np.outer(apart, apart)
        self._means = self._means + apart * (rows / together)
        self.rows = together


@dataclass(frozen=True)
class GramTimes(Statistic):
    """The product of ``X'X`` with a basis, ``[features, directions]``.

    Attributes:
        key: Digest of the basis.
        basis: What is multiplied.
    """

    key: str
    basis: np.ndarray = field(compare=False, repr=False)

    @classmethod
    def of(cls, basis: np.ndarray) -> GramTimes:
        """With this basis."""
        return cls(_digest(basis), basis)

    def start(self) -> np.ndarray:
        """An empty state."""
        return np.zeros(self.basis.shape)

    def update(self, state: np.ndarray, block: Block) -> np.ndarray:
        """The state with a block's rows."""
        matrix: Any = block.matrix if hasattr(block.matrix, "toarray") else block.dense
        state += matrix.T @ (matrix @ self.basis)
        return state

    def merge(self, state: np.ndarray, later: np.ndarray) -> np.ndarray:
        """One state of two."""
        return state + later


@dataclass(frozen=True)
class Spread(Statistic):
    """How far rows spread along some directions: rows, means and squared deviations of ``X @ basis``.

    Attributes:
        key: Digest of the basis.
        basis: ``[features, directions]``.
    """

    key: str
    basis: np.ndarray = field(compare=False, repr=False)

    @classmethod
    def of(cls, basis: np.ndarray) -> Spread:
        """Along these directions."""
        return cls(_digest(basis), basis)

    def start(self) -> tuple[int, np.ndarray, np.ndarray]:
        """An empty state."""
        return 0, np.zeros(self.basis.shape[1]), np.zeros(self.basis.shape[1])

    def update(self, state: Any, block: Block) -> Any:
        """The state with a block's rows."""
        if not block.rows:
            return state
        matrix: Any = block.matrix if hasattr(block.matrix, "toarray") else block.dense
        along = matrix @ self.basis
        mean = along.mean(axis=0)
        return self.merge(state, (block.rows, mean, ((along - mean) ** 2).sum(axis=0)))

    def merge(self, state: Any, later: Any) -> Any:
        """One state of two."""
        (rows, mean, m2), (more, mean_2, m2_2) = state, later
        both = max(rows + more, 1)
        off = mean_2 - mean
        return rows + more, mean + off * (more / both), m2 + m2_2 + off**2 * (rows * more / both)


class _Decomposition(NumericLearner):
    """What both decompositions share."""

    takes_missing = False

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        #: Whether rows are folded into a triangle; decided once, since what is known of the rows may change.
        self._folded = False

    def first(self) -> Sequence[Statistic]:
        """What the first pass should gather."""
        return [*super().first(), self._moments]

    @property
    def _moments(self) -> Moments:
        return Moments(self.inputs.width, is_sparse(self.inputs), self._folded)

    def contradiction(self) -> str | None:
        """What scikit-learn itself says of its parameters and the kind of its input; None where they are fine."""
        try:
            self.step._validate_params()
        except (ValueError, TypeError) as error:
            return " ".join(str(error).split())
        return None

    def named_features(self, features: Features) -> np.dtype:
        """Let the step know its features; gives the type of what it learns."""
        know_features(self.step, self.inputs, features)
        return np.dtype(np.float32 if float_type(self.inputs, features) == np.float32 else np.float64)


class PcaLearner(_Decomposition):
    """``PCA`` by any of its solvers."""

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        known = step.svd_solver if inputs.rows is None else self._solver(inputs.rows)
        self._folded = known == "full"

    def parameters(self) -> str | None:
        """Why it cannot be fitted with these parameters; None where it can."""
        solver, components = self.step.svd_solver, self.step.n_components
        if self.inputs.width > MOST_SQUARED:
            return f"{self.inputs.width:,} features; products of {MOST_SQUARED:,} at most are kept"
        if is_sparse(self.inputs) and solver not in ("auto", "arpack", "covariance_eigh"):
            return f"svd_solver={solver!r} takes no sparse matrix; 'arpack' and 'covariance_eigh' do"
        if isinstance(components, str) and solver in ("arpack", "randomized"):
            return f"n_components={components!r} goes with svd_solver='full' alone"
        return None

    def finish(self, features: Features) -> None:
        """Not used: :meth:`learn` has what it needs."""

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what the pass gathered."""
        features = Features(self.inputs, found)
        check_values(self.step, self.inputs, features, takes_missing=False)
        kind = self.named_features(features)
        self._place(found[self._moments].few(), kind)
        self._wanted = ()

    def note(self) -> str | None:
        """What the report should say of how the step was fitted."""
        if getattr(self.step, "_fit_svd_solver", "") == "randomized":
            return "exact, where its randomized solver is close"
        return None

    def _place(self, few: Few, kind: np.dtype) -> None:
        from scipy import linalg

        step, rows, width = self.step, few.rows, self.inputs.width
        least = min(rows, width)
        step._fit_svd_solver = self._solver(rows)
        truncated = step._fit_svd_solver in ("arpack", "randomized")
        wanted = self._components(least, rows)
        _, values, vectors = linalg.svd(few.matrix, full_matrices=False)
        vectors = _upright(vectors[:least]).astype(kind)
        values = values[:least].astype(kind)
        if step._fit_svd_solver == "covariance_eigh":
            # Of a covariance there are as many as features, also where there are fewer rows.
            values = np.pad(values, (0, width - len(values)))
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = values**2 / (rows - 1)
            total = variance.sum()
            ratio = variance / total
        count = self._counted(wanted, variance, ratio, rows)
        step.mean_ = few.means.astype(kind)
        step.n_samples_, step.n_components_ = rows, count
        if count >= least:
            step.noise_variance_ = 0.0
        elif truncated:
            step.noise_variance_ = (total - variance[:count].sum()) / (least - count)
        else:
            step.noise_variance_ = variance[count:].mean()
        step.components_ = vectors[:count].copy()
        step.explained_variance_ = variance[:count].copy()
        step.explained_variance_ratio_ = ratio[:count].copy()
        step.singular_values_ = values[:count].copy()

    def _solver(self, rows: int) -> str:
        """The solver that ``fit`` would choose, since the step remembers it."""
        solver, width, components = self.step.svd_solver, self.inputs.width, self.step.n_components
        if solver != "auto":
            return solver
        if is_sparse(self.inputs):
            return "arpack"
        if width <= 1_000 and rows >= 10 * width:
            return "covariance_eigh"
        if max(rows, width) <= 500 or isinstance(components, str):
            return "full"
        least = min(rows, width)
        return "randomized" if 1 <= (least if components is None else components) < 0.8 * least else "full"

    def _components(self, least: int, rows: int) -> Any:
        """How many are asked for.

        Raises:
            FitError: ``cannot_fit``: there are not so many.
        """
        wanted, solver = self.step.n_components, self.step._fit_svd_solver
        most = least - 1 if solver == "arpack" else least
        if wanted is None:
            wanted = most
        if wanted == "mle":
            fine = rows >= self.inputs.width
        else:
            fine = (1 if solver in ("arpack", "randomized") else 0) <= wanted <= most
        if not fine:
            size = f"{rows:,} rows with {self.inputs.width:,} features"
            raise FitError(
                f"n_components={wanted!r} of {size} by svd_solver={solver!r}",
                code="cannot_fit",
                hint=f"there are at most {most:,}",
            )
        return wanted

    def _counted(self, wanted: Any, variance: np.ndarray, ratio: np.ndarray, rows: int) -> Any:
        """How many components are kept."""
        if wanted == "mle":
            from sklearn.decomposition._pca import _infer_dimension

            return _infer_dimension(variance, rows)
        if 0 < wanted < 1.0:
            return np.searchsorted(np.cumsum(ratio), wanted, side="right") + 1
        return wanted


class TruncatedLearner(_Decomposition):
    """``TruncatedSVD``: exact where products of its features can be kept, else by the randomized range finder."""

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self._wide = inputs.width > MOST_SQUARED
        self._asked: Any = None
        self._turns = 0
        self._features: Features | None = None
        self._found: tuple[np.ndarray, np.ndarray] | None = None

    def parameters(self) -> str | None:
        """Why it cannot be fitted with these parameters; None where it can."""
        width, components = self.inputs.width, self.step.n_components
        if width < 2:
            return "it needs two features or more"
        if components > width:
            return f"n_components={components} of {width:,} features"
        if self._wide and self.step.algorithm == "arpack":
            return f"algorithm='arpack' of {width:,} features would be a pass for each product; 'randomized' works"
        if self._wide and width * (components + self.step.n_oversamples) > MOST_RANGE:
            return f"{components} components of {width:,} features do not fit in memory; fewer of either do"
        return None

    def first(self) -> Sequence[Statistic]:
        """What the first pass should gather."""
        if not self._wide:
            return super().first()
        from sklearn.utils import check_random_state

        step = self.step
        random = check_random_state(step.random_state)
        basis = random.normal(size=(self.inputs.width, step.n_components + step.n_oversamples))
        if step.n_iter == 0:
            basis = np.linalg.qr(basis)[0]
        self._asked = GramTimes.of(basis)
        return [*NumericLearner.first(self), self._asked]

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Take what the pass gathered."""
        features = self._features
        if features is None:
            features = self._features = Features(self.inputs, found)
            check_values(self.step, self.inputs, features, takes_missing=False)
        if not self._wide:
            few = found[self._moments].few()
            self._exact(few, self.named_features(features))
            self._wanted = ()
        elif self._found is None:
            self._wanted = [self._turn(found[self._asked])]
        else:
            values, vectors = self._found
            rows, _, m2 = found[self._asked]
            self._place(values, vectors, m2 / rows, features.variance.sum(), self.named_features(features))
            self._wanted = ()

    def note(self) -> str | None:
        """What the report should say of how the step was fitted."""
        if self._wide:
            return f"randomized, {self.step.n_iter + 2} passes for {self.inputs.width:,} features"
        return "exact, where its randomized algorithm is close" if self.step.algorithm == "randomized" else None

    def _turn(self, product: np.ndarray) -> Statistic:
        """Take one more product; gives what the next pass should gather."""
        if self._turns < self.step.n_iter:
            self._turns += 1
            self._asked = GramTimes.of(np.linalg.qr(product)[0])
            return self._asked
        # With Y = XW for the range W, the rows of X projected on Y have the square (X'Y)(Y'Y)^-1(Y'X).
        inner = self._asked.basis.T @ product
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        kept = values > values[-1] * 1e-15
        half = product @ (vectors[:, kept] / np.sqrt(values[kept]))
        left, singular, _ = np.linalg.svd(half, full_matrices=False)
        count = self.step.n_components
        self._found = singular[:count], _upright(left.T[:count])
        self._asked = Spread.of(np.ascontiguousarray(self._found[1].T))
        return self._asked

    def _exact(self, few: Few, kind: np.dtype) -> None:
        from scipy import linalg

        count, rows = self.step.n_components, few.rows
        # What was taken out for the means comes back as one row more.
        whole = np.vstack([few.matrix, np.sqrt(rows) * few.means])
        _, values, vectors = linalg.svd(whole, full_matrices=False)
        vectors = _upright(vectors[:count])
        along = ((few.matrix @ vectors.T) ** 2).sum(axis=0) / rows
        self._place(values[:count], vectors, along, (few.matrix**2).sum() / rows, kind)

    def _place(self, values: np.ndarray, vectors: np.ndarray, variance: np.ndarray, total: float, kind: Any) -> None:
        step = self.step
        step.components_ = np.ascontiguousarray(vectors.astype(kind))
        step.explained_variance_ = variance.astype(kind)
        with np.errstate(divide="ignore", invalid="ignore"):
            step.explained_variance_ratio_ = (variance / total).astype(kind)
        step.singular_values_ = values.astype(kind)


def _upright(vectors: np.ndarray) -> np.ndarray:
    """Rows whose greatest element is positive, as scikit-learn turns them."""
    from sklearn.utils.extmath import svd_flip

    return svd_flip(None, vectors.copy(), u_based_decision=False)[1]


def _digest(basis: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(basis).tobytes()).hexdigest()


#: By qualified class name.
LEARNERS = {
    "sklearn.decomposition._pca.PCA": PcaLearner,
    "sklearn.decomposition._truncated_svd.TruncatedSVD": TruncatedLearner,
}
