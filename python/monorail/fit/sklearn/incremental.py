"""Everything with ``partial_fit``: pieces of rows, in their order, as many epochs as ``fit`` would take.

Where the pieces are those that ``fit`` itself would cut (IncrementalPCA, RBM, online LDA) the result is the same. A
descent by single rows meets them in the order of the data, shuffled inside a piece alone, where ``fit`` shuffles all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..labels import Labels
from ..training import Trainer, TrainingRows
from .bayes import CountsTrainer, GaussianTrainer
from .descent import Stopping, loss_of
from .linear import class_weights
from .matrices import not_numbers, prepare
from .pieces import Pieces

#: Rows of a piece that ``MiniBatchKMeans`` begins with, if the user does not say: three times its batch.
INIT_BATCHES = 3


class Incremental(Trainer):
    """What they share: one epoch of ``partial_fit``, in pieces of ``batch_size`` where the estimator has one."""

    #: Whether the target is of classes, of numbers, or not asked for.
    target: str = "none"
    dense = False
    #: Whether the rows are read more than once.
    often = False
    takes_missing = False

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        if not hasattr(self.estimator, "partial_fit"):
            return "with these settings it has no partial_fit"
        return not_numbers(self.inputs)

    def fit(self, rows: TrainingRows) -> None:
        """Train it."""
        labels = Labels(rows.target) if self.target == "classes" else None
        kind = prepare(self._copy(), rows.inputs)
        rows = rows.kept() if self.often else rows
        pieces = Pieces(rows, kind, labels, learnt=self.target == "numbers", dense=self.dense)
        self.train(pieces, labels, rows)
        # Last: rows without names would take the names away.
        prepare(self.estimator, rows.inputs)

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """Call ``partial_fit`` on pieces."""
        for piece in pieces.of(self.sizes(pieces)):
            given = [] if piece.target is None else [piece.target]
            self.estimator.partial_fit(piece.matrix, *given, **({} if labels is None else {"classes": labels.classes}))

    def sizes(self, pieces: Pieces) -> Iterator[int]:
        """Rows of each piece."""
        size = getattr(self.estimator, "batch_size", None)
        return _even(pieces.total, size if isinstance(size, int) else pieces.size)

    def note(self) -> str | None:
        """How it was fitted."""
        return "partial_fit in the order of the rows, one epoch"

    def _copy(self) -> Any:
        from sklearn.base import clone

        return clone(self.estimator)


class Classifier(Incremental):
    """Meta-estimators over classifiers with ``partial_fit``."""

    target = "classes"


class SeveralTargets(Incremental):
    """``MultiOutputRegressor`` over a regressor with ``partial_fit``."""

    target = "numbers"

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        kind = self.inputs.target_type
        if kind is not None and not self.inputs.listed and not pa.types.is_nested(kind):
            return "the target is one column, and it learns several: name them in a list, target=[...]"
        return super().refusal()

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """One epoch of ``partial_fit``."""
        for piece in pieces.of(self.sizes(pieces)):
            given = {} if piece.weight is None else {"sample_weight": piece.weight}
            target: Any = piece.target
            self.estimator.partial_fit(piece.matrix, target.reshape(piece.rows, -1), **given)


class Descent(Incremental):
    """Linear models by stochastic gradient descent: epochs until the loss stops falling, as ``fit`` counts it."""

    often = True
    epochs = 0
    converged = False

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        if getattr(self.estimator, "early_stopping", False):
            return "early_stopping=True keeps rows aside from all; tol= stops by the loss of the training rows"
        return super().refusal()

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """Epochs of ``partial_fit``."""
        step = self.estimator
        stopping = Stopping(step.tol, step.n_iter_no_change)
        with self._settings(labels):
            for _ in range(step.max_iter):
                lost, seen = 0.0, 0
                for piece in pieces.all():
                    lost += loss_of(step, piece, labels) if step.tol is not None else 0.0
                    seen += piece.rows
                    given = {} if labels is None else {"classes": labels.classes}
                    if piece.weight is not None:
                        given["sample_weight"] = piece.weight
                    step.partial_fit(piece.matrix, *([] if piece.target is None else [piece.target]), **given)
                self.epochs += 1
                if stopping.after(lost / seen):
                    if getattr(step, "learning_rate", "") == "adaptive" and step.eta0 > 1e-6:
                        step.eta0 /= 5
                        stopping.again()
                        continue
                    self.converged = True
                    break
        step.n_iter_ = self.epochs

    @contextlib.contextmanager
    def _settings(self, labels: Labels | None) -> Iterator[None]:
        """Parameters that ``partial_fit`` wants otherwise, put back at the end."""
        step = self.estimator
        kept = {name: getattr(step, name) for name in ("class_weight", "eta0") if hasattr(step, name)}
        if labels is not None and isinstance(kept.get("class_weight"), str):
            heavy = class_weights(step.class_weight, labels, labels.counts.astype(np.float64))
            step.class_weight = dict(zip(labels.classes.tolist(), heavy.tolist(), strict=True))
        try:
            yield
        finally:
            for name, value in kept.items():
                setattr(step, name, value)

    def note(self) -> str | None:
        """How many epochs, and in which order."""
        end = "" if self.converged else ", which is max_iter"
        order = "shuffled inside pieces alone" if getattr(self.estimator, "shuffle", True) else "in their order"
        return f"partial_fit, {self.epochs} epochs{end}; rows {order}"


class DescentClassifier(Descent):
    """``SGDClassifier``, ``Perceptron`` and the like."""

    target = "classes"


class DescentRegressor(Descent):
    """``SGDRegressor`` and the like."""

    target = "numbers"


class Network(Incremental):
    """Multi-layer perceptrons: an epoch is ``partial_fit`` of each piece; its loss is their mean."""

    often = True
    epochs = 0

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        step = self.estimator
        if step.solver not in ("sgd", "adam"):
            return f"solver={step.solver!r} needs all rows in memory; 'adam' and 'sgd' learn piece by piece"
        if step.early_stopping:
            return "early_stopping=True keeps rows aside from all; tol= stops by the loss of the training rows"
        return super().refusal()

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """Epochs of ``partial_fit``."""
        step, curve = self.estimator, []
        stopping = Stopping(step.tol, step.n_iter_no_change + 1)
        given = {} if labels is None else {"classes": labels.classes}
        for _ in range(step.max_iter):
            lost, seen = 0.0, 0
            for piece in pieces.all():
                step.partial_fit(piece.matrix, piece.target, **given)
                lost += step.loss_ * piece.rows
                seen += piece.rows
            curve.append(lost / seen)
            if stopping.after(curve[-1]):
                break
        self.epochs = step.n_iter_ = len(curve)
        step.loss_curve_, step.loss_, step.best_loss_ = curve, curve[-1], min(curve)

    def note(self) -> str | None:
        """How many epochs."""
        return f"partial_fit, {self.epochs} epochs; rows shuffled inside pieces alone"


class NetworkClassifier(Network):
    """``MLPClassifier``."""

    target = "classes"


class NetworkRegressor(Network):
    """``MLPRegressor``."""

    target = "numbers"


class Components(Incremental):
    """``IncrementalPCA``: the very batches of its ``fit``."""

    dense = True

    def sizes(self, pieces: Pieces) -> Iterator[int]:
        """Rows of each batch."""
        from sklearn.utils import gen_batches

        step = self.estimator
        step.batch_size_ = step.batch_size or 5 * self.inputs.width
        for cut in gen_batches(pieces.total, step.batch_size_, min_batch_size=step.n_components or 0):
            yield min(cut.stop, pieces.total) - cut.start

    def note(self) -> str | None:
        """That it is the same."""
        return "the batches of its own fit"


class Machine(Incremental):
    """``BernoulliRBM``: the very batches and epochs of its ``fit``."""

    often = True

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """Epochs of ``partial_fit``."""
        from sklearn.utils import gen_even_slices

        step = self.estimator
        batches = -(-pieces.total // step.batch_size)
        cuts = list(gen_even_slices(batches * step.batch_size, batches, n_samples=pieces.total))
        for _ in range(step.n_iter):
            for piece in pieces.of([cut.stop - cut.start for cut in cuts]):
                step.partial_fit(piece.matrix)
        with contextlib.suppress(AttributeError):
            del step.random_state_

    def note(self) -> str | None:
        """That it is the same."""
        return f"the batches of its own fit, {self.estimator.n_iter} epochs"


class Topics(Incremental):
    """``LatentDirichletAllocation`` with ``learning_method="online"``: the batches and epochs of its ``fit``."""

    often = True

    def refusal(self) -> str | None:
        """Why it cannot be fitted so."""
        if self.estimator.learning_method != "online":
            return "learning_method='batch' needs all rows in memory; 'online' learns batch by batch"
        return super().refusal()

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """Epochs of ``partial_fit``."""
        step = self.estimator
        kept = step.total_samples
        step.total_samples = pieces.total
        try:
            for _ in range(step.max_iter):
                for piece in pieces.of(_even(pieces.total, step.batch_size)):
                    step.partial_fit(piece.matrix)
        finally:
            step.total_samples = kept
        step.n_iter_ = step.max_iter
        logs, words = 0.0, 0.0
        for number, piece in enumerate(pieces.all()):
            distribution, _ = step._e_step(piece.matrix, cal_sstats=False, random_init=False)
            bound = step._approx_bound(piece.matrix, distribution, False)
            # The topics' own share counts once.
            logs += bound - (self._share(piece.matrix, distribution, bound) if number else 0.0)
            words += piece.matrix.sum()
        step.bound_ = np.exp(-1.0 * (logs / words))

    def _share(self, matrix: Any, distribution: np.ndarray, bound: float) -> float:
        """What of a bound is the topics' and not the rows': it is in the bounds of two halves twice."""
        half, step = matrix.shape[0] // 2, self.estimator
        if not half:
            return bound - (step._approx_bound(_twice(matrix), np.repeat(distribution, 2, axis=0), False) - bound)
        first = step._approx_bound(matrix[:half], distribution[:half], False)
        return first + step._approx_bound(matrix[half:], distribution[half:], False) - bound

    def note(self) -> str | None:
        """That it is the same."""
        return f"the batches of its own fit, {self.estimator.max_iter} epochs"


class Means(Incremental):
    """``MiniBatchKMeans``: it begins with a uniform sample, and then meets every row once."""

    often = True

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """One epoch of ``partial_fit``, and then the labels of all rows."""
        step = self.estimator
        batch = min(step.batch_size, pieces.total)
        begin = step.init_size or max(INIT_BATCHES * batch, INIT_BATCHES * step.n_clusters)
        random = np.random.default_rng(step.random_state if isinstance(step.random_state, int) else None)
        first = np.sort(random.choice(pieces.total, min(begin, pieces.total), replace=False))
        labelled, step.compute_labels = step.compute_labels, False
        try:
            step.partial_fit(pieces.take(first).matrix)
            for piece in pieces.of(_even(pieces.total, batch)):
                step.partial_fit(piece.matrix, sample_weight=piece.weight)
        finally:
            step.compute_labels = labelled
        step.n_iter_ = 1
        if labelled:
            self._label(pieces)

    def _label(self, pieces: Pieces) -> None:
        step, found, inertia = self.estimator, [], 0.0
        for piece in pieces.all():
            found.append(step.predict(piece.matrix))
            apart = step.transform(piece.matrix)[np.arange(piece.rows), found[-1]] ** 2
            inertia += float(apart.sum() if piece.weight is None else piece.weight @ apart)
        step.labels_, step.inertia_ = np.concatenate(found), inertia

    def note(self) -> str | None:
        """How it was fitted."""
        return "begun with a uniform sample; partial_fit in the order of the rows, one epoch"


class Tree(Incremental):
    """``Birch``: rows enter its tree in their order, as in ``fit``; clusters are made of it once, at the end."""

    often = True

    def train(self, pieces: Pieces, labels: Labels | None, rows: TrainingRows) -> None:
        """One epoch of ``partial_fit``, and then the labels of all rows."""
        step = self.estimator
        clusters, step.n_clusters = step.n_clusters, None
        labelled, step.compute_labels = step.compute_labels, False
        try:
            for piece in pieces.all():
                step.partial_fit(piece.matrix)
        finally:
            step.n_clusters, step.compute_labels = clusters, labelled
        step.partial_fit()
        if labelled:
            step.labels_ = np.concatenate([step.predict(piece.matrix) for piece in pieces.all()])

    def note(self) -> str | None:
        """That it is the same."""
        return "the tree of its own fit"


def _even(total: int, size: int) -> Iterator[int]:
    """Sizes of pieces that cover so many rows."""
    for first in range(0, total, size):
        yield min(size, total - first)


def _twice(matrix: Any) -> Any:
    """A row, two times."""
    if hasattr(matrix, "toarray"):
        from scipy.sparse import vstack

        return vstack([matrix, matrix], format="csr")
    return np.repeat(matrix, 2, axis=0)


def _named(module: str, names: Sequence[str], trainer: type[Trainer]) -> dict[str, type[Trainer]]:
    return {f"sklearn.{module}.{name}": trainer for name in names}


#: By qualified class name.
TRAINERS: dict[str, type[Trainer]] = {
    **_named("naive_bayes", ("MultinomialNB", "ComplementNB", "BernoulliNB", "CategoricalNB"), CountsTrainer),
    **_named("naive_bayes", ("GaussianNB",), GaussianTrainer),
    **_named("linear_model._stochastic_gradient", ("SGDClassifier",), DescentClassifier),
    **_named("linear_model._stochastic_gradient", ("SGDRegressor",), DescentRegressor),
    **_named("linear_model._stochastic_gradient", ("SGDOneClassSVM",), Descent),
    **_named("linear_model._perceptron", ("Perceptron",), DescentClassifier),
    **_named("linear_model._passive_aggressive", ("PassiveAggressiveClassifier",), DescentClassifier),
    **_named("linear_model._passive_aggressive", ("PassiveAggressiveRegressor",), DescentRegressor),
    **_named("neural_network._multilayer_perceptron", ("MLPClassifier",), NetworkClassifier),
    **_named("neural_network._multilayer_perceptron", ("MLPRegressor",), NetworkRegressor),
    **_named("neural_network._rbm", ("BernoulliRBM",), Machine),
    **_named("decomposition._incremental_pca", ("IncrementalPCA",), Components),
    **_named("decomposition._lda", ("LatentDirichletAllocation",), Topics),
    **_named("decomposition._dict_learning", ("MiniBatchDictionaryLearning",), Incremental),
    **_named("decomposition._nmf", ("MiniBatchNMF",), Incremental),
    **_named("cluster._kmeans", ("MiniBatchKMeans",), Means),
    **_named("cluster._birch", ("Birch",), Tree),
    **_named("multiclass", ("OneVsRestClassifier", "OneVsOneClassifier"), Classifier),
    **_named("multioutput", ("MultiOutputRegressor",), SeveralTargets),
}
